"""Who may come in and what they may do: the tokens of the management API, the members of the
dashboard, their logins, sessions and second factors, the audit trail.

Promises that a secret is kept as its hash alone, or sealed, and shown once. Knows nothing of HTTP.
"""
