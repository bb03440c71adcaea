"""What people manage: accounts, keys, credits, upstreams, senders, logs and the queue, one
function a deed.

The command line, the API and the pages call the same deeds. Each is one transaction, waits for the
store alone, and raises `NotFound`, `UsageError` or `WrongState` with a plain sentence. Knows
nothing of SQL, sockets, HTTP or the command line.
"""
