"""Who may come in, who changed what, and the installation itself, of the management API.

Knows nothing of mail.
"""
