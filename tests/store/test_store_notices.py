"""When a notice is owed, that it is taken away by the commit of its message, and what it costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from store.house import FROM, House, Taker, attempt
from store.test_store_contract import run
from waypost.core.lifecycle import State
from waypost.core.message import NOTICE, Acceptance, Committed
from waypost.store.connect import connect, transaction
from waypost.store.contract import Lane
from waypost.store.sqlite.ending import TOLD_MS, Keep, end_recipients

PAIR = ("a@example.com", "b@example.com")
SENT, FAILED, QUEUED = State.SENT, State.FAILED, State.QUEUED
KEEP = Keep(0, 0)


def owner(house: House) -> None:
    house.change("UPDATE account SET notify = 'owner@example.org'")


def owed(house: House) -> list[tuple[int, int]]:
    """(message, how many milliseconds from now it is due)."""
    found = house.sql("SELECT message_id, due FROM notice ORDER BY 1")
    return [(message, due - house.clock.wall_ms()) for message, due in found]


async def tried(house: House, *states: State, **changes: Any) -> int:
    """A message whose first try came to these states."""
    taker = Taker()
    house.first.attach(taker)
    acceptance = house.acceptance(*PAIR[: len(states)], **changes)
    await house.first.commit(acceptance)
    await house.first.record(attempt(taker.taken[-1], *states, code=550, text="5.1.1 gone"))
    return acceptance.id


def about(house: House, message_id: int) -> Acceptance:
    return house.acceptance(
        "owner@example.org",
        channel=NOTICE,
        key_id=None,
        message_id="",
        null_sender=True,
        notice_of=message_id,
    )


@pytest.mark.parametrize(
    ("states", "due"), [((FAILED, FAILED), TOLD_MS), ((SENT, FAILED), 0), ((FAILED,), TOLD_MS)]
)
def test_owed_once_all_has_ended(tmp_path: Path, states: tuple[State, ...], due: int) -> None:
    async def story(house: House) -> None:
        owner(house)
        message_id = await tried(house, *states)
        assert owed(house) == [(message_id, due)]

    run(tmp_path / "data", story)


@pytest.mark.parametrize("why", ["nobody to tell", "all sent", "null sender", "left", "cancelled"])
def test_not_owed(tmp_path: Path, why: str) -> None:
    async def story(house: House) -> None:
        if why != "nobody to tell":
            owner(house)
        ends = {"all sent": (SENT, SENT), "left": (FAILED, QUEUED), "cancelled": (QUEUED, QUEUED)}
        changes = {"null_sender": True} if why == "null sender" else {}
        message_id = await tried(house, *ends.get(why, (FAILED, FAILED)), **changes)
        if why == "cancelled":
            db = connect(house.data)
            with transaction(db):
                now_ms = house.clock.wall_ms()
                end_recipients(db, now_ms, message_id, (1, 2), State.CANCELLED, 0, "no", KEEP)
            db.close()
        assert owed(house) == []

    run(tmp_path / "data", story)


def test_owed_by_a_command_that_fails_the_rest(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        owner(house)
        message_id = await tried(house, QUEUED, QUEUED)
        db = connect(house.data)
        with transaction(db):
            now_ms = house.clock.wall_ms()
            end_recipients(db, now_ms, message_id, (1, 2), State.FAILED, 0, "gone", KEEP)
        db.close()
        assert owed(house) == [(message_id, TOLD_MS)]

    run(tmp_path / "data", story)


def test_who_was_answered_so_needs_none(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        owner(house)
        message_id = await tried(house, FAILED)
        house.first.told(message_id)
        await house.first.commit(house.acceptance())  # the next batch has been written
        assert owed(house) == []

    run(tmp_path / "data", story)


def test_accepted_once_for_nothing(tmp_path: Path) -> None:
    """Not charged, not refunded, no credits needed; the second one is the first."""

    async def story(house: House) -> None:
        owner(house)
        message_id = await tried(house, FAILED)
        before = house.balance
        first, second = about(house, message_id), about(house, message_id)
        assert await house.first.commit(first) == Committed(first.id, 1)
        again = await house.first.commit(second)
        assert again == Committed(message_id, 0, repeat_of=message_id)
        assert owed(house) == []
        assert house.balance == before
        assert house.one("SELECT charged FROM message WHERE id = ?", first.id) == 0
        taker = house.first.bell.taker
        assert isinstance(taker, Taker)
        parcel = taker.taken[-1]
        assert (parcel.id, parcel.notice) == (first.id, True)
        await house.first.record(attempt(parcel, FAILED, code=550, text="5.1.1 gone"))
        assert owed(house) == []  # nobody is told of a notice
        assert house.balance == before
        assert house.sql("SELECT 1 FROM ledger WHERE message_id = ?", first.id) == []

    run(tmp_path / "data", story)


def test_a_notice_that_waited_is_one_still(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        owner(house)
        message_id = await tried(house, FAILED)
        house.change("UPDATE account SET balance = 0")
        house.first.attach(Taker(wanting=False))
        notice = about(house, message_id)
        assert await house.first.commit(notice) == Committed(notice.id, 1)
        house.change("UPDATE account SET balance = (SELECT sum(amount) FROM ledger)")
        house.adds_up()  # it is among no account's counts
        lane = Lane(notice.sender_id, 1, 0)
        (parcel,) = await house.first.claim(lane, house.clock.wall_ms(), 1)
        assert parcel.notice
        await house.first.record(attempt(parcel, FAILED, code=550, text="5.1.1 gone"))
        assert house.one("SELECT refunded FROM message WHERE id = ?", notice.id) == 0
        assert str(parcel.envelope_from) == str(FROM)

    run(tmp_path / "data", story)
