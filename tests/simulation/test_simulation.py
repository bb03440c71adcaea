"""A week of a relay in a minute: real store, schedule, health and dispatch; time and network are
played.

Upstreams of every mood, restarts, crashes and a clock that jumps. In the end each recipient has
ended within the time that it may be tried, or be queued at all; nothing is in limbo, nobody was
sent a copy that no attempt accounts for, and the books are right.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from simulation.virtual import VirtualClock, VirtualLoop
from simulation.world import CAPPED, DEAD, HOUR_S, LOCKED, MOODY, STEADY, World
from store.house import House
from waypost.core.address import parse
from waypost.core.errors import StoreAway
from waypost.core.lifecycle import State
from waypost.core.message import Committed
from waypost.store import connect
from waypost.store.several import bell
from waypost.store.sqlite.engine import Engine
from waypost.transport.attempt import Try
from waypost.transport.dispatch import Dispatcher
from waypost.transport.link.connect import Dialer
from waypost.transport.link.guard import Guard
from waypost.transport.schedule import QueueRules

LOAD_S = 40 * HOUR_S  # while mail comes in
WHOLE_S = LOAD_S + 9 * 24 * HOUR_S  # until the latest has ended: hold_max after its sendAt
STEP_MS = 5 * 3_600_000  # the longest wait between two tries, with its jitter
LOOK_MS = 2 * 60_000  # how late mail may be found that is too old
JUMPS_S = (-2 * HOUR_S, 3 * HOUR_S)


class Simulation:
    """One relay and its world."""

    def __init__(self, data: Path, messages: int, seed: int, loop: VirtualLoop) -> None:
        self.chance = random.Random(seed)
        self.loop = loop
        self.world = World(loop, self.chance)
        self.clock = VirtualClock(loop, self.chance)
        self.messages = messages
        self.rules = QueueRules()
        self.jumped_ms = 0
        self.crashes = 0
        loop.server = self.world.serve
        self.house = House(data, credits=10 * messages, clock=self.clock)
        self.store: Engine = self.house.first
        self._dispatcher: Dispatcher
        self._up = asyncio.Event()
        loop.busy = lambda: self.store._committer._busy

    def furnish(self) -> None:
        house = self.house
        copied = "name, host, port, encryption, connections, per_connection, per_minute, recipients"
        values = "host, port, 'none', 4, 0, 0, 100, 0, 'u', password"
        for port in (MOODY, DEAD, LOCKED, CAPPED):
            house.change(
                f"INSERT INTO upstream (id, {copied}, created_at, username, password)"
                f" SELECT ?, 'upstream' || ?, {values} FROM upstream WHERE id = 1",
                port,
                port,
            )
        house.change(
            "UPDATE upstream SET host = '127.0.0.1', port = id, encryption = 'none',"
            " connections = 4"
        )
        house.change("UPDATE upstream SET username = 'u' WHERE id <> 1")
        house.change("UPDATE upstream SET daily_cap = ? WHERE id = ?", self.messages // 8, CAPPED)
        house.account(2, credits=10 * self.messages)
        for port in (MOODY, DEAD, LOCKED, CAPPED):
            house.sender(port, f"sender{port}@example.org")
            house.change("UPDATE sender SET upstream_id = ? WHERE id = ?", port, port)

    async def run(self) -> None:
        self.furnish()
        await self.start()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.clients())
            group.create_task(self.fate())
        await asyncio.sleep(WHOLE_S - self.loop.time())
        await self.stop(crash=False)

    async def start(self) -> None:
        await self.store.adopt(self.clock.wall_ms())
        dialer = Dialer("relay.test", Guard(), clock=self.clock)
        self._dispatcher = Dispatcher(self.store, dialer, self.clock, self.rules, self.house.data)
        self.store.attach(self._dispatcher)
        await self._dispatcher.start()
        self._up.set()

    async def stop(self, *, crash: bool) -> None:
        self._up.clear()
        if crash:
            self.crashes += 1
            self.store.stop()  # whatever is on its way is not written down
            await self._dispatcher.stop(0.0)
        else:
            await self._dispatcher.stop(30.0)
        await self.store.close()

    async def clients(self) -> None:
        for number in range(self.messages):
            await asyncio.sleep(LOAD_S / self.messages)
            await self.submit(number)

    async def submit(self, number: int) -> None:
        chance = self.chance
        port = chance.choice([STEADY, STEADY, MOODY, MOODY, DEAD, LOCKED, CAPPED])
        kind = chance.choices(["to", "never", "nobody"], [90, 3, 7])[0]
        to = [f"{kind}{number}@x.test", f"to{number}@y.test"][: chance.choice([1, 1, 2])]
        hold_ms = int(chance.uniform(0, 30) * 3_600_000) if chance.random() < 0.05 else 0
        while True:
            await self._up.wait()
            sender = parse(f"sender{port}@example.org") if port != STEADY else None
            extra: dict[str, Any] = {} if sender is None else {"sender": sender}
            made = self.house.acceptance(
                *to, store=self.store, account_id=chance.choice([1, 2]), **extra
            )
            made = msgspec.structs.replace(
                made,
                head=f"Subject: {made.id:016x}\r\n\r\n".encode(),
                hold_until_ms=self.clock.wall_ms() + hold_ms if hold_ms else 0,
            )
            try:
                assert isinstance(await self.store.commit(made), Committed)
            except StoreAway:
                await asyncio.sleep(1.0)  # as a client does: it was not accepted
            else:
                return

    async def fate(self) -> None:
        """Restarts, crashes and jumps of the clock."""
        while self.loop.time() < LOAD_S + 100 * HOUR_S:
            await asyncio.sleep(self.chance.uniform(0.5, 12) * HOUR_S)
            what = self.chance.random()
            if what < 0.6:
                await self.stop(crash=what < 0.4)
                await asyncio.sleep(self.chance.uniform(1, 600))
                self.store = self.house.store(0)
                await self.start()
            elif self.jumped_ms < 12 * 3_600_000:
                jump_ms = int(self.chance.uniform(*JUMPS_S) * 1000)
                self.clock.jump_ms += jump_ms
                self.jumped_ms += abs(jump_ms)

    # What must be so in the end.

    def everything_is_right(self) -> None:
        house, rules = self.house, self.rules
        house.change("CREATE INDEX of_the_proof ON ledger (message_id, recipient)")  # else hours
        house.adds_up()
        assert house.sql("SELECT * FROM queue") == [], "in limbo"
        assert house.sql("SELECT * FROM recipient WHERE state = 0") == [], "in limbo"
        assert house.one("SELECT count(*) FROM message") == self.messages
        most = rules.hold_max_ms + LOOK_MS + self.jumped_ms
        late = house.sql(
            "SELECT id FROM message WHERE ended_at - max(id >> 20, hold_until) > ?", most
        )
        assert late == [], "queued for longer than hold_max"
        tried = rules.give_up_ms + STEP_MS + self.jumped_ms
        late = house.sql(
            "SELECT m.id FROM message m JOIN attempt a ON a.message_id = m.id AND a.number = 1"
            " WHERE m.sender_id = 1 AND m.ended_at - a.at > ?",
            tried,
        )
        assert late == [], "tried for longer than give_up_after and one step"
        self.copies_are_accounted_for()

    def copies_are_accounted_for(self) -> None:
        world = self.world
        uncertain = dict(
            self.house.sql("SELECT message_id, sum(uncertain) FROM attempt GROUP BY message_id")
        )
        rows = self.house.sql("SELECT message_id, address, state FROM recipient")
        for message_id, address, state in rows:
            key = (f"{message_id:016x}", address)
            if state == State.SENT:
                assert world.promised[key] > 0, "told as sent, but nobody said 250"
            elif world.promised[key]:
                assert uncertain[message_id] > 0, "taken with a 250, and told as failed"
            if world.taken[key] > 1:
                assert uncertain[message_id] >= world.taken[key] - 1, "a copy nobody accounts for"


def simulate(data: Path, messages: int, seed: int) -> Simulation:
    loop = VirtualLoop()
    made: list[Simulation] = []

    async def whole() -> None:
        made.append(Simulation(data, messages, seed, loop))
        await made[0].run()

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(whole())
    return made[0]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else rings, and what the disk does in a loss of power is not the question here."""
    monkeypatch.setattr(bell, "POLL_S", 600.0)
    settle = connect._settle

    def off(db: Any, *rest: Any) -> None:
        settle(db, *rest)
        db.pragma("synchronous", "OFF")

    monkeypatch.setattr(connect, "_settle", off)


def prove(data: Path, messages: int, seed: int) -> None:
    simulation = simulate(data, messages, seed)
    simulation.everything_is_right()
    house = simulation.house
    states = dict(house.sql("SELECT state, count(*) FROM recipient GROUP BY state"))
    assert states[State.SENT] > messages / 2
    assert states[State.FAILED] > messages / 20
    assert simulation.crashes > 2
    told = {text for (text,) in house.sql("SELECT DISTINCT substr(text, 1, 10) FROM recipient")}
    assert {"queued for", "tried for ", "uncertain:"} & told >= {"queued for", "tried for "}


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_two_thousand_messages(tmp_path: Path) -> None:
    prove(tmp_path / "data", 2_000, seed=1)


@pytest.mark.soak
@pytest.mark.usefixtures("quick")
def test_a_hundred_thousand_messages(tmp_path: Path) -> None:
    prove(tmp_path / "data", 100_000, seed=2)


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_control_mail_that_nobody_ends_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def expire(self: Engine, now_ms: int, hold_max_ms: int) -> int:
        return 0

    monkeypatch.setattr(Engine, "expire", expire)
    simulation = simulate(tmp_path / "data", 200, seed=3)
    with pytest.raises(AssertionError, match="in limbo"):
        simulation.everything_is_right()


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_control_copies_that_nobody_logged_are_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upstream that took a message and was silent is asked again as if it had said no."""
    monkeypatch.setattr(Try, "_failed", certain(Try._failed))
    simulation = simulate(tmp_path / "data", 400, seed=4)
    with pytest.raises(AssertionError, match="nobody accounts for"):
        simulation.everything_is_right()


def certain(failed: Callable[..., None]) -> Callable[..., None]:
    def told(self: Try, *arguments: Any) -> None:
        self._out.uncertain = False
        failed(self, *arguments)

    return told
