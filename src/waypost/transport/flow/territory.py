"""Which upstreams this worker connects to, where several workers share a store.

Promises that an upstream is given back only when nothing of it is on the wire, and taken as soon as
it is free. Where one worker serves there is none of this. Knows nothing of messages and lanes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from waypost.store.several.crew import Crew
from waypost.store.several.owners import Owners
from waypost.transport.courier import Courier

TAKE_AGAIN_MS = 100  # before asking again for what another worker is about to free
GIVE_AGAIN_MS = 2_000  # before seeing again whether what is another's has fallen quiet
REVIEW_MS = 5_000  # between looks at who is up, should nobody have told us


class Territory:
    """The upstreams of this worker. On the event loop."""

    def __init__(self, owners: Owners) -> None:
        self._owners = owners
        self._leaving: dict[int, asyncio.Task[None]] = {}
        self._due_ms = 0

    @property
    def crew(self) -> Crew:
        return self._owners.crew

    def owns(self, upstream_id: int) -> bool:
        return self._owners.owns(upstream_id)

    def changed(self) -> None:
        """A worker came or went, or an upstream was added: the next `review` looks at all."""
        self._due_ms = 0

    def review(
        self,
        couriers: Mapping[int, Courier],
        renew: Callable[[int], Courier],
        now_ms: int,
    ) -> int:
        """Takes what should be ours and gives back what should not; when to look again.

        `renew` puts a new courier in the place of an upstream's: one who knows nothing of before.
        """
        if now_ms < self._due_ms:
            return self._due_ms
        self._due_ms = now_ms + REVIEW_MS
        for ident, courier in list(couriers.items()):
            wanted = self._owners.wanted(ident)
            if self._owners.owns(ident) is wanted or ident in self._leaving:
                continue
            if not wanted and courier.quiet:
                self._owners.leave(ident)
                courier.wind_down()
                renew(ident)
                self._leaving[ident] = asyncio.ensure_future(self._free(ident, courier))
            elif not wanted:
                self._due_ms = min(self._due_ms, now_ms + GIVE_AGAIN_MS)
            elif self._owners.take(ident):
                renew(ident)
            else:
                self._due_ms = min(self._due_ms, now_ms + TAKE_AGAIN_MS)
        return self._due_ms

    async def stop(self) -> None:
        """All couriers have ended: others may have what was ours."""
        for leaving in list(self._leaving.values()):
            leaving.cancel()
        if self._leaving:
            await asyncio.wait(self._leaving.values())
        self._owners.close()
        self.crew.tell_changed()

    async def _free(self, ident: int, courier: Courier) -> None:
        try:
            await courier.ended()
        finally:
            del self._leaving[ident]
        self._owners.free(ident)
        self.crew.tell_changed()
