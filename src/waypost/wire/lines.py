"""The layer of lines, both ends: commands cut out of a read, data un-dotted, data dotted.

Promises: however the input is cut, the same lines, octets and end of data come out; what is kept
back is bounded (an unfinished command line; four octets of data). Message data is searched and
changed as a whole, never line by line. Knows no command.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence

from waypost.core.reply import Stage
from waypost.wire.errors import ProtocolError

AUTH_LINE_OCTETS = 12_288  # RFC 4954 4, CR LF included; the longest of all lines
LINE_OCTETS_MAX = (
    2 * AUTH_LINE_OCTETS
)  # an endless line is thrown away up to here, then the session ends

END_OF_DATA = b"\r\n.\r\n"  # RFC 5321 4.1.1.4, and nothing else
_LINE_DOT = re.compile(rb"\r\n\.").search  # in a text of many lines twice as fast as `bytes.find`
_LF_DOT = re.compile(rb"\n\.").search

HOPS = 16
"""Dots that are looked at one by one: base64 has none behind the header section, and to find one
octet costs a thirtieth of what finding two does."""
LARGE_OCTETS = 8_192  # half a TLS record; below, the hops cost more than they save


def command(text: str, stage: Stage) -> bytes:
    """One command as it is said."""
    return commands((text,), stage)


def commands(texts: Sequence[str], stage: Stage) -> bytes:
    """The only writer of command lines: nothing in one can end it or hide in it."""
    whole = "".join(texts)
    if not whole.isascii() or not whole.isprintable():
        raise ProtocolError("a command would hold a character that cannot be said", stage)
    return "\r\n".join([*texts, ""]).encode("ascii")


class Fault(enum.Enum):
    """What is wrong with a line as such."""

    BARE_LF = "bare LF"
    ENDLESS = "endless"


class CommandLines:
    """Takes complete lines out of what was read. `left`: octets that were fed and not yet taken."""

    __slots__ = ("_at", "_buffer", "left")

    def __init__(self) -> None:
        self._buffer = b""
        self._at = 0
        self.left = 0

    def feed(self, data: bytes) -> None:
        """Appends what was read."""
        self._buffer = self._buffer[self._at :] + data if self.left else data
        self._at = 0
        self.left = len(self._buffer)

    def line(self) -> bytes | Fault | None:
        """The next line without CR LF, or None: it is not complete.

        After `BARE_LF` the bad line is gone, with what follows it up to CR LF or the end of what
        was read: one answer for one bad line, and a peer that waits behind its LF gets it at once.
        After `ENDLESS` the session must end.
        """
        buffer, start = self._buffer, self._at
        end = buffer.find(b"\n", start)
        if end < 0:
            return Fault.ENDLESS if self.left > LINE_OCTETS_MAX else None
        if end - start >= LINE_OCTETS_MAX:
            return Fault.ENDLESS
        line: bytes | Fault
        if end > start and buffer[end - 1] == 13:
            line = buffer[start : end - 1]
            self._at = end + 1
        else:
            line = Fault.BARE_LF
            whole = buffer.find(b"\r\n", end)
            self._at = len(buffer) if whole < 0 else whole + 2
        self.left = len(buffer) - self._at
        return line

    def take(self) -> bytes:
        """Everything that is left, taken out."""
        taken = self._buffer[self._at :]
        self._buffer = b""
        self._at = self.left = 0
        return taken


class DataReader:
    """Reads one message's data from behind the 354 to its end, un-dotted. `octets`: so far."""

    __slots__ = ("_held", "_skip", "octets")

    def __init__(self) -> None:
        self._held = b"\r\n"  # the line end before the data, so that a lone dot can come first
        self._skip = 2
        self.octets = 0

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        """Un-dotted octets (maybe none), and what follows the end of data, or None: no end yet."""
        buffer = self._held + data
        behind: bytes | None = None
        dotted = line_dot(buffer)
        end = buffer.find(END_OF_DATA, dotted) if dotted >= 0 else -1
        if end >= 0:
            behind = buffer[end + len(END_OF_DATA) :]
            stop = end + 2
        else:
            stop = len(buffer) - _tail(buffer)
            self._held = buffer[stop:]
        piece = buffer[self._skip : stop]
        if -1 < dotted < stop - 2:
            # The search began in front of what is skipped, so that a first line's dot is found too.
            piece = buffer[:stop].replace(b"\r\n.", b"\r\n")[self._skip :]
        if stop >= 2:
            self._skip = 0
        self.octets += len(piece)
        return piece, behind


def line_dot(text: bytes) -> int:
    """Where the first CR LF . is, or -1."""
    if len(text) < LARGE_OCTETS:
        found = _LINE_DOT(text)
        return found.start() if found else -1
    at = lf_dot(text)
    if at > 0 and text[at - 1] == 13:
        return at - 1
    found = _LINE_DOT(text, at) if at >= 0 else None
    return found.start() if found else -1


def lf_dot(text: bytes) -> int:
    """Where the first LF . is, or -1."""
    if len(text) < LARGE_OCTETS:
        found = _LF_DOT(text)
        return found.start() if found else -1
    at = text.find(b".")
    for _ in range(HOPS):
        if at < 0:
            return -1
        if at and text[at - 1] == 10:
            return at - 1
        at = text.find(b".", at + 1)
    found = _LF_DOT(text, at - 1) if at >= 0 else None
    return found.start() if found else -1


def _tail(buffer: bytes) -> int:
    """How many of the last octets may be the beginning of the end of data."""
    for length in (4, 3, 2, 1):
        if buffer.endswith(END_OF_DATA[:length]):
            return length
    return 0


class DotStuffer:
    """Doubles the dots at the beginnings of lines (RFC 5321 4.5.2), over the borders of chunks.

    A dot behind a bare LF is doubled too: a mended message has none, and if ever one had, it could
    not end the data of a server that is lax about line ends (SMTP smuggling).
    """

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last = b"\r\n"

    def stuff(self, chunk: bytes) -> bytes:
        """The chunk as it goes on the wire."""
        if not chunk:
            return chunk
        out = chunk.replace(b"\n.", b"\n..") if lf_dot(chunk) >= 0 else chunk
        if chunk[0] == 46 and self._last[-1:] == b"\n":
            out = b"." + out
        self._last = (self._last + chunk[-2:])[-2:]
        return out

    def end(self) -> bytes:
        """What ends the data: exactly one CR LF . CR LF stands at the end of all."""
        return b".\r\n" if self._last == b"\r\n" else END_OF_DATA
