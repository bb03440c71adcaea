"""What `waypost sendmail` is made of: its flags, its letter, its way to the relay, and its drop.

Promises that a letter is with the relay, kept on disk, or refused with one line and a code.
Knows nothing of the data directory.
"""
