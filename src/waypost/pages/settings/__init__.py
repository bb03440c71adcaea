"""A member's own affairs, and those of an account: password, sessions, members, keys, credits.

Knows nothing of mail.
"""
