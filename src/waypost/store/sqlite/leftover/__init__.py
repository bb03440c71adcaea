"""What nobody else will end: the claims of dead workers, and mail that has waited for too long.

Knows nothing of connections, schedules and who delivers.
"""
