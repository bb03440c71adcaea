"""The connection test of an upstream, on the very code that delivery signs in with.

Promises steps with their times, a transcript without secrets, and no packet to an address or port
that delivery would not use. Knows nothing of where upstreams are kept.
"""
