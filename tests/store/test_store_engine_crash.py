"""Killed at every step: a child does the whole work of the store and ends at its first effect, then
at its second, until none is left. What it said was committed is there, and everything adds up."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from store.house import NOW_MS, House, StandingClock, Taker, attempt
from waypost.core import ident
from waypost.core.lifecycle import State
from waypost.core.message import Committed, SpoolPart
from waypost.store import spool
from waypost.store.contract import Lane
from waypost.store.spool import Spool
from waypost.store.sqlite.committer import Committer

LARGE = b"z" * 300_000


class Death:
    """Counts effects, and ends the process before (even) or after (odd) one of them."""

    def __init__(self, at: int) -> None:
        self.left = at

    def around(self, effect: Callable[..., Any]) -> Callable[..., Any]:
        def deadly(*values: Any) -> Any:
            self.step()
            outcome = effect(*values)
            self.step()
            return outcome

        return deadly

    def step(self) -> None:
        if self.left == 0:
            os._exit(9)
        self.left -= 1


def child(data: Path, at: int, told: Connection, early: bool) -> None:
    """Four messages, one large: sent, failed, deferred and claimed again, left on the wire."""
    death = Death(at)
    os.fsync = death.around(os.fsync)
    os.rename = death.around(os.rename)
    spool.unlink = death.around(spool.unlink)
    Committer.commit_now = death.around(Committer.commit_now)  # type: ignore[method-assign]

    async def whole() -> None:
        house = House(data)
        taker = Taker()
        house.first.attach(taker)

        async def commit(**changes: Any) -> None:
            acceptance = house.acceptance("a@x.test", "b@x.test", **changes)
            if early:
                told.send(("accepted", acceptance.id))
            outcome = await house.first.commit(acceptance)
            assert isinstance(outcome, Committed)
            told.send(("accepted", outcome.id))

        file = Spool(data, 0).open()
        file.write(LARGE)
        large = SpoolPart(file.finish(), 0, len(LARGE))
        await asyncio.gather(commit(), commit(rest=large), commit())
        await commit()
        one, two, three, _ = sorted(taker.taken, key=lambda parcel: parcel.id)
        await house.first.record(attempt(one, State.SENT, State.FAILED))
        told.send(("ended", one.id))
        await house.first.record(attempt(two, State.QUEUED, next_ms=NOW_MS))
        (again,) = await house.first.claim(Lane(1, 1, 0), NOW_MS, 5)
        await house.first.record(attempt(again, State.SENT))
        told.send(("ended", two.id))
        await house.first.release(three, NOW_MS, "paused")
        told.send(("done", 0))
        os._exit(0)

    asyncio.run(whole())


def killed(data: Path, at: int, *, early: bool = False) -> tuple[int, dict[str, set[int]]]:
    """(exit code, the ids that the child told of)."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=child, args=(data, at, theirs, early))
    process.start()
    theirs.close()
    told: dict[str, set[int]] = {"accepted": set(), "ended": set(), "done": set()}
    try:
        while True:
            kind, number = ours.recv()
            told[kind].add(number)
    except EOFError:
        pass
    process.join()
    ours.close()
    assert process.exitcode is not None
    return process.exitcode, told


async def recovered(data: Path, told: dict[str, set[int]]) -> None:
    """Opens what the dead left, delivers it, and proves that it adds up at each stage."""
    house = House.__new__(House)
    house.data, house.stores, house.maker = data, [], ident.IdentMaker(0)
    house.clock = StandingClock()
    house.first = house.store(0)
    try:
        house.adds_up()
        ids = {row[0] for row in house.sql("SELECT id FROM message")}
        assert told["accepted"] <= ids
        ended = {row[0] for row in house.sql("SELECT id FROM message WHERE queued = 0")}
        assert told["ended"] <= ended
        await house.first.adopt(NOW_MS)
        assert house.one("SELECT count(*) FROM queue WHERE claim > 0") == 0
        for parcel in await house.first.claim(Lane(1, 1, 0), NOW_MS, 99):
            if isinstance(parcel.rest, SpoolPart):
                assert b"".join(spool.chunks(data, parcel.rest)) == LARGE
            await house.first.record(attempt(parcel, State.SENT))
        house.adds_up()
        assert house.one("SELECT count(*) FROM queue") == 0
        assert house.one("SELECT count(*) FROM ledger WHERE reason = 'refund'") <= 1
    finally:
        await house.close()
    left = [p for name in ("incoming", "spool") for p in (data / name).iterdir()]
    kept = house.sql("SELECT spool FROM body WHERE spool IS NOT NULL")
    assert len(left) == len(kept)


@pytest.mark.slow
def test_killed_at_every_step(tmp_path: Path) -> None:
    at = 0
    while True:
        data = tmp_path / f"data{at}"
        code, told = killed(data, at)
        assert code in (0, 9)
        if is_made(data):
            asyncio.run(recovered(data, told))
        if code == 0:
            break
        at += 1
    assert at > 20  # it did die at many places
    assert told["done"]


def test_the_proof_sees_a_loss(tmp_path: Path) -> None:
    """The control: who says accepted before the commit loses mail at some step."""
    lost = 0
    for at in range(4, 24):
        data = tmp_path / f"data{at}"
        _, told = killed(data, at, early=True)
        if is_made(data):
            try:
                asyncio.run(recovered(data, told))
            except AssertionError:
                lost += 1
    assert lost > 0


def is_made(data: Path) -> bool:
    house = House.__new__(House)
    house.data = data
    if not (data / "waypost.db").exists():
        return False
    made = house.sql("SELECT 1 FROM sqlite_schema WHERE name = 'sender'")
    return bool(made) and bool(house.sql("SELECT 1 FROM sender"))


@pytest.mark.slow
def test_killed_by_signal_under_load(tmp_path: Path) -> None:
    """As many clients as there are, killed from outside at a moment of its own choosing."""
    for round_ in range(5):
        data = tmp_path / f"data{round_}"
        context = multiprocessing.get_context("fork")
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=load, args=(data, theirs))
        process.start()
        theirs.close()
        told: dict[str, set[int]] = {"accepted": set(), "ended": set()}
        try:
            while len(told["accepted"]) < 200 + 37 * round_:
                kind, number = ours.recv()
                told[kind].add(number)
            process.kill()
            while True:
                kind, number = ours.recv()
                told[kind].add(number)
        except EOFError:
            pass
        process.join()
        ours.close()
        asyncio.run(recovered(data, told))


def load(data: Path, told: Connection) -> None:
    async def whole() -> None:
        house = House(data, credits=100_000)
        taker = Taker()
        house.first.attach(taker)

        async def client() -> None:
            while True:
                outcome = await house.first.commit(house.acceptance())
                assert isinstance(outcome, Committed)
                told.send(("accepted", outcome.id))
                parcel = taker.taken.pop()
                await house.first.record(attempt(parcel, State.SENT))
                told.send(("ended", parcel.id))

        await asyncio.gather(*[client() for _ in range(20)])

    asyncio.run(whole())
