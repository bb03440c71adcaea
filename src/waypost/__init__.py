"""Waypost: one email relay in front of many SMTP mailboxes.

`ls` of this folder tells the story of a message: it arrives (intake), is checked (policy),
committed (store), delivered (transport) and told about (watch). ARCHITECTURE.md has the law of
imports.
"""

__version__ = "0.1.0"
