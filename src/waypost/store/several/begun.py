"""Which messages are being sent: known to every process of a data directory, by locks that the
kernel drops at death.

    lock.wire    an octet a worker, at its number: it lives, and has taken over what a dead worker
                 of that number had claimed
                 an octet a message, at its id: it is being sent, until what came of it is committed

A message that is claimed, but not begun, may be taken back by whoever cancels it. That holds, since

    the worker      locks the message's octet; then looks whether anybody has changed the store
                    since it was claimed, and if so whether the claim is still its own; then sends
    who cancels     locks the message's octet, in a transaction that has seen the claim; sees that
                    the worker lives; ends the message; raises the generation; lets the octet go

so that one of them finds the octet locked, or the worker finds the claim gone. All locks of one
open file fall at once: a dead worker's messages are never free while it still seems to live.

Promises: never sent and cancelled. Knows nothing of why a message is cancelled.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Callable, Iterable
from pathlib import Path

from waypost.core.errors import StoreAway

NAME = "lock.wire"
_FLOCK = struct.Struct("@hhqqi4x")  # struct flock of Linux: type, whence, start, length, pid


class Begun:
    """Of one worker. `generation`: of the store, as all processes see it. On the loop."""

    def __init__(self, data: Path, worker: int, generation: Callable[[], int]) -> None:
        path = data / NAME
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreAway(f"{path} cannot be opened: {error.strerror}") from error
        self._worker = worker
        self._generation = generation
        self._seen = generation()
        self._doubtful: set[int] = set()  # claimed before somebody last changed the store

    def open_up(self) -> None:
        """What a dead worker of this number had claimed has fallen: claims are this one's now."""
        _lock(self._file, fcntl.F_WRLCK, self._worker)

    def begin(self, message_id: int, claimed: set[int], ours: Callable[[], bool]) -> bool:
        """Whether it may be sent now. `claimed`: all that this worker has; `ours`: asks the store
        whether it still has this one."""
        if not _lock(self._file, fcntl.F_WRLCK, message_id):
            return False
        now = self._generation()
        if now != self._seen:
            self._seen = now
            self._doubtful |= claimed
        if message_id in self._doubtful and not ours():
            self.over(message_id)
            return False
        return True

    def over(self, message_id: int) -> None:
        """What came of it is committed, or it is given back."""
        self._doubtful.discard(message_id)
        _lock(self._file, fcntl.F_UNLCK, message_id)

    def close(self) -> None:
        os.close(self._file)


class Recall:
    """For who cancels: takes messages back from workers that have not begun them. To be open until
    the transaction has ended that it is used in, and to be closed then."""

    def __init__(self, data: Path) -> None:
        try:
            self._file = os.open(data / NAME, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:  # nobody serves, or ever has
            self._file = -1
        except OSError as error:
            path = data / NAME
            raise StoreAway(f"{path} cannot be opened: {error.strerror}") from error

    def __enter__(self) -> Recall:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file >= 0:
            os.close(self._file)

    def take(self, message_id: int, claim: int) -> bool:
        """Whether it is taken back: its worker will not send it. To be asked in a transaction that
        writes and has seen the claim."""
        if self._file < 0 or not _lock(self._file, fcntl.F_WRLCK, message_id):
            return False
        if _locked(self._file, claim - 1):
            return True
        # Its worker has died: nobody knows yet how far it came.
        _lock(self._file, fcntl.F_UNLCK, message_id)
        return False

    def begun(self, message_ids: Iterable[int]) -> set[int]:
        """Those of them that are being sent."""
        if self._file < 0:
            return set()
        return {number for number in message_ids if _locked(self._file, number)}


def _lock(file: int, kind: int, place: int) -> bool:
    asked = _FLOCK.pack(kind, os.SEEK_SET, place, 1, 0)
    try:
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, asked)
    except (BlockingIOError, PermissionError):  # EAGAIN or EACCES: fcntl(2) allows either
        return False
    return True


def _locked(file: int, place: int) -> bool:
    """Whether somebody else has it."""
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, place, 1, 0)
    kind: int = _FLOCK.unpack(fcntl.fcntl(file, fcntl.F_OFD_GETLK, asked))[0]
    return kind != fcntl.F_UNLCK
