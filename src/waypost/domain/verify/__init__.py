"""Reading a received message: what its receiver saw, what its signatures are worth, what to fix.

Knows nothing of sockets, and of how its findings are shown.
"""
