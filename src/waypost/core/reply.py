"""An SMTP reply (RFC 5321 4.2) with its enhanced status code (RFC 3463), and the stage it came at.

The stage sets the scope of what an answer means (greeting to auth: the upstream; mail: the sender;
rcpt: the recipient; data and dot: the message). Knows nothing of sockets.
"""

from __future__ import annotations

import enum
import re

import msgspec

ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?:[ \t]|$)")
"""RFC 3463 2: class.subject.detail, here at the start of a reply's text."""

SHOWN_OCTETS = 400
"""How much of an upstream's words is repeated to a client."""

_GAP = re.compile(r"[^\x21-\x7e]{2,}|[^\x20-\x7e]")


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


class Reply(msgspec.Struct, frozen=True):
    """What the other server said: `code` 200 to 599, `lines` its texts without codes and line
    ends."""

    code: int
    lines: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """All lines as one, joined by a space."""
        return " ".join(self.lines)

    @property
    def enhanced(self) -> str:
        """The enhanced status code at the start of the first line, or an empty string."""
        found = ENHANCED.match(self.lines[0]) if self.lines else None
        return found.group(1) if found else ""

    @property
    def good(self) -> bool:
        return 200 <= self.code < 400

    @property
    def temporary(self) -> bool:
        return 400 <= self.code < 500

    @property
    def permanent(self) -> bool:
        return 500 <= self.code < 600


def printable(text: str, octets: int = SHOWN_OCTETS) -> str:
    """The text as one line of printable ASCII of at most so many octets."""
    return _GAP.sub(" ", text).strip(" ")[:octets]
