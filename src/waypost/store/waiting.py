"""Who waits for the first outcome of a message: intake, to answer its client.

Promises: what it tells was committed; whoever asks late is told at once; what nobody asks for is
forgotten. In memory only: the store's rows know the same, more slowly. Knows nothing of SQL.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from waypost.core.verdict import Settled

KEPT = 8_192  # messages whose first outcome nobody has asked for yet


class Entry:
    """What is known of one message. `tried`: no recipient awaits a first try, or no try can
    begin."""

    __slots__ = ("futures", "settled", "tried")

    def __init__(self, settled: Settled) -> None:
        self.settled = settled
        self.tried = False
        self.futures: list[asyncio.Future[None]] = []


class Waiting:
    """The messages of this process that are on their first try, or were not long ago."""

    def __init__(self) -> None:
        self._entries: dict[int, Entry] = {}
        self._no_tries: dict[int, tuple[str, int]] = {}

    def expect(self, message_id: int, count: int) -> None:
        """A message was committed: its first outcome will come, or `no_try` has been said of it
        already."""
        entry = Entry(Settled(message_id, count, 0, 0))
        self._entries[message_id] = entry
        if len(self._entries) > KEPT:
            self._forget_oldest()
        early = self._no_tries.pop(message_id, None)
        if early is not None:
            self.no_try(message_id, *early)

    def no_try(self, message_id: int, hint: str, next_ms: int) -> None:
        """Nothing will be tried in time; before the commit is told of, it is remembered."""
        entry = self._entries.get(message_id)
        if entry is None:
            self._no_tries[message_id] = (hint, next_ms)
            if len(self._no_tries) > KEPT:
                del self._no_tries[next(iter(self._no_tries))]
        elif not entry.tried:
            self._told(entry, msgspec.structs.replace(entry.settled, hint=hint, next_at_ms=next_ms))

    def outcome(self, settled: Settled) -> None:
        """An attempt was committed."""
        entry = self._entries.get(settled.message_id)
        if entry is not None:
            self._told(entry, settled)

    def elsewhere(self, message_id: int, read: Callable[[int], Settled]) -> None:
        """An attempt was committed by another process: who waits is told what is `read`; whoever
        asks later reads."""
        entry = self._entries.pop(message_id, None)
        if entry is not None and entry.futures:
            self._told(entry, read(message_id))

    def get(self, message_id: int) -> Entry | None:
        return self._entries.get(message_id)

    async def wait(self, entry: Entry, wait_s: float) -> Settled:
        """What is known once it was tried, at the latest after that long."""
        if not entry.tried and wait_s > 0:
            loop = asyncio.get_running_loop()
            future: asyncio.Future[None] = loop.create_future()
            entry.futures.append(future)
            timer = loop.call_later(wait_s, _wake, future)
            try:
                await future
            finally:
                timer.cancel()
                if future in entry.futures:
                    entry.futures.remove(future)
        return entry.settled

    def end(self) -> None:
        """The store closes: nobody is told anything more."""
        for entry in self._entries.values():
            for future in entry.futures:
                _wake(future)
            entry.futures.clear()

    def _told(self, entry: Entry, settled: Settled) -> None:
        entry.settled = settled
        entry.tried = True
        for future in entry.futures:
            _wake(future)
        entry.futures.clear()

    def _forget_oldest(self) -> None:
        for message_id, entry in self._entries.items():
            if not entry.futures:
                del self._entries[message_id]
                return


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
