"""When delivery looks again: told by this process itself, or by another through the shared
counters.

Promises that `stirred` is called once for all that happened in a round of the loop, and soon after
another process rang or changed the facts. Knows nothing of what there is to find.
"""

from __future__ import annotations

import asyncio

from waypost.store.contract import Taker
from waypost.store.shared import Shared

POLL_S = 0.1  # how soon what a command changed is seen by delivery


class Bell:
    """Of one process. On the loop. `taker`: who is told, if anybody."""

    def __init__(self, shared: Shared) -> None:
        self.taker: Taker | None = None
        self._shared = shared
        self._stirring = False
        self._closed = False
        self._poll: asyncio.TimerHandle | None = None
        self._bell_seen = shared.bell
        self._generation_seen = shared.generation

    def attach(self, taker: Taker) -> None:
        self.taker = taker
        if self._poll is None:
            self._look()

    def close(self) -> None:
        self._closed = True
        if self._poll is not None:
            self._poll.cancel()

    def rung(self) -> bool:
        """True once after another process rang: there may be work that is not ours."""
        now = self._shared.bell
        if now == self._bell_seen:
            return False
        self._bell_seen = now
        return True

    def stir(self, *, ring: bool = False) -> None:
        """Tells delivery once, when this round is over; the other processes too, if `ring`."""
        if ring and not self._stirring and self._shared.ring() == self._bell_seen:
            self._bell_seen += 1  # what we rang ourselves is no news to us
        if self.taker is not None and not self._stirring:
            self._stirring = True
            asyncio.get_running_loop().call_soon(self._stirred)

    def _stirred(self) -> None:
        self._stirring = False
        if self.taker is not None and not self._closed:
            self.taker.stirred()

    def _look(self) -> None:
        """Now and then: has another process rung, or changed the facts?"""
        if self._closed:
            return
        now = self._shared.generation
        if self.rung() or now != self._generation_seen:
            self._generation_seen = now
            self.stir()
        self._poll = asyncio.get_running_loop().call_later(POLL_S, self._look)
