"""Mail that a worker has claimed and not begun can be cancelled; what is on the wire cannot. Never
sent and cancelled, however the two meet."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from desk.conftest import PlainSealer
from store.house import NOW_MS, House, Taker, attempt
from transport.bench_of import PATIENT
from transport.scripted import Scripted
from waypost.core import ident
from waypost.core.errors import WrongState
from waypost.core.lifecycle import State
from waypost.desk import logs, queue, senders
from waypost.desk.office import Desk
from waypost.store.contract import Lane
from waypost.store.several.begun import Begun, Recall
from waypost.transport.dispatch import Dispatcher
from waypost.transport.link.connect import Dialer
from waypost.transport.link.guard import Guard
from waypost.transport.schedule import QueueRules

LANE = Lane(1, 1, 0)
FROM = "shop@example.org"


def run(data: Path, story: Callable[[House, Desk], Awaitable[None]]) -> None:
    """Tells a story in a house with a worker that is up and a desk; it adds up in the end."""
    kept: list[House] = []

    async def whole() -> None:
        house = House(data)
        kept.append(house)
        key_file = data / "sealing.keys"
        desk = Desk(data=data, clock=house.clock, sealer=PlainSealer(), key_file=key_file)
        try:
            await house.first.adopt(NOW_MS)
            await asyncio.wait_for(story(house, desk), 120)
        finally:
            await house.close()

    asyncio.run(whole())
    kept[0].adds_up()


async def claimed(house: House, count: int = 1) -> list[str]:
    """The ids of messages that the first worker has claimed."""
    for _ in range(count):
        await house.first.commit(house.acceptance("a@a.test", "b@a.test"))
    return [ident.show(parcel.id) for parcel in await house.first.claim(LANE, NOW_MS, count)]


def test_what_is_claimed_and_not_begun_is_cancelled(tmp_path: Path) -> None:
    async def story(house: House, desk: Desk) -> None:
        store, taker = house.first, Taker()
        store.attach(taker)
        await store.commit(house.acceptance("a@a.test", "b@a.test"))
        (parcel,) = taker.taken
        number = ident.show(parcel.id)
        view = logs.show(desk, number)
        assert (view.on_wire, view.reason) == (False, "waiting for a free connection")
        assert queue.show(desk)[0].on_wire == 0
        waiting = asyncio.ensure_future(store.settled(parcel.id, 60))
        await asyncio.sleep(0)
        done = queue.cancel(desk, number)
        assert (done.status, done.refunded) == ("cancelled", 2)
        assert house.balance == 1_000
        assert not store.begin(parcel)
        assert (await waiting).cancelled == 2  # its client is told at once
        await store.release(parcel, NOW_MS, "")
        assert house.sql("SELECT * FROM queue") == []
        with pytest.raises(WrongState, match="ended"):
            queue.cancel(desk, number)

    run(tmp_path / "data", story)


def test_what_is_on_the_wire_is_not(tmp_path: Path) -> None:
    async def story(house: House, desk: Desk) -> None:
        store = house.first
        await store.commit(house.acceptance())
        (parcel,) = await store.claim(LANE, NOW_MS, 1)
        number = ident.show(parcel.id)
        assert store.begin(parcel)
        with pytest.raises(WrongState, match="being sent at this moment"):
            queue.cancel(desk, number)
        assert logs.show(desk, number).on_wire
        assert queue.show(desk)[0].on_wire == 1
        assert queue.cancel_sender(desk, FROM).on_wire == 1
        later = attempt(parcel, State.QUEUED, code=450, text="later", next_ms=NOW_MS)
        await store.record(later)
        assert not logs.show(desk, number).on_wire
        # Claimed again, it is about to be on the wire and no more.
        (again,) = await store.claim(LANE, NOW_MS, 1)
        assert queue.cancel(desk, number).status == "cancelled"
        assert not store.begin(again)

    run(tmp_path / "data", story)


def test_an_attempt_that_is_not_on_disk_yet_is_on_the_wire(tmp_path: Path) -> None:
    async def story(house: House, desk: Desk) -> None:
        store = house.first
        await store.commit(house.acceptance())
        (parcel,) = await store.claim(LANE, NOW_MS, 1)
        assert store.begin(parcel)
        told = store.record(attempt(parcel, State.SENT))  # in the next batch
        with pytest.raises(WrongState, match="being sent"):
            queue.cancel(desk, ident.show(parcel.id))
        await told
        assert house.sql("SELECT state FROM recipient") == [(State.SENT,)]

    run(tmp_path / "data", story)


def test_while_somebody_cancels_nobody_begins(tmp_path: Path) -> None:
    async def story(house: House, desk: Desk) -> None:
        store = house.first
        await store.commit(house.acceptance())
        (parcel,) = await store.claim(LANE, NOW_MS, 1)
        with Recall(desk.data) as recall:
            assert recall.take(parcel.id, 1)
            assert not store.begin(parcel)
        # It was not cancelled in the end: the worker gives it back, and takes it again.
        await store.release(parcel, NOW_MS, "")
        (again,) = await store.claim(LANE, NOW_MS, 1)
        assert store.begin(again)
        await store.record(attempt(again, State.SENT))

    run(tmp_path / "data", story)


def test_a_dead_workers_claim_is_nobodys_to_cancel(tmp_path: Path) -> None:
    async def story(house: House, desk: Desk) -> None:
        other = house.store(5)
        await other.adopt(NOW_MS)
        await house.first.commit(house.acceptance())
        (parcel,) = await other.claim(LANE, NOW_MS, 1)
        number = ident.show(parcel.id)
        assert other.begin(parcel)
        other._begun.close()  # as the kernel does when a worker dies
        other._lock.close()
        with pytest.raises(WrongState, match="being sent"):
            queue.cancel(desk, number)
        # Nor while a successor is there that has not taken over what it left.
        successor = house.store(5)
        with pytest.raises(WrongState, match="being sent"):
            queue.cancel(desk, number)
        await successor.adopt(NOW_MS)
        assert queue.cancel(desk, number).status == "cancelled"
        house.stores.remove(other)

    run(tmp_path / "data", story)


def test_all_of_a_sender_and_its_removal(tmp_path: Path) -> None:
    async def story(house: House, desk: Desk) -> None:
        await claimed(house, 250)
        await house.first.commit(house.acceptance())
        done = queue.cancel_sender(desk, FROM)
        assert (done.messages, done.recipients, done.on_wire) == (251, 501, 0)
        await claimed(house, 3)
        senders.remove(desk, FROM, fail=True)
        assert house.sql("SELECT * FROM queue") == []
        assert house.balance == 1_000

    run(tmp_path / "data", story)


def test_all_of_a_key(tmp_path: Path) -> None:
    async def story(house: House, desk: Desk) -> None:
        await claimed(house, 3)
        await house.first.commit(house.acceptance())
        done = queue.cancel_key(desk, 1)
        assert (done.messages, done.on_wire) == (4, 0)

    run(tmp_path / "data", story)


class Race:
    """A relay's delivery beside somebody who cancels. `sent`: ids at the upstream."""

    def __init__(self, house: House, desk: Desk, server: Scripted, connections: int) -> None:
        self.house, self.desk, self.server = house, desk, server
        house.change(
            "UPDATE upstream SET host = '127.0.0.1', port = ?, encryption = 'none',"
            " connections = ?, password = NULL",
            server.port,
            connections,
        )
        dialer = Dialer("relay.test", Guard(), PATIENT)
        self.dispatcher = Dispatcher(house.first, dialer, house.clock, QueueRules(), desk.data)
        house.first.attach(self.dispatcher)
        self.ids: list[str] = []
        self.cancelled: set[str] = set()

    async def accept(self, count: int) -> None:
        for _ in range(count):
            made = self.house.acceptance()
            head = f"Subject: {ident.show(made.id)}\r\n\r\n".encode()
            await self.house.first.commit(msgspec.structs.replace(made, head=head))
            self.ids.append(ident.show(made.id))

    def cancel(self, number: str) -> None:
        try:
            queue.cancel(self.desk, number)
        except WrongState:
            return
        self.cancelled.add(number)

    @property
    def sent(self) -> set[str]:
        found = (re.match(rb"Subject: (\w+)", got.data) for got in self.server.got)
        return {one[1].decode() for one in found if one}

    async def over(self) -> None:
        async with asyncio.timeout(100):
            rows = "SELECT count(*) FROM queue"
            while self.house.one(rows):  # noqa: ASYNC110  (another process would look too)
                await asyncio.sleep(0.01)


def held_up(data: Path) -> tuple[set[str], set[str]]:
    """(sent, cancelled): all but the first of a window are cancelled while the first is sent."""
    found: list[set[str]] = []

    async def story(house: House, desk: Desk) -> None:
        server = Scripted()
        turns = server.turns = asyncio.Semaphore(0)  # nothing is sent while somebody cancels
        async with server:
            race = Race(house, desk, server, connections=4)
            await race.accept(24)
            await race.dispatcher.start()
            async with asyncio.timeout(60):
                claims = "SELECT count(*) FROM queue WHERE claim > 0"
                while house.one(claims) < 6:  # noqa: ASYNC110  (another process would look too)
                    await asyncio.sleep(0.001)
            in_window = house.sql("SELECT message_id FROM queue WHERE claim > 0")
            for (number,) in in_window:
                await asyncio.to_thread(race.cancel, ident.show(number))
            for _ in race.ids:
                turns.release()
            await race.over()
            await race.dispatcher.stop(30.0)
            found.extend((race.sent, race.cancelled))

    run(data, story)
    return found[0], found[1]


def test_what_waits_behind_the_wire_is_cancelled_and_never_sent(tmp_path: Path) -> None:
    sent, cancelled = held_up(tmp_path / "data")
    assert cancelled
    assert not sent & cancelled
    assert len(sent | cancelled) == 24


def test_the_control_sends_what_was_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Begun, "begin", lambda *_: True)
    sent, cancelled = held_up(tmp_path / "data")
    assert sent & cancelled


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_the_race_driven_hard(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    back: list[int] = []
    real = Recall.take

    def take(self: Recall, message_id: int, claim: int) -> bool:
        taken = real(self, message_id, claim)
        back.extend([message_id] * taken)
        return taken

    monkeypatch.setattr(Recall, "take", take)

    async def story(house: House, desk: Desk) -> None:
        chance = random.Random(seed)
        server = Scripted()
        # The upstream goes as fast as who cancels, however fast the machine is: else one of them
        # may be done before the other has begun.
        turns = server.turns = asyncio.Semaphore(0)
        async with server:
            race = Race(house, desk, server, connections=8)
            await race.accept(500)
            await race.dispatcher.start()

            async def keep_cancelling(part: int) -> None:
                # In the order that they are sent in, and at what is claimed just now.
                for number in race.ids[part::6]:
                    await asyncio.to_thread(race.cancel, number)
                    turns.release()
                    now = house.sql("SELECT message_id FROM queue WHERE claim > 0")
                    if now:
                        aim = ident.show(chance.choice(now)[0])
                        await asyncio.to_thread(race.cancel, aim)
                        turns.release()

            await asyncio.gather(*(keep_cancelling(part) for part in (0, 3)))
            for _ in race.ids:
                turns.release()
            await race.over()
            await race.dispatcher.stop(30.0)
            assert not race.sent & race.cancelled
            assert race.sent | race.cancelled == set(race.ids)
            assert len(race.server.got) == len(race.sent)
            assert back  # they met

    run(tmp_path / "data", story)
