"""What DNS says of a sender domain: SPF, DKIM, DMARC, and the advice that follows.

Promises to ask and to advise, never to change anything, and that what could not be asked is said
to be so, never to be missing. Knows nothing of queues, credits and sessions.
"""
