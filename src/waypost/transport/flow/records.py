"""Outcomes on their way to the store.

Promises that an outcome or a release is offered again while the store is away, so that no claim is
left behind, and that nobody waits for a commit to go on. Knows nothing of what the outcomes mean.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from waypost.core.errors import StoreAway, StoreBroken
from waypost.core.message import Attempt, Parcel
from waypost.store.contract import RelayStore

AGAIN_S = 1.0  # the wait before the store is asked again

Ask = Callable[[], "asyncio.Future[None]"]


class Records:
    """What was asked of the store and is not on disk yet."""

    def __init__(self, store: RelayStore) -> None:
        self._store = store
        self._open = 0
        self._empty: asyncio.Future[None] | None = None
        self._ended = False

    @property
    def outstanding(self) -> int:
        return self._open

    def record(self, attempt: Attempt) -> None:
        self._offer(lambda: self._store.record(attempt))

    def release(self, parcel: Parcel, due_ms: int, reason: str) -> None:
        self._offer(lambda: self._store.release(parcel, due_ms, reason))

    def keep(self, ask: Ask) -> None:
        """Any other change of the store that is to be offered until it is kept."""
        self._offer(ask)

    async def settled(self) -> None:
        """Until all that was asked for is on disk."""
        while self._open and not self._ended:
            self._empty = asyncio.get_running_loop().create_future()
            await self._empty

    def give_up(self) -> None:
        """The process ends: what the store did not take is taken over from its claims."""
        self._ended = True
        self._one_less(0)

    def _offer(self, ask: Ask) -> None:
        self._open += 1
        self._ask(ask)

    def _ask(self, ask: Ask) -> None:
        try:
            asked = ask()
        except StoreAway:
            self._later(ask)
            return
        asked.add_done_callback(lambda done: self._asked(ask, done))

    def _asked(self, ask: Ask, done: asyncio.Future[None]) -> None:
        error = None if done.cancelled() else done.exception()
        if isinstance(error, StoreAway) and not isinstance(error, StoreBroken):
            self._later(ask)
        else:
            self._one_less(1)

    def _later(self, ask: Ask) -> None:
        if self._ended:
            self._one_less(1)
            return
        asyncio.get_running_loop().call_later(AGAIN_S, self._ask, ask)

    def _one_less(self, count: int) -> None:
        self._open -= count
        if self._empty is not None and not self._empty.done() and (self._ended or not self._open):
            self._empty.set_result(None)
