"""A process that stood still longer than an upstream may take finds the answer that has come."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable

import pytest
import uvloop

from waypost.transport.link.stream import Stream, Timeouts
from waypost.transport.trouble import Silent
from waypost.wire.client import ClientSession
from waypost.wire.events import ClientEvent, Declined

LIMIT_S = 0.05
LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


async def waited(
    answer: bytes, ours: socket.socket, theirs: socket.socket
) -> tuple[ClientEvent, bool]:
    """What a greeting came to that was waited for while nothing moved here, and whether the
    connection is kept."""
    loop = asyncio.get_running_loop()
    limits = Timeouts(reply_s=LIMIT_S)
    made = lambda: Stream(ClientSession("relay.test"), limits, loop.time)  # noqa: E731
    _, stream = await loop.create_connection(made, sock=ours)

    def stand_still() -> None:
        if answer:
            theirs.send(answer)
        time.sleep(3 * LIMIT_S)

    loop.call_soon(stand_still)
    try:
        event = await stream.event()
        assert stream.transport is not None
        return event, not stream.transport.is_closing()
    finally:
        stream.close()
        await asyncio.sleep(0)


def run(loop: Callable[[], asyncio.AbstractEventLoop], answer: bytes) -> tuple[ClientEvent, bool]:
    ours, theirs = socket.socketpair()
    with contextlib.closing(theirs), asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(waited(answer, ours, theirs))


@pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])
def test_an_answer_that_came_in_time_is_taken(
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    event, kept = run(loop, b"421 not now\r\n")
    assert isinstance(event, Declined) and event.reply.code == 421
    assert kept


@pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])
def test_no_answer_ends_it_all_the_same(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    with pytest.raises(Silent, match="in time"):
        run(loop, b"")
