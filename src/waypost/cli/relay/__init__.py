"""The commands that run the relay or its door: serve, demo, send.

Promises to be the only commands that build an app. Knows nothing of SQL and of how mail is judged.
"""
