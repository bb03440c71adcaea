"""Changes that people make: each function is a part of one write transaction, which its caller
holds.

Decides nothing about who may do what. Knows nothing of delivery, sealing or how things are shown.
"""
