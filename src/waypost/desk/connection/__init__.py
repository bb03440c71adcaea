"""Trying upstreams before they are kept: test, save what works, trust a new certificate, detect.

Promises that nothing is saved that failed its test, unless the caller said so, and that an
account's upstream never gets a forbidden address. Knows nothing of how the outcome is shown.
"""
