"""What mail is: addresses, messages, states, replies, verdicts and errors.

Imports nothing of ours, waits for nothing, reads no clock, socket or file. Every other folder
speaks in these words. Knows nothing of SQL, SMTP sessions, HTTP or configuration.
"""
