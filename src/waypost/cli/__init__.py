"""The command line: a file a noun, each over the deeds of desk.

Promises one JSON value with `--json`, one plain line for an error, and exit codes 0, 1 and 2. Knows
nothing of SQL and of SMTP.
"""
