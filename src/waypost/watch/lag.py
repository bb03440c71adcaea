"""How late the event loop is: the longest time in the last minute that something due had to wait.

Promises one timer a second and nothing more. Knows nothing of who asks.
"""

from __future__ import annotations

import asyncio
import collections

from waypost.clock import Clock

STEP_S = 1.0
KEPT = 60


class LoopLag:
    """Looks from `start` to `stop`, on the running loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._late_s: collections.deque[float] = collections.deque([0.0], KEPT)
        self._due_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def worst_s(self) -> float:
        """The longest delay of the last minute."""
        return max(self._late_s)

    def start(self) -> None:
        self._due_s = self._clock.monotonic() + STEP_S
        self._timer = asyncio.get_running_loop().call_later(STEP_S, self._tick)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        self._late_s.append(max(self._clock.monotonic() - self._due_s, 0.0))
        self.start()
