"""The only reader of time and chance. Everything else is given one of these."""

from __future__ import annotations

import random
import secrets
import time
from typing import Protocol


class Clock(Protocol):
    """Time and chance as arguments."""

    def wall_ms(self) -> int:
        """Milliseconds since 1970; may jump."""

    def monotonic(self) -> float:
        """Seconds that never go back; of no fixed origin."""

    def chance(self) -> float:
        """A number from 0 to 1, 1 excluded; not for secrets."""

    def token(self, alphabet: str, length: int) -> str:
        """Characters that nobody can guess."""


class SystemClock:
    """The machine's."""

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    monotonic = staticmethod(time.monotonic)

    chance = staticmethod(random.random)  # jitter only

    def token(self, alphabet: str, length: int) -> str:
        return "".join(secrets.choice(alphabet) for _ in range(length))


class Steady:
    """Milliseconds since 1970 that never go back and never stand: the wall's. Where the wall was
    set back they run on at half its speed until it has caught up, so that what is measured by them
    (the ids, and the rate of a key by its ids) neither stands still for hours nor stays wrong."""

    def __init__(self, clock: Clock, least_ms: int = 0) -> None:
        self._clock = clock
        self._from_ms = max(least_ms, clock.wall_ms())
        self._from_s = clock.monotonic()

    def now_ms(self) -> int:
        wall_ms, now_s = self._clock.wall_ms(), self._clock.monotonic()
        slow_ms = self._from_ms + int((now_s - self._from_s) * 500)
        if wall_ms < slow_ms:
            return slow_ms
        self._from_ms, self._from_s = wall_ms, now_s
        return wall_ms
