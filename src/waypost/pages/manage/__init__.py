"""The management API under /api/v1/manage: what the command line can do, for programs.

Promises that a token of one account sees and changes nothing of another's, nor what is the
operator's. Thin, over desk. Knows nothing of SQL, SMTP and delivery.
"""
