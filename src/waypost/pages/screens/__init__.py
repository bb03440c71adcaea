"""The screens about mail: overview, logs, messages, queue, senders, integrations, domains.

Knows nothing of logins.
"""
