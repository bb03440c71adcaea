"""What goes through a second upstream: never more than its cap, and no word on the first."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from store.house import House, attempt
from transport.bench_of import rig
from transport.fake_store import make_upstream, until
from transport.scripted import Scripted
from waypost.core.lifecycle import State
from waypost.core.message import Acceptance, Parcel
from waypost.core.upstream import Health, UpstreamState
from waypost.store.contract import Lane
from waypost.store.sqlite.engine import Engine
from waypost.transport.dispatch import Dispatcher
from waypost.transport.link.connect import Dialer
from waypost.transport.link.guard import Guard
from waypost.transport.schedule import DAY_MS, HOUR_MS, QueueRules

S, Q = State.SENT, State.QUEUED
CAP = 10
USED = "SELECT used FROM place WHERE scope = 'u' AND scope_id = 2 AND day = ?"


class Careless(Dispatcher):
    """The control: a fallback is given what was claimed for the first, without a place."""

    def take(self, parcel: Parcel) -> None:
        assert self._facts is not None
        courier = self._route(self._facts.senders[parcel.sender_id])
        assert courier is not None
        self._hand(courier, parcel)

    def may_go(self, parcel: Parcel, upstream_id: int) -> bool:
        return True


class Late:
    """Between the store and delivery: what was committed is handed over when `hand` is called."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self.dispatcher = dispatcher
        self.kept: list[Parcel] = []

    def wants(self, acceptance: Acceptance) -> bool:
        return self.dispatcher.wants(acceptance)

    def take(self, parcel: Parcel) -> None:
        self.kept.append(parcel)

    def stirred(self) -> None:
        self.dispatcher.stirred()

    def hand(self, count: int) -> None:
        for parcel in self.kept[:count]:
            self.dispatcher.take(parcel)
        del self.kept[:count]


def furnish(house: House, first_port: int, second_port: int) -> None:
    """Both in plain text without login; the second takes `CAP` a day."""
    house.change(
        "UPDATE upstream SET host = '127.0.0.1', port = ?, encryption = 'none', password = NULL,"
        " edition = 2",
        first_port,
    )
    house.change(
        "INSERT INTO upstream (id, name, host, port, encryption, connections, per_connection,"
        " per_minute, recipients, created_at, daily_cap)"
        " VALUES (2, 'second', '127.0.0.1', ?, 'none', 20, 0, 0, 100, 0, ?)",
        second_port,
        CAP,
    )
    house.change("UPDATE upstream SET fallback_id = 2 WHERE id = 1")


async def commit_many(house: House, engine: Engine, count: int) -> None:
    made = [house.acceptance(f"r{number}@x.test", store=engine) for number in range(count)]
    await asyncio.gather(*(engine.commit(acceptance) for acceptance in made))


@pytest.mark.parametrize("kind", [Dispatcher, Careless])
def test_the_seconds_cap_holds_for_what_was_committed_while_the_first_went_down(
    tmp_path: Path, kind: type[Dispatcher]
) -> None:
    async def play() -> None:
        house = House(tmp_path / "data")
        gone = Scripted()
        async with gone, Scripted() as second:
            furnish(house, gone.port, second.port)
            assert gone._server is not None
            gone._server.close()  # nobody listens there from here on
            engine = house.first
            dialer = Dialer("relay.test", Guard())
            dispatcher = kind(engine, dialer, house.clock, QueueRules(), house.data)
            late = Late(dispatcher)
            engine.attach(late)
            await dispatcher.start()
            await commit_many(house, engine, 30)
            assert len(late.kept) == 30  # the first was well: each is for it
            late.hand(1)
            await until(lambda: dispatcher.health[1] is UpstreamState.FAILING)
            late.hand(29)
            engine.attach(dispatcher)
            await commit_many(house, engine, 20)
            waiting = "SELECT count(*) FROM message WHERE queued > 0"
            if kind is Careless:
                await until(lambda: len(second.got) > CAP)
            else:
                await until(lambda: len(second.got) == CAP and house.one(waiting) == 40)
                assert house.one(USED, house.clock.ms // DAY_MS) == CAP
                # And the next day as many.
                house.clock.ms += DAY_MS
                house.change("UPDATE upstream SET probe_at = ? WHERE id = 1", house.clock.ms * 2)
                dispatcher.stirred()
                await until(lambda: len(second.got) == 2 * CAP and house.one(waiting) == 30)
                assert house.one(USED, house.clock.ms // DAY_MS) == CAP
            await dispatcher.stop(30.0)
            if kind is not Careless:
                assert len(second.got) == 2 * CAP
            await house.close()
            house.adds_up()

    asyncio.run(play())


def test_claims_of_two_workers_share_the_seconds_cap(tmp_path: Path) -> None:
    """Messages of one to three recipients, some given back untried, some tried again: what was
    handed over is what was counted, and never more than the cap."""

    async def play() -> None:
        house = House(tmp_path / "data")
        furnish(house, 1, 2)
        stores, chance = [house.first, house.store(1)], random.Random(5)
        for _ in range(60):
            names = [f"r{n}@x.test" for n in range(chance.randint(1, 3))]
            await house.first.commit(house.acceptance(*names))
        house.change("UPDATE upstream SET daily_cap = 50 WHERE id = 2")
        now_ms, day = house.clock.ms, house.clock.ms // DAY_MS
        handed: dict[int, int] = {}
        gave_back = 0

        async def work(store: Engine) -> None:
            nonlocal gave_back
            for _ in range(100):
                for parcel in await store.claim(Lane(1, 1, 0).by(2), now_ms, 3):
                    assert parcel.place is not None
                    assert parcel.place.holds(2, now_ms)
                    if chance.random() < 0.4:
                        gave_back += 1
                        await store.release(parcel, parcel.due_ms, "")
                        continue
                    handed[parcel.id] = len(parcel.recipients)
                    end = Q if chance.random() < 0.3 else S
                    done = attempt(parcel, end, at_ms=now_ms, upstream_id=2, next_ms=now_ms)
                    await store.record(done)

        await asyncio.gather(*(work(store) for store in stores))
        used = house.one(USED, day)
        assert gave_back
        assert sum(handed.values()) == used <= 50
        assert used > 50 - 3  # none is wasted on what was given back
        await house.close()
        house.adds_up()

    asyncio.run(play())


def test_a_place_of_yesterday_is_none(tmp_path: Path) -> None:
    async def play() -> None:
        async with Scripted() as second, rig(Scripted(), tmp_path) as held:
            held.store.add_upstream(make_upstream(second.port, id=2, name="second"))
            held.edit(fallback_id=2, health=Health(UpstreamState.FAILING, "down", 1, 1 << 50))
            await held.dispatcher.start()
            held.store.put()
            (parcel,) = await held.store.claim(Lane(1, 1, 0, through=2), held.clock.ms, 1)
            assert held.dispatcher.may_go(parcel, 2)
            assert not held.dispatcher.may_go(parcel, 3)
            held.clock.ms += DAY_MS
            assert not held.dispatcher.may_go(parcel, 2)
            await held.store.release(parcel, parcel.due_ms, "")
            held.dispatcher.stirred()
            await until(lambda: len(second.got) == 1)

    asyncio.run(play())


def test_what_the_second_takes_does_not_end_a_hold_of_the_first(tmp_path: Path) -> None:
    """A message was on its way through the second when the first refused the sender."""

    async def play() -> None:
        server = Scripted()
        server.replies["mail"] = "553 5.7.1 not owned by user"
        async with Scripted() as second, rig(server, tmp_path) as held:
            held.store.add_upstream(make_upstream(second.port, id=2, name="second"))
            held.edit(fallback_id=2)
            held.store.put()
            await held.dispatcher.start()
            await until(lambda: len(held.store.holds) == 1 and not held.store.claimed)
            held.store.put()
            (parcel,) = await held.store.claim(Lane(1, 1, 0, through=2), held.clock.ms, 1)
            held.dispatcher.passed(parcel, held.store.settings[2])
            assert len(held.store.holds) == 1
            assert held.store.senders[1].held

            # While the first is away the held mail does not go past it either: nothing that the
            # second says could end that.
            held.edit(health=Health(UpstreamState.FAILING, "quota", 1, held.clock.ms + DAY_MS))
            await held.store.release(parcel, parcel.due_ms, "")
            held.later(2 * HOUR_MS)
            await until(lambda: held.dispatcher.health[1] is UpstreamState.FAILING)
            await held.dispatcher._look()
            assert not held.store.claimed

            server.replies.clear()
            held.edit(health=Health())
            held.later(2 * HOUR_MS)
            await until(lambda: len(server.got) == 2 and len(held.store.holds) == 2)
            assert held.store.holds[1][1] == ""
            assert second.got == []

    asyncio.run(play())
