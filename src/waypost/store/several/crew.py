"""What the workers of one relay tell each other, over pipes and shared memory made before the fork.

    WORK      one worker committed a message; the owner of its upstream is to claim it
    ENDED     an attempt was committed; the worker that accepted the message has a client waiting
    NO_TRY    no try of it can begin now; the same
    CHANGED   a worker came or went: whose is what?
    BROKEN    the disk failed: nobody may write

Promises that telling never waits: what does not fit a pipe is dropped, and `lost` says so. Nothing
here is needed for mail to arrive, only for it to be quick: owners also look by themselves. Knows
nothing of the database.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import mmap
import os
import struct
from collections.abc import Callable
from typing import Protocol

from waypost.core import ident

_RECORD = struct.Struct("=qqqq")
_AT_ONCE = 4096 // _RECORD.size  # records; a write of PIPE_BUF octets is whole or not at all
_READ_OCTETS = _RECORD.size * 2048
_ROW = 3  # words of shared memory a worker: is it up, is it ready, its heart


class Word(enum.IntEnum):
    """What is told."""

    WORK = 1
    ENDED = 2
    NO_TRY = 3
    CHANGED = 4
    BROKEN = 5


class Listener(Protocol):
    """Who is told of what other workers say."""

    def work(self, message_id: int, sender_id: int, account_id: int) -> None:
        """A message for an upstream that should be this worker's was committed elsewhere."""

    def ended(self, message_id: int) -> None:
        """An attempt of a message that was accepted here was committed elsewhere."""

    def no_try(self, message_id: int) -> None:
        """A message that was accepted here cannot be tried now."""

    def changed(self) -> None:
        """A worker came or went."""

    def broken(self) -> None:
        """The disk failed in another worker."""


class Ground:
    """What all workers and their parent share; made by the parent, before any fork."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.bells = [os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) for _ in range(workers)]
        # Nobody writes to it: its end is read when the parent, who alone keeps `life[1]`, is gone.
        self.life = os.pipe2(os.O_CLOEXEC)
        self._words = memoryview(mmap.mmap(-1, workers * _ROW * 4)).cast("B").cast("I")

    def up(self, worker: int) -> bool:
        """Whether it is there for its upstreams, or about to be for the first time."""
        return bool(self._words[worker * _ROW])

    def set_up(self, worker: int, up: bool) -> None:
        self._words[worker * _ROW] = up

    def ready(self, worker: int) -> bool:
        """Whether it takes mail."""
        return bool(self._words[worker * _ROW + 1])

    def set_ready(self, worker: int, ready: bool) -> None:
        self._words[worker * _ROW + 1] = ready

    def heart(self, worker: int) -> int:
        """A number that rises while its loop turns."""
        return self._words[worker * _ROW + 2]

    def beat(self, worker: int) -> None:
        place = worker * _ROW + 2
        self._words[place] = (self._words[place] + 1) & 0xFFFF_FFFF

    def owner_of(self, upstream_id: int) -> int:
        """Whose an upstream should be: its own number's, or the next one's that is up."""
        first = upstream_id % self.workers
        for step in range(self.workers):
            worker = (first + step) % self.workers
            if self._words[worker * _ROW]:
                return worker
        return first

    def tell(self, worker: int, records: list[bytes]) -> bool:
        """Writes to a worker's bell; False if some of it did not fit."""
        for at in range(0, len(records), _AT_ONCE):
            try:
                os.write(self.bells[worker][1], b"".join(records[at : at + _AT_ONCE]))
            except OSError:
                return False
        return True

    def tell_all(self, word: Word, but: int = -1) -> None:
        record = _RECORD.pack(word, 0, 0, 0)
        for worker in range(self.workers):
            if worker != but:
                self.tell(worker, [record])


class Crew:
    """The others, as one worker sees them. What is told in one round of the loop goes in one
    write."""

    def __init__(self, ground: Ground, number: int) -> None:
        self.ground = ground
        self.number = number
        self._telling: dict[int, list[bytes]] = {}
        self._listener: Listener | None = None
        self.lost: Callable[[], None] | None = None

    def listen(self, listener: Listener, lost: Callable[[], None]) -> None:
        """Hears the bell from now on; on the loop. `lost` is called when something did not go
        out."""
        self._listener, self.lost = listener, lost
        asyncio.get_running_loop().add_reader(self.ground.bells[self.number][0], self._heard)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self.ground.bells[self.number][0])
        self._listener = self.lost = None

    def owner_of(self, upstream_id: int) -> int:
        return self.ground.owner_of(upstream_id)

    def tell_work(self, message_id: int, upstream_id: int, lane: tuple[int, int]) -> bool:
        """Rings the owner of the upstream; `lane`: sender and account. False: it is ours."""
        owner = self.ground.owner_of(upstream_id)
        if owner == self.number:
            return False
        self._tell(owner, Word.WORK, message_id, *lane)
        return True

    def tell_ended(self, message_id: int) -> None:
        """Rings the worker that accepted it, if that is another."""
        self._tell_origin(Word.ENDED, message_id)

    def tell_no_try(self, message_id: int) -> None:
        self._tell_origin(Word.NO_TRY, message_id)

    def tell_changed(self) -> None:
        self.ground.tell_all(Word.CHANGED, but=self.number)

    def _tell_origin(self, word: Word, message_id: int) -> None:
        origin = ident.worker(message_id)
        if origin != self.number and origin < self.ground.workers:
            self._tell(origin, word, message_id)

    def _tell(self, worker: int, word: Word, a: int, b: int = 0, c: int = 0) -> None:
        if not self._telling:
            asyncio.get_running_loop().call_soon(self._go)
        self._telling.setdefault(worker, []).append(_RECORD.pack(word, a, b, c))

    def _go(self) -> None:
        telling, self._telling = self._telling, {}
        whole = [self.ground.tell(worker, records) for worker, records in telling.items()]
        if not all(whole) and self.lost is not None:
            self.lost()

    def _heard(self) -> None:
        told = b""
        with contextlib.suppress(BlockingIOError):
            told = os.read(self.ground.bells[self.number][0], _READ_OCTETS)
        for word, a, b, c in _RECORD.iter_unpack(told):
            if self._listener is None:
                return
            match word:
                case Word.WORK:
                    self._listener.work(a, b, c)
                case Word.ENDED:
                    self._listener.ended(a)
                case Word.NO_TRY:
                    self._listener.no_try(a)
                case Word.CHANGED:
                    self._listener.changed()
                case Word.BROKEN:
                    self._listener.broken()
