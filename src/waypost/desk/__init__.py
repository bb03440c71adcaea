"""What people manage: accounts, keys, credits, upstreams, senders, logs and the queue, one
function a deed.

The command line, the API and the pages call the same deeds. Each is one transaction and waits for
the store alone (but those that try an upstream, send, or ask DNS), and raises `NotFound`,
`UsageError` or `WrongState` with a plain sentence. Knows nothing of SQL, HTTP or the command line.
"""
