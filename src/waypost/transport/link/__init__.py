"""One connection to an upstream: where it may lead, how it is protected, and its octets.

Promises that no address is used that was not checked, and no credential leaves before TLS holds.
Knows nothing of messages, queues or what a failure means.
"""
