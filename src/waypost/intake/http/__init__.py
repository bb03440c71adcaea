"""The HTTP way in: a JSON call or a raw message becomes a submission at the same door as SMTP's.

Promises that a field of JSON never becomes a header line of its own, that an answer is made of what
the store committed, and that one `Idempotency-Key` is one message. Knows nothing of upstreams,
of delivery, of SQL and of the reading routes.
"""
