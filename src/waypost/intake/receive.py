"""The octets of one message while they arrive: hashed, mended, kept in memory or written to a file.

Promises that a message holds at most `SPOOL_OCTETS` (and, while its header section does not end,
1 MB) of memory, that what all of them hold stays within the given bound, and that a message that
is not kept costs nothing more. Knows nothing of SMTP and of what the octets mean.
"""

from __future__ import annotations

import errno
import hashlib

from waypost.core.errors import StoreAway
from waypost.core.message import Content, SpoolPart
from waypost.core.verdict import Reason, Refusal
from waypost.intake.bounds import Memory
from waypost.policy.header import HEAD_OCTETS, head_end, split
from waypost.policy.line_ends import Flags, Mender
from waypost.store.spool import Spool, SpoolFile

SPOOL_OCTETS = 262_144  # beyond it a message goes to disk while it arrives
_RETRY_S = 30

MEMORY_FULL = Refusal(
    Reason.FULL, "The relay holds too many unfinished messages, try again later", _RETRY_S
)
_DISK_FULL = Refusal(Reason.FULL, "The relay is short of disk space, try again later", _RETRY_S)
_DISK_SICK = Refusal(
    Reason.TROUBLE, "The relay cannot write to its disk, try again later", _RETRY_S
)
_FULL_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE)


class Receiver:
    """Takes the un-dotted octets of one message, in chunks cut anywhere."""

    def __init__(self, spool: Spool, memory: Memory, limit_octets: int) -> None:
        self._spool = spool
        self._memory = memory
        self._limit = limit_octets
        self._digest = hashlib.sha256()
        self._mender = Mender()
        self._data: bytes | bytearray = b""  # not yet split into head and rest
        self._searched = 0  # octets of it in which the head does not end
        self._counted = 0  # octets of memory that are counted as ours
        self._head = b""
        self._file: SpoolFile | None = None
        self._overlong = False  # the header section does not end: no more of it is kept
        self.raw_octets = 0
        self.refusal: Refusal | None = None
        self.flags = Flags()  # what the octets held before mending, known once it is finished

    def feed(self, chunk: bytes) -> None:
        """The next octets; once `refusal` is set they are counted and thrown away."""
        self.raw_octets += len(chunk)
        if self.refusal is not None:
            return
        if self.raw_octets > self._limit:
            text = f"The message is larger than {self._limit} bytes: send less, or a link to it"
            self._drop(Refusal(Reason.TOO_LARGE, text))
            return
        self._digest.update(chunk)
        if mended := self._mender.feed(chunk):
            self._keep(mended)

    def finish(self) -> Content | Refusal:
        """The message after its last octet, or why it is not kept."""
        if self.refusal is None and (mended := self._mender.finish()):
            self._keep(mended)
        if self.refusal is not None:
            return self.refusal
        self.flags = self._mender.flags
        if self._file is not None:
            return self._spooled(self._file)
        head, rest = split(bytes(self._data))
        self._data = b""
        return self._content(head, rest)

    def release(self) -> None:
        """The message is in other hands, or gone: its memory is no longer counted here."""
        self._memory.give(self._counted)
        self._counted = 0
        self._data = b""

    def discard(self) -> None:
        """Nothing of it is kept, neither in memory nor on disk. May be called again."""
        self.release()
        if self._file is not None:
            self._file.discard()
            self._file = None

    def _keep(self, mended: bytes) -> None:
        if self._overlong:
            return
        if self._file is not None:
            self._write(self._file, mended)
            return
        fits = self._memory.take(len(mended))
        if fits:
            self._counted += len(mended)
        if not self._data:
            self._data = mended  # most messages are one chunk: no copy
        else:
            if isinstance(self._data, bytes):
                self._data = bytearray(self._data)
            self._data += mended
        if not fits or len(self._data) > SPOOL_OCTETS:
            self._spill(fits)

    def _spill(self, fits: bool) -> None:
        """Moves what is held to a file. The head stays, as rules read it; it must end before."""
        data = self._data
        end = head_end(data, self._searched)
        self._searched = len(data)
        if end < 0:
            if len(data) > HEAD_OCTETS:
                self._overlong = True  # refused by the rules, which need no more than this
            elif not fits:
                self._drop(MEMORY_FULL)
            return
        try:
            self._file = self._spool.open()
        except (OSError, StoreAway) as error:
            self._drop(_refusal(error))
            return
        self._head = bytes(data[:end])
        self.release()
        self._counted = end if self._memory.take(end) else 0
        if end < len(data):
            self._write(self._file, bytes(memoryview(data)[end:]))

    def _write(self, file: SpoolFile, data: bytes) -> None:
        try:
            file.write(data)
        except (OSError, StoreAway) as error:
            self._drop(_refusal(error))

    def _spooled(self, file: SpoolFile) -> Content | Refusal:
        try:
            name = file.finish()
        except (OSError, StoreAway) as error:
            self._drop(_refusal(error))
            return _refusal(error)
        return self._content(self._head, SpoolPart(name, 0, file.octets))

    def _content(self, head: bytes, rest: bytes | SpoolPart) -> Content:
        digest = self._digest.digest()
        return Content(head, rest, self.raw_octets, digest, self.flags.eight_bit)

    def _drop(self, refusal: Refusal) -> None:
        self.refusal = refusal
        self.discard()


def _refusal(error: Exception) -> Refusal:
    cause = error if isinstance(error, OSError) else error.__cause__
    full = isinstance(cause, OSError) and cause.errno in _FULL_ERRORS
    return _DISK_FULL if full else _DISK_SICK
