"""What only the operator sees: accounts, members, limits, health.

Knows nothing of mail.
"""
