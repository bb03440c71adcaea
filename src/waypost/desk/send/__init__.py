"""Messages that people send from the desk, through the same door as all others.

Knows nothing of SMTP and HTTP.
"""
