"""Connections of one upstream that wait for work.

Promises that each is woken once, the one that came last first, and that one which ended or waited
its time is given none. Knows nothing of messages.
"""

from __future__ import annotations

import asyncio

from waypost.transport.link.stream import Stream


class Idle:
    """Who waits now. On the event loop."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    def __bool__(self) -> bool:
        return bool(self._waiting)

    async def rest(self, stream: Stream, seconds: float) -> bool:
        """Waits for work; False when the time is over or the connection ended."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(seconds, _wake, waiter)
        stream.on_end = lambda: _wake(waiter)
        self._waiting.append(waiter)
        try:
            await waiter
        finally:
            stream.on_end = None
            timer.cancel()
            given_work = waiter not in self._waiting
            if not given_work:
                self._waiting.remove(waiter)
        return given_work and stream.usable

    def wake_one(self) -> None:
        """There is work for one."""
        _wake(self._waiting.pop())

    def wake_all(self) -> None:
        """Each is to see whether it goes on."""
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            _wake(waiter)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
