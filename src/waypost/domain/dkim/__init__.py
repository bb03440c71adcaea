"""DKIM (RFC 6376, 8301, 8463): key records, signatures, canonical forms, verification.

Knows nothing of sockets: questions go through `Ask`.
"""
