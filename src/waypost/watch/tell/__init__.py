"""What is told unasked: notices to those whose mail failed, alerts to the operator's own server.

Promises to tell only what was committed; if it stops, mail flows on. Knows nothing of delivery.
"""
