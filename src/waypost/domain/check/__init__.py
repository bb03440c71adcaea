"""The check of a domain, a file a subject, each giving findings with the record to publish.

Knows nothing of sockets, and of how findings are shown.
"""
