"""Line ends are mended while a message arrives, so that everything else sees CR LF and nothing
besides.

CRs directly before CR LF are dropped, any other bare CR becomes a space, a bare LF becomes CR LF.
It is told what was seen (`Flags`), so that the rules may refuse instead. Works on chunks cut
anywhere. Knows nothing of headers, dots or ends of data.
"""

from __future__ import annotations

import re

import msgspec

# The look-behind keeps a long run of CRs linear: only its first position is tried.
_CRS_LF = re.compile(rb"(?<!\r)\r++\n")


class Flags(msgspec.Struct, frozen=True):
    """What the octets held before mending: a CR or LF that is not of a CR LF, a NUL, an octet above
    127.
    """

    bare: bool = False
    nul: bool = False
    eight_bit: bool = False


class Mender:
    """Mends one message. All that `feed` and `finish` return, joined, is empty or ends in CR LF."""

    __slots__ = ("_bare", "_eight_bit", "_held", "_last", "_nul")

    def __init__(self) -> None:
        # CRs at the end of what was fed: what they mean is decided by the next octet.
        self._held = 0
        self._last = b"\n"
        self._bare = self._nul = self._eight_bit = False

    @property
    def flags(self) -> Flags:
        """What was seen until now."""
        return Flags(self._bare, self._nul, self._eight_bit)

    def feed(self, chunk: bytes) -> bytes:
        """The mended octets that can be decided on; a clean chunk is returned itself."""
        if not chunk:
            return b""
        if not chunk.isascii():
            self._eight_bit = True
        if b"\0" in chunk:
            self._nul = True
        if self._held:
            chunk = self._after_held(chunk)
        if chunk.endswith(b"\r"):
            kept = chunk.rstrip(b"\r")
            self._held, chunk = len(chunk) - len(kept), kept
        # Clean text is the same without its CRs and with one put before each LF. Counting CR LF
        # says it too, at four times the cost.
        if chunk != chunk.replace(b"\r", b"").replace(b"\n", b"\r\n"):
            self._bare = True
            chunk = _mended(chunk)
        if chunk:
            self._last = chunk[-1:]
        return chunk

    def _after_held(self, chunk: bytes) -> bytes:
        """The chunk behind what the held CRs come to; a run is counted, never copied again."""
        after = chunk.lstrip(b"\r")
        run = self._held + len(chunk) - len(after)
        if not after:
            self._held = run
            return b""
        self._held = 0
        if after.startswith(b"\n"):
            self._bare = self._bare or run > 1
            return b"\r" + after
        self._bare = True
        return b" " * run + after

    def finish(self) -> bytes:
        """What was held back, with the CR LF that the last line lacks."""
        held, self._held = self._held, 0
        if held:
            self._bare = True
        elif self._last == b"\n":
            return b""
        self._last = b"\n"
        return b" " * held + b"\r\n"


def _mended(chunk: bytes) -> bytes:
    pairs = _CRS_LF.sub(b"\n", chunk) if b"\r\r\n" in chunk else chunk.replace(b"\r\n", b"\n")
    return pairs.replace(b"\r", b" ").replace(b"\n", b"\r\n")
