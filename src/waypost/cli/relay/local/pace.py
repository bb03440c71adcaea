"""Speaking in turn on behalf of a caller of `-bs` that does not wait: a script piped in whole.

Promises that a command goes on only when the one before it has its answer, that after 354 all goes
on up to the lone dot, and that a caller whose first line ends in LF alone is understood so
throughout. Octets in, octets out; knows no sockets.
"""

from __future__ import annotations

HELD_LINE_OCTETS = 65_536  # a longer line of text goes on in pieces
_TEXT_FOLLOWS = b"354"


class Pace:
    """One session. `said` and `heard` return what may be sent to the relay now."""

    def __init__(self) -> None:
        self._held = b""
        self._line_end = b""  # as the caller writes it; its first line tells
        self._waiting = False
        self._text = False
        self._inside_line = False
        self._answer = b""

    @property
    def idle(self) -> bool:
        """Whether the relay owes no answer."""
        return not self._waiting

    def said(self, octets: bytes) -> bytes:
        """The caller's octets."""
        self._held += octets
        return self._due()

    def ended(self) -> bytes:
        """The caller has ended; its last line may lack its end."""
        if self._held and not self._held.endswith(b"\n"):
            self._held += self._line_end or b"\r\n"
        return self._due()

    def heard(self, octets: bytes) -> bytes:
        """The relay's octets."""
        *lines, self._answer = (self._answer + octets).split(b"\r\n")
        for line in lines:
            if line[3:4] != b"-":  # the last line of an answer (RFC 5321 4.2.1)
                self._waiting = False
                self._text = line.startswith(_TEXT_FOLLOWS)
        return self._due()

    def _due(self) -> bytes:
        due: list[bytes] = []
        if not self._line_end:
            first, found, _ = self._held.partition(b"\n")
            if not found:
                return b""
            self._line_end = b"\r\n" if first.endswith(b"\r") else b"\n"
        at = 0
        while not self._waiting:
            end = self._held.find(self._line_end, at)
            if end < 0:
                break
            line, at = self._held[at:end], end + len(self._line_end)
            due += (line, b"\r\n")
            self._waiting = not self._text or (line == b"." and not self._inside_line)
            self._inside_line = False
        self._held = self._held[at:]
        if self._text and not self._waiting and len(self._held) > HELD_LINE_OCTETS:
            due.append(self._held[:-1])  # what is left may be the first half of CR LF
            self._held = self._held[-1:]
            self._inside_line = True
        return b"".join(due)
