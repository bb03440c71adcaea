"""Tokens for logins by XOAUTH2: got from the provider's token server, kept, renewed.

Promises one renewal at a time over all processes, and that a token server's trouble never ends a
message. Knows nothing of SMTP.
"""
