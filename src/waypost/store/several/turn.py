"""Whose turn it is to write, where several processes do: two locks that the kernel drops at death.

    lock.turn    held by the one who is next, while it waits
    lock.write   held by the one who writes

Whoever has just written has to queue at the first again, where the next one stands already: a busy
process starves nobody. SQLite's own lock stays the one that protects; this one only orders, since
SQLite lets its waiters poll. Where one process serves, there is no `lock.write` and nobody asks.
Knows nothing of what is written.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Iterator
from pathlib import Path

TURN = "lock.turn"
WRITE = "lock.write"
PATIENCE_S = 10.0
LOOK_S = 0.001


class Turn:
    """The turn of one process. One thread at a time uses it. Raises OSError."""

    def __init__(self, data: Path) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._turn = os.open(data / TURN, flags, 0o600)
        try:
            self._write = os.open(data / WRITE, flags, 0o600)
        except OSError:
            os.close(self._turn)
            raise
        self.held = False

    def try_take(self) -> bool:
        """Takes it if nobody writes and nobody waits; True also if it is held already."""
        if self.held:
            return True
        if _locked(self._turn):
            self.held = _locked(self._write)
            fcntl.flock(self._turn, fcntl.LOCK_UN)
        return self.held

    def take(self) -> None:
        """Waits for it, as long as it takes: never on an event loop."""
        if self.held:
            return
        fcntl.flock(self._turn, fcntl.LOCK_EX)
        try:
            fcntl.flock(self._write, fcntl.LOCK_EX)
            self.held = True
        finally:
            fcntl.flock(self._turn, fcntl.LOCK_UN)

    def take_within(self, seconds: float) -> bool:
        """Waits for it, by looking again and again: whoever is next stays next meanwhile."""
        pause = threading.Event()
        next_one = False
        for _ in range(int(seconds / LOOK_S)):
            next_one = next_one or _locked(self._turn)
            if next_one and _locked(self._write):
                self.held = True
                break
            pause.wait(LOOK_S)
        if next_one:
            fcntl.flock(self._turn, fcntl.LOCK_UN)
        return self.held

    def release(self) -> None:
        """The next one's turn; may be called when it is not held."""
        if self.held:
            self.held = False
            fcntl.flock(self._write, fcntl.LOCK_UN)

    def close(self) -> None:
        os.close(self._turn)
        os.close(self._write)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def alone(data: Path) -> None:
    """One process serves: nobody needs to take turns."""
    (data / WRITE).unlink(missing_ok=True)


@contextlib.contextmanager
def in_turn(data: Path) -> Iterator[None]:
    """For a writer that is no worker's batch: waits its turn, where there are turns, but not for
    ever. In the end SQLite's lock decides."""
    if not (data / WRITE).exists():
        yield
        return
    turn = Turn(data)
    try:
        turn.take_within(PATIENCE_S)
        yield
    finally:
        turn.close()
