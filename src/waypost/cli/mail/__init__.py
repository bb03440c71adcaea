"""The commands about mail and its ways out: upstream, sender, domain, log, queue.

Promises what the folder above promises. Knows nothing of SMTP.
"""
