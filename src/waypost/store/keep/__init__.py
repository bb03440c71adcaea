"""The care of the store: letting go of what is old, in small steps, and copies that can be brought
back.

Knows nothing of mail beyond the rows and files it moves.
"""
