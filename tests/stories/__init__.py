"""End-to-end stories over real sockets, told against the contract: black boxes on both sides.

Promises that what they show was seen by a real client or server. Knows nothing of Waypost's
insides.
"""
