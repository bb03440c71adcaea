"""What was committed, and the only SQL: mail that is ours, who may send it, and what it cost.

A state, its ledger lines and its event are one transaction, synced before anybody is told. Decides
nothing about mail. Knows nothing of SMTP, HTTP, sessions or schedules.
"""
