"""The errors of the wire: what the other end did that cannot be gone on with.

Knows nothing of what then becomes of a message.
"""

from __future__ import annotations

from waypost.core.errors import WaypostError
from waypost.core.reply import Stage


class ProtocolError(WaypostError):
    """The other server did not speak SMTP, or the unsayable was to be said: close."""

    def __init__(self, public: str, stage: Stage) -> None:
        super().__init__(public)
        self.stage = stage


class NoMechanism(ProtocolError):
    """The server offers no way to log in that is known here."""


class CannotCarry(WaypostError):
    """The server cannot take this message: `enhanced` is 5.6.3 (8-bit octets) or 5.3.4 (size)."""

    def __init__(self, public: str, enhanced: str) -> None:
        super().__init__(public)
        self.enhanced = enhanced
