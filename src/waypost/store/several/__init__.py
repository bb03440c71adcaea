"""What several worker processes of one relay need beside the database: whose turn it is to write,
who owns an upstream, and bells to call each other by.

Promises that nothing of it is used, or costs anything, where one process serves. Knows nothing of
mail, and nothing of how the processes are started.
"""
