"""The screens of what mail is sent through and from: SMTP integrations, senders, domains.

Knows nothing of the mail itself.
"""
