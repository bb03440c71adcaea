"""DMARC (RFC 9989): the record, the tree walk, alignment, where reports may go.

Knows nothing of sockets: questions go through `Ask`.
"""
