"""The dashboard and the management API: thin, over desk.

Promises that whatever it does the command line can do too. Knows nothing of SQL, SMTP and delivery.
"""
