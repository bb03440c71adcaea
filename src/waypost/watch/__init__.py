"""5. It is told about: health, metrics, notices and alerts. Reads what was committed.

Promises that mail flows on when it stops. Knows nothing of how a message is judged or delivered.
"""
