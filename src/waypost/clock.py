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
