"""Outcomes on their way to the store.

Promises that an outcome or a release is offered again while the store is away, so that no claim is
left behind, and that nobody waits for a commit to go on. Knows nothing of what the outcomes mean.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from waypost.core.errors import StoreAway, StoreBroken
from waypost.core.lifecycle import State
from waypost.core.message import Attempt, Parcel
from waypost.store.contract import RelayStore

AGAIN_S = 1.0  # the wait before the store is asked again

Ask = Callable[[], "asyncio.Future[None]"]


class Records:
    """What was asked of the store and is not on disk yet; `outstanding`: how much that is.
    `results`: of recipients in attempts, by the state that they left them in."""

    def __init__(self, store: RelayStore) -> None:
        self.outstanding = 0
        self.results = dict.fromkeys(State, 0)
        self._store = store
        self._empty: asyncio.Future[None] | None = None
        self._ended = False

    def record(self, attempt: Attempt) -> None:
        for result in attempt.results:
            self.results[result.state] += 1
        self.keep(partial(self._store.record, attempt))

    def release(self, parcel: Parcel, due_ms: int, reason: str) -> None:
        self.keep(partial(self._store.release, parcel, due_ms, reason))

    def keep(self, ask: Ask) -> None:
        """Any change of the store: it is offered until it is kept."""
        self.outstanding += 1
        self._ask(ask)

    async def settled(self) -> None:
        """Until all that was asked for is on disk."""
        while self.outstanding and not self._ended:
            if self._empty is None or self._empty.done():
                self._empty = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._empty)  # others wait for the same

    def give_up(self) -> None:
        """The process ends: what the store did not take is taken over from its claims."""
        self._ended = True
        self._one_less(0)

    def _ask(self, ask: Ask) -> None:
        try:
            asked = ask()
        except StoreAway:
            self._later(ask)
            return
        asked.add_done_callback(partial(self._asked, ask))

    def _asked(self, ask: Ask, done: asyncio.Future[None]) -> None:
        error = None if done.cancelled() else done.exception()
        if error is None or not isinstance(error, StoreAway) or isinstance(error, StoreBroken):
            self._one_less(1)
        else:
            self._later(ask)

    def _later(self, ask: Ask) -> None:
        if self._ended:
            self._one_less(1)
            return
        asyncio.get_running_loop().call_later(AGAIN_S, self._ask, ask)

    def _one_less(self, count: int) -> None:
        self.outstanding -= count
        if self._empty is None or self._empty.done():
            return
        if self._ended or not self.outstanding:
            self._empty.set_result(None)
