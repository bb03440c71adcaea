"""1. A message arrives: sessions with clients, their keys, the octets, and the door.

Promises that nothing is called accepted before the store has it on disk, and that a client which
is slow, hostile or gone costs a bounded amount of memory, disk and time. Knows nothing of
upstreams, of delivery and of SQL.
"""
