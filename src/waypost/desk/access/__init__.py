"""Who may manage: the tokens of the management API, and the people who sign in to the dashboard.

Promises that a secret is kept as its hash alone and shown once. Knows nothing of HTTP and of what
is managed.
"""
