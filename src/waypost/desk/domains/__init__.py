"""Deeds about sender domains: check one, read a received message, watch those in use.

Knows nothing of DNS records and signatures: that is `domain`.
"""
