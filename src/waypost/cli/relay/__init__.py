"""The commands that run the relay, or hand it mail: serve, demo, send, sendmail.

Promises to be the only commands that build an app. Knows nothing of SQL and of how mail is judged.
"""
