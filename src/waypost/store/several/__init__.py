"""What several processes of one data directory need beside the database: whose turn it is to write,
who owns an upstream, what is being sent, and bells to call each other by.

Promises that what several workers alone need costs nothing where one serves. Knows nothing of mail,
and nothing of how the processes are started.
"""
