"""What all sessions together may use: sessions, memory of unfinished messages, disk.

Promises counts that hold over all workers (sessions) or are this worker's share (memory), and
constant cost. Knows nothing of SMTP, of the store and of what is counted for.
"""

from __future__ import annotations

import collections
import errno
import mmap
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from waypost.log import get

ADDRESS_BUCKETS = 16384  # two addresses in one bucket are counted together: 1 in 16,384
DISK_FREE_BYTES = (
    1024 * 1024 * 1024
)  # keeps room for the store's own log and the messages under way
DISK_FREE_PART = 20  # or a twentieth of a small disk
DISK_CHECK_S = 1.0
MEMORY_RESERVE_BYTES = 65536  # what a message without SIZE= is taken to need at MAIL


_OPEN, _STRANGERS, _COUNTS = range(3)  # where a worker's row has its counts, and the addresses

Shared: TypeAlias = bytearray | mmap.mmap
"""Memory that all workers see: an anonymous `mmap` made before the fork. One needs no sharing."""


def shared_octets(workers: int) -> int:
    """How many octets of shared memory `SessionCaps` needs."""
    return workers * (_COUNTS + ADDRESS_BUCKETS) * 4


class SessionCaps:
    """How many sessions are open in all, from each address, and of strangers who have not shown a
    key, over all workers.

    Each worker writes its own row only, so no lock is needed; two workers that accept in the same
    instant may pass a cap by one each.
    """

    def __init__(
        self,
        sessions: int,
        per_address: int,
        shared: Shared | None = None,
        worker: int = 0,
    ) -> None:
        self._sessions = sessions
        self._per_address = per_address
        self._here: collections.Counter[str] = collections.Counter()
        self._open = 0
        octets = shared if shared is not None else bytearray(shared_octets(1))
        self._own, self._others = rows_of(octets, _COUNTS + ADDRESS_BUCKETS, worker)

    def enter(self, address: str) -> str | None:
        """Counts a session in; or says in plain words which cap is reached, and counts nothing."""
        bucket = self._bucket(address)
        if self._open + sum(row[_OPEN] for row in self._others) >= self._sessions:
            return "too many sessions, try again later"
        there = sum(row[bucket] for row in self._others)
        if self._here[address] + there >= self._per_address:
            return "too many sessions from your address, close some first"
        self._count(address, bucket, 1)
        return None

    def limit(self, sessions: int, per_address: int) -> None:
        """Other caps from now on; who is in stays."""
        self._sessions, self._per_address = sessions, per_address

    def leave(self, address: str) -> None:
        """Counts a session out that `enter` let in."""
        self._count(address, self._bucket(address), -1)

    def _count(self, address: str, bucket: int, by: int) -> None:
        self._open += by
        self._here[address] += by
        if not self._here[address]:
            del self._here[address]
        self._own[_OPEN] += by
        self._own[bucket] += by

    @staticmethod
    def _bucket(address: str) -> int:
        return _COUNTS + bucket_of(address)

    @property
    def strangers(self) -> int:
        """Sessions that have not shown a key, over all workers."""
        return self._own[_STRANGERS] + sum(row[_STRANGERS] for row in self._others)

    def strange(self, by: int) -> None:
        """Counts strangers of this worker in (1) or out (-1)."""
        self._own[_STRANGERS] += by


def bucket_of(address: str) -> int:
    """Where an address is counted."""
    return zlib.crc32(address.encode()) % ADDRESS_BUCKETS


def rows_of(shared: Shared, width: int, worker: int) -> tuple[memoryview, list[memoryview]]:
    """(this worker's row, those of the others) of whole numbers; its own is cleared of what a
    predecessor that died has left."""
    counts = memoryview(shared).cast("B").cast("I")
    rows = [counts[at : at + width] for at in range(0, len(counts), width)]
    own = rows.pop(worker)
    own[:] = memoryview(bytearray(4 * width)).cast("I")
    return own, rows


class Memory:
    """The octets of unfinished messages that are held in memory, of this worker."""

    def __init__(self, limit_octets: int) -> None:
        self._limit = limit_octets
        self.used_octets = 0

    def limit(self, octets: int) -> None:
        """Another limit from now on; what is held stays."""
        self._limit = octets

    def take(self, octets: int) -> bool:
        """Counts them, unless they do not fit."""
        if self.used_octets + octets > self._limit:
            return False
        self.used_octets += octets
        return True

    def give(self, octets: int) -> None:
        """They are no longer held."""
        self.used_octets -= octets

    def room_for(self, declared_octets: int) -> bool:
        """Whether a new message may begin; small ones that say so pass when little is left."""
        small = 0 < declared_octets < MEMORY_RESERVE_BYTES
        wanted = declared_octets if small else MEMORY_RESERVE_BYTES
        return self.used_octets + wanted <= self._limit


def free_octets(path: Path) -> tuple[int, int]:
    """Octets free to this process, and octets in all, of the file system; files left count too.

    A file system that has run out of inodes has nothing free.
    """
    seen = os.statvfs(path)
    if seen.f_files and not seen.f_favail:
        return 0, seen.f_blocks * seen.f_frsize
    return seen.f_bavail * seen.f_frsize, seen.f_blocks * seen.f_frsize


class Ground:
    """The data directory as it was at the start, with the store's file in it."""

    def __init__(self, data: Path, store: Path) -> None:
        self._data = data
        self._store = store
        self._began = _identity(store)

    def free(self) -> tuple[int, int]:
        """As `free_octets`. Raises OSError where the file system is read-only, and where the
        directory is gone or another has its place: the files that are open have no name then, and
        what they are given is lost with this process."""
        if os.statvfs(self._data).f_flag & os.ST_RDONLY:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        if _identity(self._store) != self._began:
            raise OSError(errno.ESTALE, "another has its place, start the relay anew")
        return free_octets(self._data)


def _identity(path: Path) -> tuple[int, int]:
    seen = path.stat()
    return seen.st_dev, seen.st_ino


class Disk:
    """Whether a message may still be written; looks at most once a second. `sick`: the system's
    words where the data directory cannot be looked at or written, else empty."""

    def __init__(self, free: Callable[[], tuple[int, int]]) -> None:
        self._free = free
        self._looked_s = float("-inf")
        self._room = True
        self.sick = ""

    def lacks(self, now_s: float) -> str:
        """Why no message can be written, in plain words; empty when one can."""
        if self.room(now_s):
            return ""
        if self.sick:
            return f"the data directory cannot be written ({self.sick}): new mail is refused"
        return "the disk is nearly full: new mail is refused"

    def room(self, now_s: float) -> bool:
        """False when less than 1 GiB and a twentieth of the disk is free, or nobody can say."""
        if now_s - self._looked_s >= DISK_CHECK_S:
            self._looked_s = now_s
            try:
                free, total = self._free()
            except OSError as error:
                said, self._room = error.strerror or "no answer", False
                if said != self.sick:
                    get("intake").error("data_directory_away", why=said)
                self.sick = said
            else:
                self.sick = ""
                self._room = free >= min(DISK_FREE_BYTES, total // DISK_FREE_PART)
        return self._room
