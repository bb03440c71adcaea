"""Locks that the kernel drops when their holder dies: files held with flock for as long as a
process lives.

Promises: what is held is held by one open file of one living process. Knows nothing of the
database.
"""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

from waypost.core.errors import StoreAway
from waypost.store.connect import Paths

WORKERS = 200  # numbers of workers that serve; those above are for commands
COMMAND_NUMBERS = range(255, WORKERS - 1, -1)  # core/ident: 8 bits
ORPHANS_S = 30.0  # thrice what they give themselves, and some
PATIENCE_S = 1.0  # somebody may hold a worker's lock for a moment, to take over what it left


class Lock:
    """A lock that is held until `close` or the end of the process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def take(path: Path) -> Lock | None:
    """The lock, or None if somebody holds it. Raises `StoreAway` if there cannot be one."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreAway(f"{path} cannot be opened: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError as error:
        os.close(descriptor)
        raise StoreAway(f"{path} cannot be locked: {error.strerror}") from error
    return Lock(descriptor)


def hold(path: Path, what: str, patience_s: float = 0.0) -> Lock:
    """The lock, waited for that long. Raises `StoreAway` saying `what` is in use."""
    pause = threading.Event()
    tries = max(1, int(patience_s / 0.05))
    for left in range(tries, 0, -1):
        lock = take(path)
        if lock is not None:
            return lock
        if left > 1:
            pause.wait(0.05)
    raise StoreAway(f"{what} is in use by another process")


def held(path: Path) -> bool:
    """Whether a living process holds it."""
    lock = take(path) if path.exists() else None
    if lock is None:
        return path.exists()
    lock.close()
    return False


def hold_serve(data: Path) -> Lock:
    """For the one relay of a data directory. Raises `StoreAway` if there is one already."""
    lock = take(Paths(data).lock("serve"))
    if lock is None:
        raise _running(data)
    return lock


def refuse_second(data: Path) -> None:
    """Raises `StoreAway` if there is a relay already; makes nothing. For who is about to take its
    ports: that they are taken would be the lesser truth."""
    if held(Paths(data).lock("serve")):
        raise _running(data)


def _running(data: Path) -> StoreAway:
    return StoreAway(f"a relay is running already on {data}; one data directory is one relay's")


def hold_parent(data: Path) -> Lock:
    """For the process that was started as the relay; its workers inherit `hold_serve`'s lock, and
    close this one. Raises `StoreAway`."""
    return hold(Paths(data).lock("parent"), f"the relay of {data}", PATIENCE_S)


def outlive_orphans(data: Path) -> None:
    """Waits for workers whose parent was killed: they are about to end, and hold lock and ports."""
    paths = Paths(data)
    pause = threading.Event()
    for _ in range(int(ORPHANS_S / 0.05)):
        if not held(paths.lock("serve")) or held(paths.lock("parent")):
            return
        pause.wait(0.05)


def hold_worker(data: Path, worker: int | None) -> tuple[int, Lock]:
    """A worker's number for life; None takes any that is free among those for commands."""
    paths = Paths(data)
    if worker is not None:
        name = f"worker number {worker} of {data}"
        return worker, hold(paths.lock(f"worker.{worker}"), name, PATIENCE_S)
    for number in COMMAND_NUMBERS:
        lock = take(paths.lock(f"worker.{number}"))
        if lock is not None:
            return number, lock
    raise StoreAway(f"too many commands write to {data} at once")
