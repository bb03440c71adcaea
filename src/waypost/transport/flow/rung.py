"""Messages that another worker committed for an upstream of this one: claimed at once, without a
look at everything else that waits.

Promises one claim a lane, and that all that was rung for while a commit runs goes into the next.
Knows nothing of who rang.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from waypost import log
from waypost.core.errors import StoreAway
from waypost.core.message import Parcel
from waypost.store.contract import Lane, RelayStore
from waypost.transport.courier import Courier

LAST_S = 1.0  # for claims that were asked for before the stop


class Rung:
    """What was rung for and is not claimed yet; `give` is told of each message that is."""

    def __init__(self, store: RelayStore, give: Callable[[Courier, Parcel, int], None]) -> None:
        self._store = store
        self._give = give
        self._waiting: dict[tuple[int, int], tuple[Courier, Lane, int]] = {}
        self._now_ms = 0
        self._claiming: asyncio.Task[None] | None = None

    def add(self, courier: Courier, lane: Lane, now_ms: int) -> None:
        """One more message of this lane; there was room for it."""
        self._now_ms = max(self._now_ms, now_ms)
        key = (lane.sender_id, lane.account_id)
        _, _, count = self._waiting.get(key, (courier, lane, 0))
        self._waiting[key] = (courier, lane, count + 1)
        if self._claiming is None:
            self._claiming = asyncio.get_running_loop().create_task(self._claim())

    async def stop(self) -> None:
        """Gives out what was rung for, so that who waits for it is told; what a store that is away
        does not give in time is released by it."""
        if (claiming := self._claiming) is not None:
            await asyncio.wait({claiming}, timeout=LAST_S)
            claiming.cancel()
            await asyncio.wait({claiming})

    async def _claim(self) -> None:
        try:
            while self._waiting:
                rung, self._waiting = list(self._waiting.values()), {}
                async with asyncio.TaskGroup() as group:
                    for courier, lane, count in rung:
                        group.create_task(self._claim_lane(courier, lane, count))
        finally:
            self._claiming = None

    async def _claim_lane(self, courier: Courier, lane: Lane, count: int) -> None:
        limit = min(count, 2 * courier.connections)
        courier.behind = courier.behind or count > limit
        try:
            parcels = await self._store.claim(lane.by(courier.upstream.id), self._now_ms, limit)
        except StoreAway as error:
            log.get("transport").warning("store_away", error=error.private)
            courier.behind = True  # found again by looking
            return
        for parcel in parcels:
            self._give(courier, parcel, self._now_ms)
