"""What DNS says of a sender domain: SPF, DKIM, DMARC, and the advice that follows.

Promises to ask and to advise, never to change anything. Knows nothing of queues, credits and
sessions.
"""
