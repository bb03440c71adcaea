"""A few bytes that all processes of one data directory share: two counters, mapped into memory.

`generation` is raised before and after every commit that changes what mail is judged by (accounts,
keys, senders, upstreams, balances). `bell` is raised after a commit that made work for delivery. A
reader compares and looks again; that costs it no system call. Knows nothing of what has changed.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from waypost.core.errors import StoreAway
from waypost.store.connect import Paths, transaction

GENERATION = 0  # which of the counters, each of 64 bits
BELL = 1
_OCTETS = 16


class Shared:
    """The counters of one data directory; the file is made when missing. `counters`: as they are
    now."""

    def __init__(self, data: Path) -> None:
        path = Paths(data).shared
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if os.fstat(self._file).st_size < _OCTETS:
                os.ftruncate(self._file, _OCTETS)
            self._map = mmap.mmap(self._file, _OCTETS)
        except OSError as error:
            raise StoreAway(f"{path} cannot be opened: {error.strerror}") from error
        self.counters = memoryview(self._map).cast("Q")

    @property
    def generation(self) -> int:
        return self.counters[GENERATION]

    @property
    def bell(self) -> int:
        return self.counters[BELL]

    def raise_generation(self) -> int:
        """Facts change or have changed; the value that it had before."""
        return self._raise(GENERATION)

    def ring(self) -> int:
        """There is work for delivery; the value that the bell had before."""
        return self._raise(BELL)

    def close(self) -> None:
        self.counters.release()
        self._map.close()
        os.close(self._file)

    def _raise(self, which: int) -> int:
        # Without the lock two raises at once could be one, and a late writer could put an old value
        # back.
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            value = self.counters[which]
            self.counters[which] = (value + 1) & 0xFFFF_FFFF_FFFF_FFFF
            return value
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)


@contextmanager
def changing(
    db: apsw.Connection, shared: Shared, *, facts: bool, work: bool
) -> Iterator[apsw.Connection]:
    """One writing transaction that every process learns of.

    `facts`: what mail is judged by changes. `work`: there may be something to deliver afterwards.
    """
    with transaction(db):
        yield db
        if facts:
            db.execute("UPDATE meta SET value = value + 1 WHERE name = 'generation'")
            shared.raise_generation()
    if facts:
        shared.raise_generation()
    if work:
        shared.ring()
