"""Deeds apart from the relay's loop: in threads of their own.

A connection test may wait for minutes on somebody else's server. Promises that such waiting keeps
neither the loop, nor other calls, nor the end of the process: a thread that still waits then is
left behind (what it had not committed is undone). Knows nothing of what the deeds are.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

from waypost.web import Failure

QUICK = 8  # at once; more wait their turn
SLOW = 16  # at once; more are told to come again
SLOW_EACH = 4  # of one account, so that none takes all of them
T = TypeVar("T")


class Apart:
    """The threads of one process. On the loop only."""

    def __init__(self) -> None:
        self._turn = asyncio.Semaphore(QUICK)
        self._slow: Counter[str | None] = Counter()

    async def quick(self, work: Callable[[], T]) -> T:
        """What waits for the store alone."""
        async with self._turn:
            return await _threaded(work)

    async def slow(self, work: Callable[[], T], account: str | None) -> T:
        """What waits for others. `Failure` 503 where too many wait already."""
        if self._slow.total() >= SLOW or self._slow[account] >= SLOW_EACH:
            text = "Too many calls that wait for others are under way: try again in a moment"
            raise Failure(503, "UNAVAILABLE", text, headers={"Retry-After": "5"})
        self._slow[account] += 1
        try:
            return await _threaded(work)
        finally:
            self._slow[account] -= 1


async def _threaded(work: Callable[[], T]) -> T:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def tell(set_: Callable[[Any], None], value: object) -> None:
        if not done.done():
            set_(value)

    def run() -> None:
        call: tuple[Callable[[Any], None], object]
        try:
            call = (done.set_result, work())
        except BaseException as error:  # noqa: BLE001  (told to whoever waits)
            call = (done.set_exception, error)
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(tell, *call)

    threading.Thread(target=run, name="manage", daemon=True).start()
    return await done
