"""Rows that the store can never write: whoever is beside them goes on, each such row comes to a
state that is told of, nothing is lost or charged wrongly, and nobody asks again and again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import apsw
import pytest

from store.house import DAY_MS, NOW_MS, House, Taker, attempt
from store.test_store_leftover import run
from waypost.core.errors import StoreAway, Unwritable
from waypost.core.event import Event, Kind
from waypost.core.lifecycle import State
from waypost.core.message import Attempt, Committed, Parcel
from waypost.core.upstream import Health
from waypost.store.connect import connect, transaction
from waypost.store.contract import Lane
from waypost.store.sqlite import committer
from waypost.transport.flow.records import Ask, Records

LANE = Lane(1, 1, 0)
WEEK_MS = 7 * DAY_MS


def forbid(house: House, what: str, when: str) -> None:
    """From now on the store refuses that change of any row for which `when` is so."""
    db = connect(house.data)
    try:
        with transaction(db):
            db.execute(
                f"CREATE TRIGGER forbidden BEFORE {what} WHEN {when}"
                " BEGIN SELECT raise(ABORT, 'nobody expected this'); END"
            )
    finally:
        db.close()


def allow(house: House) -> None:
    db = connect(house.data)
    db.execute("DROP TRIGGER forbidden")
    db.close()


def told_of(house: House) -> list[tuple[str]]:
    return house.sql("SELECT text FROM event WHERE kind = ?", Kind.MESSAGE_DAMAGED)


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A mark for each commit of a batch from now on."""
    made: list[int] = []
    real = committer.Committer.commit_now

    def commit_now(self: committer.Committer, db: apsw.Connection) -> None:
        made.append(1)
        real(self, db)

    monkeypatch.setattr(committer.Committer, "commit_now", commit_now)
    return made


async def taken(house: House, taker: Taker, *to: str) -> Parcel:
    await house.first.commit(house.acceptance(*to))
    return taker.taken[-1]


def test_an_acceptance(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        forbid(house, "INSERT ON recipient", "new.address LIKE 'bad%'")
        store = house.first
        outcomes = await asyncio.gather(
            store.commit(house.acceptance("good@a.test")),
            store.commit(house.acceptance("bad@a.test")),
            store.commit(house.acceptance("fine@a.test")),
            return_exceptions=True,
        )
        assert [type(outcome) for outcome in outcomes] == [Committed, Unwritable, Committed]
        assert house.balance == 998

    run(tmp_path / "data", story)


def test_an_outcome_ends_in_one_told_state(tmp_path: Path, commits: list[int]) -> None:
    async def story(house: House) -> None:
        taker = Taker()
        house.first.attach(taker)
        bad, good = await taken(house, taker, "bad@a.test"), await taken(house, taker, "b@a.test")
        forbid(house, "UPDATE ON recipient", f"new.message_id = {bad.id}")
        records = Records(house.first)
        del commits[:]
        records.record(attempt(bad, State.SENT))
        records.record(attempt(good, State.SENT))
        async with asyncio.timeout(60):
            await records.settled()
        assert len(commits) <= 4  # with its words, without them, and the event: not once a second
        assert house.sql("SELECT state FROM recipient WHERE message_id = ?", good.id) == [
            (State.SENT,)
        ]
        ((text,),) = told_of(house)
        assert f"{bad.id:016x}" in text
        assert "1 of 1 sent" in text
        # It stays claimed: nobody sends it a second time, and nothing was refunded.
        assert house.sql("SELECT message_id, claim > 0 FROM queue") == [(bad.id, 1)]
        assert await house.first.adopt(NOW_MS) == 0
        assert await house.first.expire(NOW_MS + WEEK_MS, WEEK_MS) == 0
        assert house.balance == 998

    run(tmp_path / "data", story)


def test_a_store_that_is_only_away_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("waypost.transport.flow.records.AGAIN_S", 0.01)

    async def story(house: House) -> None:
        taker = Taker()
        house.first.attach(taker)
        parcel = await taken(house, taker)
        records, real = Records(house.first), house.first.record
        tries: list[int] = []

        def record(made: Attempt) -> asyncio.Future[None]:
            tries.append(1)
            if len(tries) < 4:
                away: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                away.set_exception(StoreAway("the disk is full"))
                return away
            return real(made)

        monkeypatch.setattr(house.first, "record", record)
        records.record(attempt(parcel, State.SENT))
        await records.settled()
        assert house.sql("SELECT state, text FROM recipient") == [(State.SENT, "2.0.0 ok")]
        assert told_of(house) == []

    run(tmp_path / "data", story)


def test_what_stands_in_the_way_of_an_outcome_is_gone_round(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        taker = Taker()
        house.first.attach(taker)
        parcel = await taken(house, taker, "a@a.test", "b@a.test")
        house.change(
            "INSERT INTO attempt (message_id, number, at, upstream_id, upstream, results)"
            " VALUES (?, 1, 0, 1, 'main', '[]')",
            parcel.id,
        )
        # Refunded already, though nobody had ended it.
        house.change(
            "INSERT INTO ledger (account_id, at, amount, reason, message_id, recipient, balance)"
            " VALUES (1, 0, 1, 'refund', ?, 1, 999)",
            parcel.id,
        )
        house.change("UPDATE account SET balance = 999 WHERE id = 1")
        await house.first.record(attempt(parcel, State.FAILED, code=550, text="5.1.1 nobody"))
        assert house.sql("SELECT code, text FROM recipient") == [(550, "5.1.1 nobody")] * 2
        assert house.sql("SELECT number FROM attempt ORDER BY 1") == [(1,), (2,)]
        assert house.one("SELECT count(*) FROM ledger WHERE reason = 'refund'") == 2
        assert house.balance == 1_000

    run(tmp_path / "data", story)


def test_a_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("waypost.transport.flow.records.REFUSED_S", 0.05)

    async def story(house: House) -> None:
        taker = Taker()
        house.first.attach(taker)
        bad, good = await taken(house, taker), await taken(house, taker)
        forbid(house, "UPDATE ON queue", f"old.message_id = {bad.id}")
        records = Records(house.first)
        records.release(bad, NOW_MS, "why")
        records.release(good, NOW_MS, "why")
        while records.outstanding > 1:  # noqa: ASYNC110  (what is waited for has no event)
            await asyncio.sleep(0.01)
        claims = dict(house.sql("SELECT message_id, claim FROM queue"))
        assert (claims[bad.id] > 0, claims[good.id]) == (True, 0)
        allow(house)
        await records.settled()
        assert house.sql("SELECT DISTINCT claim FROM queue") == [(0,)]

    run(tmp_path / "data", story)


def test_a_claim_passes_it_by(tmp_path: Path, commits: list[int]) -> None:
    async def story(house: House) -> None:
        store = house.first
        said: list[str] = []
        store.damaged.told = said.append
        bad, good, last = (house.acceptance() for _ in range(3))
        for one in (bad, good, last):
            await store.commit(one)
        forbid(house, "UPDATE ON queue", f"old.message_id = {bad.id}")
        assert [parcel.id for parcel in await store.claim(LANE, NOW_MS, 2)] == [good.id]
        assert told_of(house) == [(said[0],)]
        assert f"{bad.id:016x}" in said[0]
        # The next claim does not come upon it, and tells of nothing again.
        assert [parcel.id for parcel in await store.claim(LANE, NOW_MS, 1)] == [last.id]
        assert (len(told_of(house)), len(said)) == (1, 1)
        allow(house)
        assert await store.claim(LANE, NOW_MS + 60_000, 1) == []
        (parcel,) = await store.claim(LANE, NOW_MS + 3_600_000, 1)
        assert parcel.id == bad.id
        assert house.balance == 997

    run(tmp_path / "data", story)


def test_a_claim_keeps_to_the_cap_beside_it(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        store = house.first
        many = [house.acceptance(hold_until_ms=NOW_MS + DAY_MS) for _ in range(4)]
        for one in many:
            await store.commit(one)
        house.change("UPDATE sender SET daily_cap = 2 WHERE id = 1")
        forbid(house, "UPDATE ON queue", f"old.message_id = {many[1].id}")
        house.clock.ms += DAY_MS
        claimed = await store.claim(LANE, house.clock.ms, 4)
        assert [parcel.id for parcel in claimed] == [many[0].id, many[2].id]
        used = "SELECT used FROM place WHERE scope = 's' AND day = ?"
        assert house.one(used, house.clock.ms // DAY_MS) == 2
        allow(house)

    run(tmp_path / "data", story)


def test_mail_that_is_too_old(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        store = house.first
        bad, good = house.acceptance(), house.acceptance()
        await store.commit(bad)
        await store.commit(good)
        forbid(house, "UPDATE ON recipient", f"new.message_id = {bad.id}")
        house.clock.ms += WEEK_MS
        assert await store.expire(NOW_MS + WEEK_MS, WEEK_MS) == 1
        assert house.sql("SELECT message_id FROM queue") == [(bad.id,)]
        assert house.balance == 999
        assert len(told_of(house)) == 1
        assert await store.expire(NOW_MS + WEEK_MS, WEEK_MS) == 0
        assert len(told_of(house)) == 1

    run(tmp_path / "data", story)


def test_claims_of_the_dead(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        other = house.store(5, Taker())
        bad, good = house.acceptance(store=other), house.acceptance(store=other)
        await other.commit(bad)
        await other.commit(good)
        other._lock.close()  # as the kernel does when a worker dies
        forbid(house, "UPDATE ON queue", f"old.message_id = {bad.id}")
        assert await house.first.adopt(NOW_MS) == 1
        assert house.sql("SELECT message_id, attempt FROM queue WHERE claim = 0") == [(good.id, 2)]
        assert len(told_of(house)) == 1
        allow(house)
        assert await house.first.adopt(NOW_MS) == 1

    run(tmp_path / "data", story)


@pytest.mark.parametrize("what", ["health", "pin", "hold", "announce"])
def test_small_changes(tmp_path: Path, what: str) -> None:
    async def story(house: House) -> None:
        store, event = house.first, Event(NOW_MS, Kind.UPSTREAM_FAILING, "x", upstream_id=1)
        asks: dict[str, Ask] = {
            "health": lambda: store.health(1, 1, Health(reason="bad"), event),
            "pin": lambda: store.pin(1, 1, "bad"),
            "hold": lambda: store.hold(1, "bad", 0, event),
            "announce": lambda: store.announce(1, event),
        }
        forbid(house, "UPDATE ON sender" if what == "hold" else "UPDATE ON upstream", "1")
        records = Records(store)
        records.keep(asks[what])
        beside = asyncio.ensure_future(store.commit(house.acceptance()))
        async with asyncio.timeout(60):
            await records.settled()  # given up and logged: it is not asked for again
            assert isinstance(await beside, Committed)
        assert house.sql("SELECT * FROM event") == []

    run(tmp_path / "data", story)
