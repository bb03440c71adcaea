"""SPF (RFC 7208): the record, its macros, and check_host().

Knows nothing of sockets: questions go through `Ask`.
"""
