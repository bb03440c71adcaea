"""Reads what a server says: replies (RFC 5321 4.2), one or many lines each, bounded.

Promises: any octets give replies or `ProtocolError`, however they are cut. A line may end in LF
alone, as some servers' do. Knows nothing of what was asked, nor of what it means for the mail.
"""

from __future__ import annotations

import re

import msgspec

from waypost.core.reply import Reply, Stage
from waypost.wire.errors import ProtocolError

REPLY_OCTETS = 65_536  # of one reply in all; RFC 5321 4.5.3.1.5 has 512 a line
REPLY_LINES = 512
SHOWN_OCTETS = 60  # of a garbled line, in the error

_CODES = {b"%d" % code: code for code in range(200, 600)}
_USUAL = re.compile(rb"([2-5]\d\d) ([^\r\n]{0,506})\r\n").match  # one line, within RFC 5321's


class Capabilities(msgspec.Struct, frozen=True):
    """What EHLO offered. `size`: None is not offered, 0 is no fixed limit; `auth` in upper case."""

    extended: bool = False
    pipelining: bool = False
    size: int | None = None
    eight_bit: bool = False
    starttls: bool = False
    auth: tuple[str, ...] = ()


class ReplyReader:
    """Takes complete replies out of what was read."""

    __slots__ = ("_at", "_buffer", "_code", "_end", "_lines", "_octets")

    def __init__(self) -> None:
        self._buffer = b""
        self._at = 0
        self._end = 0
        self._code = 0
        self._lines: list[str] = []
        self._octets = 0

    def empty(self) -> bool:
        """Nothing is left, not even of a reply that is not complete."""
        return self._at == self._end and not self._lines

    def closing(self) -> bool:
        """What is left begins with 421."""
        return not self._lines and self._buffer.startswith(b"421", self._at)

    def feed(self, data: bytes) -> None:
        """Appends what was read."""
        self._buffer = data if self._at == self._end else self._buffer[self._at :] + data
        self._at = 0
        self._end = len(self._buffer)

    def next(self, stage: Stage) -> Reply | None:
        """The next reply, or None: it is not complete. `stage` goes into the error."""
        buffer = self._buffer
        if self._at == self._end:
            return None
        if not self._lines and (found := _USUAL(buffer, self._at)) is not None:
            self._at = found.end()
            return Reply(_CODES[found[1]], (found[2].decode("utf-8", "replace"),))
        while True:
            start = self._at
            end = buffer.find(b"\n", start)
            octets = self._octets + (end + 1 if end >= 0 else len(buffer)) - start
            if octets > REPLY_OCTETS or len(self._lines) >= REPLY_LINES:
                raise ProtocolError("the server's reply is endless", stage)
            if end < 0:
                return None
            self._at = end + 1
            line = buffer[start : end - 1 if buffer[end - 1 : end] == b"\r" else end]
            code, mark = _CODES.get(line[:3], 0), line[3:4]
            if not code or mark not in b" -" or code != (self._code or code):
                raise ProtocolError(
                    f"the server's reply is garbled: {ascii(line[:SHOWN_OCTETS])[1:]}", stage
                )
            text = line[4:].decode("utf-8", "replace")
            if mark != b"-":
                lines = (*self._lines, text) if self._lines else (text,)
                self._lines.clear()
                self._code = self._octets = 0
                return Reply(code, lines)
            self._lines.append(text)
            self._code = code
            self._octets = octets


def read_capabilities(reply: Reply) -> Capabilities:
    """What the lines of an EHLO reply offer, all but the first; unknown words are passed over."""
    words: dict[str, list[str]] = {}
    auth: list[str] = []
    for line in reply.lines[1:]:
        name, *rest = line.upper().replace("AUTH=", "AUTH ", 1).split() or [""]
        if name == "AUTH":  # more than one line, and `AUTH=`, are old servers'
            auth += rest
        else:
            words.setdefault(name, rest)
    size: int | None = None
    if "SIZE" in words:
        given = words["SIZE"][:1]
        fits = given and given[0].isascii() and given[0].isdigit() and len(given[0]) <= 20
        size = int(given[0]) if fits else 0
    return Capabilities(
        extended=True,
        pipelining="PIPELINING" in words,
        size=size,
        eight_bit="8BITMIME" in words,
        starttls="STARTTLS" in words,
        auth=tuple(dict.fromkeys(auth)),
    )
