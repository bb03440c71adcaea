"""What nobody else would end: claims that nobody hears of, claims of the dead, rows that are
damaged, mail that is too old. And that one telling that breaks stops nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from store.house import DAY_MS, NOW_MS, House, Taker, attempt
from waypost.core.errors import StoreAway
from waypost.core.event import Kind
from waypost.core.lifecycle import State
from waypost.core.message import Committed, SpoolPart
from waypost.store import locks, spool
from waypost.store.connect import Paths
from waypost.store.contract import Lane
from waypost.store.spool import Spool
from waypost.store.sqlite.accepting import Accept
from waypost.store.sqlite.ending import Keep
from waypost.store.sqlite.leftover import late
from waypost.transport.flow.records import NO_WORDS, Records

LANE = Lane(1, 1, 0)
WEEK_MS = 7 * DAY_MS


def run(data: Path, story: Callable[[House], Awaitable[None]], *, damaged: bool = False) -> House:
    """Tells a story in a house, and looks whether everything adds up, if nothing was damaged."""
    kept: list[House] = []

    async def whole() -> None:
        house = House(data)
        kept.append(house)
        try:
            await asyncio.wait_for(story(house), 60)
        finally:
            await house.close()

    asyncio.run(whole())
    if not damaged:
        kept[0].adds_up()
    return kept[0]


def test_a_claim_whose_task_ends_right_after_the_commit_is_given_back(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        store = house.first
        await store.commit(house.acceptance())
        asked = asyncio.ensure_future(store.claim(LANE, NOW_MS, 1))
        made = store._claim_made

        def committed(op: Any) -> None:
            made(op)
            asyncio.get_running_loop().call_soon(asked.cancel)  # before it wakes up

        store._claim_made = committed  # type: ignore[method-assign]
        with pytest.raises(asyncio.CancelledError):
            await asked

    house = run(tmp_path / "data", story)
    assert house.sql("SELECT claim, attempt FROM queue") == [(0, 1)]
    assert house.sql("SELECT * FROM attempt") == []


def test_the_lock_of_the_dead_is_kept_until_their_claims_have_fallen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(house: House) -> None:
        other = house.store(5, Taker())
        await other.commit(house.acceptance(store=other))
        other._lock.close()  # as the kernel does when a worker dies
        store, lock = house.first, Paths(house.data).lock("worker.5")
        held: list[bool] = []
        commit = store._committer.commit_now

        def commit_now(db: apsw.Connection) -> None:
            asking.get_loop().call_soon_threadsafe(asking.cancel)
            held.append(locks.held(lock))
            commit(db)
            held.append(locks.held(lock))

        monkeypatch.setattr(store._committer, "commit_now", commit_now)
        asking = asyncio.ensure_future(store.adopt(NOW_MS))
        with pytest.raises(asyncio.CancelledError):
            await asking
        while len(held) < 2:  # noqa: ASYNC110  (a thread commits)
            await asyncio.sleep(0.001)
        assert held == [True, True]
        while locks.held(lock):  # noqa: ASYNC110  (let go on the loop, once that is told of)
            await asyncio.sleep(0.001)
        assert house.sql("SELECT claim, attempt FROM queue") == [(0, 2)]

    run(tmp_path / "data", story)


@pytest.mark.parametrize(
    "lost", ["DELETE FROM body", "DELETE FROM message", "DELETE FROM recipient"]
)
def test_a_row_that_cannot_be_sent_does_not_block_its_lane(tmp_path: Path, lost: str) -> None:
    async def story(house: House) -> None:
        bad, good = house.acceptance("x@a.test"), house.acceptance("y@a.test")
        await house.first.commit(bad)
        await house.first.commit(good)
        column = "id" if "message" in lost else "message_id"
        house.change(f"{lost} WHERE {column} = ?", bad.id)
        (parcel,) = await house.first.claim(LANE, NOW_MS, 5)
        assert parcel.id == good.id
        await house.first.record(attempt(parcel, State.SENT))
        assert house.sql("SELECT * FROM queue") == []
        told = house.one("SELECT text FROM event WHERE message_id = ?", bad.id)
        assert "damaged in the store" in told
        if lost == "DELETE FROM body":
            assert house.sql("SELECT code, state FROM recipient WHERE message_id = ?", bad.id) == [
                (554, State.FAILED)
            ]
            assert house.balance == 999

    run(tmp_path / "data", story, damaged=lost != "DELETE FROM body")


def test_one_whose_telling_breaks_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(house: House) -> None:
        broke: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, told: broke.append(told))
        store, real = house.first, house.first._accepted

        def accepted(op: Accept) -> None:
            if op.acceptance.id == first.id:
                raise RuntimeError("nobody expected this")
            real(op)

        store._accepted = accepted  # type: ignore[method-assign]
        first = house.acceptance()
        async with asyncio.timeout(60):
            both = await asyncio.gather(store.commit(first), store.commit(house.acceptance()))
            assert all(isinstance(outcome, Committed) for outcome in both)
            assert isinstance(await store.commit(house.acceptance()), Committed)
        assert len(broke) == 1

    run(tmp_path / "data", story)


def test_looking_for_lanes_fails_in_our_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(house: House) -> None:
        reader = house.first._reader
        reader.set_progress_handler(lambda: True, 1)  # as a read that is cut off
        with pytest.raises(StoreAway):
            await house.first.lanes([1])
        reader.set_progress_handler(None, 1)

    run(tmp_path / "data", story)


def test_an_outcome_whose_words_cannot_be_kept_is_kept_without_them(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        taker = Taker()
        house.first.attach(taker)
        await house.first.commit(house.acceptance())
        (parcel,) = taker.taken
        records = Records(house.first)
        records.record(attempt(parcel, State.SENT, text="half a \ud800 pair"))
        await records.settled()
        assert house.sql("SELECT state, code, text FROM recipient") == [(State.SENT, 250, NO_WORDS)]
        assert house.sql("SELECT * FROM queue") == []

    run(tmp_path / "data", story)


def test_a_release_that_was_refused_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("waypost.transport.flow.records.REFUSED_S", 0.01)

    async def story(house: House) -> None:
        taker = Taker()
        house.first.attach(taker)
        await house.first.commit(house.acceptance())
        (parcel,) = taker.taken
        records, real = Records(house.first), house.first.release

        def release(*values: Any) -> asyncio.Future[None]:
            if len(asked := [*tries, 1]) < 3:
                tries[:] = asked
                refused: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                refused.set_exception(ValueError("a row that nobody expected"))
                return refused
            return real(*values)

        tries: list[int] = []
        monkeypatch.setattr(house.first, "release", release)
        records.release(parcel, NOW_MS + 5, "")
        await records.settled()
        assert house.sql("SELECT claim, due FROM queue") == [(0, NOW_MS + 5)]

    run(tmp_path / "data", story)


def test_what_is_too_old_fails_whoever_it_waits_for(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        store = house.first
        house.account(2)
        await store.commit(house.acceptance())
        (parcel,) = await store.claim(LANE, NOW_MS, 1)
        put_off = attempt(parcel, State.QUEUED, code=450, text="later", next_ms=NOW_MS + 6 * DAY_MS)
        await store.record(msgspec.structs.replace(put_off, reason="450 later"))
        await store.commit(house.acceptance(account_id=2))
        later = house.acceptance(hold_until_ms=NOW_MS + 8 * DAY_MS)
        await store.commit(later)
        await store.commit(house.acceptance())
        (claimed,) = await store.claim(LANE, NOW_MS, 1)
        house.change("UPDATE account SET enabled = 0 WHERE id = 2")
        assert await store.expire(NOW_MS + WEEK_MS - 1, WEEK_MS) == 0
        assert await store.expire(NOW_MS + WEEK_MS, WEEK_MS) == 2
        told = house.sql("SELECT text FROM recipient WHERE state = 2 ORDER BY message_id")
        assert told == [("queued for too long: 450 later",), ("queued for too long",)]
        assert house.sql("SELECT message_id FROM queue ORDER BY 1") == [(later.id,), (claimed.id,)]
        assert house.sql("SELECT count(*) FROM ledger WHERE reason = 'refund'") == [(2,)]
        assert house.sql("SELECT count(*) FROM attempt") == [(3,)]
        assert await store.expire(NOW_MS + WEEK_MS, WEEK_MS) == 0
        assert await store._end_old([claimed.id]) == 0  # claimed since it was found
        await store.release(claimed, NOW_MS, "")
        assert await store.expire(NOW_MS + 15 * DAY_MS, WEEK_MS) == 2

    run(tmp_path / "data", story)


def test_what_is_too_old_gives_back_the_days_it_was_planned_for(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        store = house.first
        house.change("UPDATE sender SET daily_cap = 2 WHERE id = 1")
        for _ in range(7):
            await store.commit(house.acceptance())
        planned = "SELECT sum(used) FROM place WHERE scope IN ('S', 'U') AND day > ?"
        assert house.one(planned, NOW_MS // DAY_MS) == 2 * 5
        await store.expire(NOW_MS + WEEK_MS, WEEK_MS)
        assert house.one(planned, NOW_MS // DAY_MS) == 0

    run(tmp_path / "data", story)


def test_a_long_queue_is_looked_through_page_by_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(late, "PAGE", 3)
    monkeypatch.setattr(late, "PAGES", 2)
    monkeypatch.setattr(late, "ONCE", 2)

    async def story(house: House) -> None:
        store = house.first
        for number in range(12):
            hold = NOW_MS + 30 * DAY_MS if number < 6 else 0
            await store.commit(house.acceptance(hold_until_ms=hold))
        ended = [await store.expire(NOW_MS + WEEK_MS, WEEK_MS) for _ in range(3)]
        assert ended == [0, 6, 0]

    run(tmp_path / "data", story)


def test_a_file_goes_with_the_mail_that_was_too_old(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        store = house.store(1, keep=Keep(0, 0))
        file = Spool(house.data, 1).open()
        file.write(b"x" * 1000)
        rest = SpoolPart(file.finish(), 0, 1000)
        await store.commit(house.acceptance(store=store, rest=rest))
        assert len(list((house.data / "spool").iterdir())) == 1
        assert await store.expire(NOW_MS + WEEK_MS, WEEK_MS) == 1
        await store.close()
        assert list((house.data / "spool").iterdir()) == []

    run(tmp_path / "data", story)


def test_a_lost_body_is_told_of_apart_from_other_failures(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        taker = Taker()
        house.first.attach(taker)
        await house.first.commit(house.acceptance("a@a.test", "b@a.test"))
        (parcel,) = taker.taken
        lost = attempt(parcel, State.FAILED, code=554, text=spool.BODY_LOST, damaged=True)
        await house.first.record(lost)
        assert house.sql("SELECT kind FROM event") == [(Kind.MESSAGE_DAMAGED,)]
        assert house.one("SELECT text FROM event").endswith(f"554 {spool.BODY_LOST}")
        assert house.balance == 1_000

    run(tmp_path / "data", story)
