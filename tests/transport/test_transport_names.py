"""Names that nobody answers for hold up nobody else."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest

from peers.process import wait_until
from transport.fake_store import make_upstream
from waypost.clock import SystemClock
from waypost.transport.check.allowed import forbidden
from waypost.transport.check.run import Setup, Times, Wanted, check
from waypost.transport.link import names
from waypost.transport.link.connect import Dialer
from waypost.transport.link.guard import Guard
from waypost.transport.link.names import Names
from waypost.upstream.diagnosis import Step

PATIENCE_S = 60.0  # of a machine that has much to do


class World:
    """Name servers that are silent until `speak` is set, but for names that end in `.quick`."""

    def __init__(self) -> None:
        self.speak = threading.Event()
        self.asked: list[str] = []
        self.answered: list[str] = []

    def answer(self, host: str, port: int, *_: object, **__: object) -> list[object]:
        self.asked.append(host)
        spoke = host.endswith((".quick", "1")) or self.speak.wait(PATIENCE_S)
        self.answered.append(host)
        assert spoke
        if host.endswith(".gone"):
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        place = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.7", port))
        return [place, place]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Any:
    made = World()
    monkeypatch.setattr(socket, "getaddrinfo", made.answer)
    yield made
    made.speak.set()


FOUND = [(socket.AF_INET, ("192.0.2.7", 25))]


async def _begun(world: World, count: int) -> None:
    def begun() -> bool:
        return len(world.asked) >= count

    await asyncio.to_thread(wait_until, begun, "the names to be asked for", PATIENCE_S)


def test_any_number_of_silent_names_hold_up_no_other(world: World) -> None:
    async def play() -> None:
        dialer, loop = Dialer("relay.test", Guard()), asyncio.get_running_loop()

        def ask(host: str) -> asyncio.Task[Any]:
            return loop.create_task(dialer.resolve(make_upstream(25, host=host)))

        silent = [ask(f"n{n}.test") for n in range(100)]
        assert await ask("good.quick") == FOUND
        assert await ask("127.0.0.1") == FOUND
        await _begun(world, 102)
        world.speak.set()
        assert await asyncio.gather(*silent) == [FOUND] * 100

    asyncio.run(play())


def test_a_name_is_asked_for_once_however_many_want_it(world: World) -> None:
    async def play() -> None:
        asks, loop = Names(), asyncio.get_running_loop()
        first, *more = [loop.create_task(asks.find("n.gone", 25, None)) for _ in range(5)]
        await _begun(world, 1)
        first.cancel()  # who goes away ends it for nobody else
        world.speak.set()
        told = await asyncio.gather(first, *more, return_exceptions=True)
        assert isinstance(told[0], asyncio.CancelledError)
        assert [type(error) for error in told[1:]] == [socket.gaierror] * 4
        assert world.asked == ["n.gone"]
        with pytest.raises(socket.gaierror):  # and then anew
            await asks.find("n.gone", 25, None)
        assert world.asked == ["n.gone", "n.gone"]

    asyncio.run(play())


def test_an_account_has_only_so_many_under_way(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "EACH", 3)

    async def play() -> None:
        asks, loop = Names(), asyncio.get_running_loop()
        mine = [loop.create_task(asks.find(f"n{n}.test", 25, 7)) for n in range(9)]
        await _begun(world, 3)
        other = loop.create_task(asks.find("other.test", 25, 8))
        await _begun(world, 4)
        assert (len(world.asked), world.asked[-1]) == (4, "other.test")
        world.speak.set()
        assert await asyncio.gather(other, *mine) == [FOUND] * 10

    asyncio.run(play())


def test_who_has_waited_long_enough_does_not_wait_for_the_thread(world: World) -> None:
    """A loop that ends waits for its own threads, however long a name server is silent."""
    setup = Setup("relay.test", Guard(), SystemClock(), Times(connect_s=0.05))
    tenant = make_upstream(587, host="n.test", account_id=7)
    assert asyncio.run(forbidden(setup, tenant)) is None
    result = asyncio.run(check(setup, tenant, Wanted(), lambda step: None))
    assert [step.name for step in result.steps] == [Step.RESOLVE]
    assert world.answered == []
