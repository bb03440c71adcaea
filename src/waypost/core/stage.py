"""How far a connection to an upstream has come: what was awaited when an answer or an error came.

The stage sets the scope of what an answer means (greeting to auth: the upstream; mail: the sender;
rcpt: the recipient; data and dot: the message). Knows nothing of sockets or replies.
"""

from __future__ import annotations

import enum


class Stage(enum.StrEnum):
    """In the order of a connection; each is the answer or deed that is awaited."""

    CONNECT = "connect"
    GREETING = "greeting"
    EHLO = "ehlo"
    STARTTLS = "starttls"
    HANDSHAKE = "handshake"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    DOT = "dot"
    QUIT = "quit"
    IDLE = "idle"
