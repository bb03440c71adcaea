"""SMTP (RFC 5321) without I/O, both ends: bytes in, events out, bytes to write.

Promises: the same events for the same bytes however they are cut; constant memory for any input;
no error but our own. Knows nothing of sockets, loops, clocks, TLS, logs, accounts or the store.
"""
