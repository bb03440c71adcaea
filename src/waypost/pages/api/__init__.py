"""The HTTPS API's reading routes and its documents: thin, over desk.

Promises that a key sees its own account alone: another's id is 404. Knows nothing of how mail is
accepted and delivered, of SQL and of sockets.
"""
