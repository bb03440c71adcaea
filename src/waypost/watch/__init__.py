"""5. It is told about: health, metrics, outbox and log queries. Reads what was committed.

Promises that mail flows on when it stops. Knows nothing of how a message is judged or delivered.
"""
