"""Who owns an upstream: the one worker that connects to it.

One lock file, one octet of it an upstream, held by an open file description for as long as the
worker lives (fcntl(2), "open file description locks"): one descriptor, however many upstreams.
Whose an upstream should be is plain arithmetic over those that are up, so that everybody knows whom
to ring: number modulo workers, or the next that is up.

Promises that no two living workers own one upstream. Knows nothing of connections.
"""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

from waypost.store.several.crew import Crew

_FLOCK = struct.Struct("@hhqqi4x")  # struct flock of Linux: type, whence, start, length, pid


class Owners:
    """The upstreams of one worker. Made after the fork: a lock belongs to whoever opened it."""

    def __init__(self, data: Path, crew: Crew) -> None:
        self.crew = crew
        self._file = os.open(data / "lock.upstreams", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._mine: set[int] = set()

    def owns(self, upstream_id: int) -> bool:
        """Whether this worker may connect to it."""
        return upstream_id in self._mine

    def wanted(self, upstream_id: int) -> bool:
        """Whether it should be this worker's."""
        return self.crew.owner_of(upstream_id) == self.crew.number

    def take(self, upstream_id: int) -> bool:
        """Makes it this worker's; False while another has it."""
        if not self._lock(upstream_id, fcntl.F_WRLCK):
            return False
        self._mine.add(upstream_id)
        return True

    def leave(self, upstream_id: int) -> None:
        """Nothing new for it; the others still may not have it until `free`."""
        self._mine.discard(upstream_id)

    def free(self, upstream_id: int) -> None:
        """Its last connection is closed: whose it should be may take it."""
        self._mine.discard(upstream_id)
        self._lock(upstream_id, fcntl.F_UNLCK)

    def close(self) -> None:
        """All of them are free."""
        self._mine.clear()
        os.close(self._file)

    def _lock(self, upstream_id: int, kind: int) -> bool:
        asked = _FLOCK.pack(kind, os.SEEK_SET, upstream_id, 1, 0)
        try:
            fcntl.fcntl(self._file, fcntl.F_OFD_SETLK, asked)
        except (BlockingIOError, PermissionError):  # EAGAIN or EACCES: fcntl(2) allows either
            return False
        return True
