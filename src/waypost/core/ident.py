"""Message ids: 64 bits ordered by time, shown as 16 lower-case hex digits.

44 bits of milliseconds since 1970 that never go back, 8 of worker, 12 of counter. The number fits a
signed 64-bit column until the year 2248.
"""

from __future__ import annotations

WORKER_BITS = 8
COUNTER_BITS = 12
MS_SHIFT = WORKER_BITS + COUNTER_BITS
COUNTER_LIMIT = 1 << COUNTER_BITS
MOST = (1 << 63) - 1  # of a signed 64-bit column


class IdentMaker:
    """Makes the ids of one worker; `seen` is the greatest id that this worker number ever made."""

    def __init__(self, worker: int, seen: int = 0) -> None:
        if not 0 <= worker < 1 << WORKER_BITS:
            raise ValueError(f"worker number {worker} does not fit {WORKER_BITS} bits")
        self._worker = worker
        self._ms = seen >> MS_SHIFT
        self._counter = COUNTER_LIMIT if seen else 0

    @property
    def milliseconds(self) -> int:
        """Those of the last id; 0 where none was ever made."""
        return self._ms

    def make(self, now_ms: int) -> int:
        """The next id; a clock that stands or went back uses up counters, then milliseconds."""
        if now_ms > self._ms:
            self._ms, self._counter = now_ms, 0
        elif self._counter >= COUNTER_LIMIT:
            self._ms, self._counter = self._ms + 1, 0
        ident = self._ms << MS_SHIFT | self._worker << COUNTER_BITS | self._counter
        self._counter += 1
        return ident


def show(ident: int) -> str:
    """The id as people and logs see it."""
    return f"{ident:016x}"


def read(text: str) -> int | None:
    """The id that `show` made, or None if the text is not one."""
    if len(text) != 16 or any(c not in "0123456789abcdef" for c in text):
        return None
    ident = int(text, 16)
    return ident if ident <= MOST else None


def milliseconds(ident: int) -> int:
    """When the message was accepted, in milliseconds since 1970."""
    return ident >> MS_SHIFT


def worker(ident: int) -> int:
    """The number of the worker that accepted the message."""
    return ident >> COUNTER_BITS & (1 << WORKER_BITS) - 1


def floor(ms: int) -> int:
    """The smallest id of that millisecond, or the greatest of all: a bound for range scans."""
    return min(max(ms, 0) << MS_SHIFT, MOST)
