"""Repeats, rates and daily caps: exact under concurrency, over two stores on one file, and over
midnight."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from store.house import DAY_MS, NOW_MS, House, Taker, attempt
from waypost.core import ident
from waypost.core.lifecycle import State
from waypost.core.message import Acceptance, Committed, Idempotency
from waypost.core.verdict import Reason, Refusal
from waypost.store.connect import connect, transaction
from waypost.store.contract import Lane
from waypost.store.manage import rows
from waypost.store.read.book import Look
from waypost.store.sqlite.ending import Keep, end_recipients
from waypost.store.sqlite.engine import Engine

Story = Callable[[House], Awaitable[None]]
KEEP = Keep(0, 0)
TODAY = NOW_MS // DAY_MS
MIDNIGHT_MS = (TODAY + 1) * DAY_MS


def run(data: Path, story: Story) -> None:
    """Tells a story in a house; what an audit proves holds at its end."""

    async def whole() -> None:
        house = House(data)
        try:
            await asyncio.wait_for(story(house), 60)
        finally:
            await house.close()
        house.adds_up()

    asyncio.run(whole())


# Repeats.


def test_a_clients_own_name_for_a_call_stands_for_one_message(tmp_path: Path) -> None:
    """Of two in one batch, of another process, until a day is over; nothing is charged twice."""

    async def story(house: House) -> None:
        other = house.store(1)
        name = Idempotency(b"n" * 32, b"b" * 32)

        def call(store: Engine | None = None) -> Acceptance:
            return house.acceptance(store=store, idempotency=name)

        one, two = call(), call()
        first, second = await asyncio.gather(house.first.commit(one), house.first.commit(two))
        assert first == Committed(one.id, 1)
        again = Committed(one.id, 0, repeat_of=one.id, key_taken=True)
        assert second == again
        assert await other.commit(call(other)) == again
        # The next message of the same call, and another call.
        for differs in (Idempotency(b"n" * 32, b"b" * 32, 1), Idempotency(b"m" * 32, b"b" * 32)):
            made = await other.commit(house.acceptance(store=other, idempotency=differs))
            assert isinstance(made, Committed)
            assert made.repeat_of is None
        assert house.balance == 997
        house.clock.ms += DAY_MS
        late = call()
        assert await house.first.commit(late) == Committed(late.id, 1)
        assert house.balance == 996

    run(tmp_path / "data", story)


def test_the_same_again_is_the_first(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        same: dict[str, Any] = {"message_id": "m@c", "digest": b"d" * 32}
        # At once, in one batch: the race of a client's retry with its first try.
        tries = [house.acceptance("A@x.test", "b@x.test", **same) for _ in range(5)]
        outcomes = await asyncio.gather(*[house.first.commit(each) for each in tries])
        first = tries[0].id
        assert outcomes == [Committed(first, 2), *[Committed(first, 0, repeat_of=first)] * 4]
        assert house.balance == 998
        # Recipient by recipient: only the new one is charged.
        more = house.acceptance("a@X.test", "c@x.test", **same)
        assert await house.first.commit(more) == Committed(more.id, 1)
        assert house.sql("SELECT address FROM recipient WHERE message_id = ?", more.id) == [
            ("c@x.test",)
        ]

    run(tmp_path / "data", story)


@pytest.mark.parametrize(
    "other",
    [
        {"digest": b"e" * 32},
        {"message_id": "n@c"},
        {"message_id": ""},
        {"key_id": 2},
        {"repeat_window_ms": 0},
    ],
)
def test_anything_else_is_no_repeat(tmp_path: Path, other: dict[str, Any]) -> None:
    async def story(house: House) -> None:
        house.key(2, 1)
        same: dict[str, Any] = {"message_id": "m@c", "digest": b"d" * 32}
        await house.first.commit(house.acceptance(**same))
        second = house.acceptance(**{**same, **other})
        assert await house.first.commit(second) == Committed(second.id, 1)

    run(tmp_path / "data", story)


@pytest.mark.parametrize(("state", "repeat"), [(State.SENT, True), (State.FAILED, False)])
def test_failed_ones_are_sent_anew(tmp_path: Path, state: State, repeat: bool) -> None:
    async def story(house: House) -> None:
        taker = Taker()
        house.first.attach(taker)
        same: dict[str, Any] = {"message_id": "m@c", "digest": b"d" * 32}
        await house.first.commit(house.acceptance(**same))
        await house.first.record(attempt(taker.taken[0], state))
        again = house.acceptance(**same)
        outcome = await house.first.commit(again)
        assert isinstance(outcome, Committed)
        assert (outcome.repeat_of is not None) is repeat

    run(tmp_path / "data", story)


def test_a_repeat_waits_with_the_first_try(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        taker = Taker()
        house.first.attach(taker)
        same: dict[str, Any] = {"message_id": "m@c", "digest": b"d" * 32}
        one = house.acceptance(**same)
        await house.first.commit(one)
        await house.first.commit(house.acceptance(**same))
        waiting = [asyncio.ensure_future(house.first.settled(one.id, 60)) for _ in range(2)]
        await asyncio.sleep(0)
        await house.first.record(attempt(taker.taken[0], State.SENT))
        assert [(await each).sent for each in waiting] == [1, 1]

    run(tmp_path / "data", story)


def test_a_day_later_it_is_a_new_message(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        same: dict[str, Any] = {"message_id": "m@c", "digest": b"d" * 32}
        await house.first.commit(house.acceptance(**same))
        house.clock.ms += DAY_MS + 1
        again = house.acceptance(**same)
        assert await house.first.commit(again) == Committed(again.id, 1)

    run(tmp_path / "data", story)


# Rate.


def test_rate_slides_exactly_over_two_stores(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        other, maker = house.store(1), ident.IdentMaker(1)

        async def burst(count: int) -> int:
            each = [
                *[house.first.commit(house.acceptance(rate_per_minute=6)) for _ in range(count)],
                *[
                    other.commit(house.acceptance(rate_per_minute=6, maker=maker))
                    for _ in range(count)
                ],
            ]
            outcomes = await asyncio.gather(*each)
            refused = [o for o in outcomes if isinstance(o, Refusal)]
            assert all(o.reason is Reason.RATE_LIMIT and o.retry_after_s for o in refused)
            return len(outcomes) - len(refused)

        assert await burst(1) == 2
        house.clock.ms += 30_000
        assert await burst(10) == 4
        house.clock.ms += 29_999
        assert await burst(3) == 0
        house.clock.ms += 1
        assert await burst(5) == 2  # the first two have left the window, and no more
        house.clock.ms += 30_000
        assert await burst(5) == 4

    run(tmp_path / "data", story)


def test_a_worker_whose_clock_was_ahead_takes_no_rate_from_the_others(tmp_path: Path) -> None:
    """It was set back since; the ids that were made before must not count until it is that late."""

    async def story(house: House) -> None:
        other, ahead = house.store(1), ident.IdentMaker(1, ident.floor(NOW_MS + DAY_MS // 2))
        for _ in range(3):
            acceptance = house.acceptance(rate_per_minute=3, maker=ahead)
            assert isinstance(await other.commit(acceptance), Committed)
        assert isinstance(
            await other.commit(house.acceptance(rate_per_minute=3, maker=ahead)), Refusal
        )
        for left in (3, 2, 1):
            assert house.first.rate_room(1, 3, NOW_MS) == left
            assert isinstance(
                await house.first.commit(house.acceptance(rate_per_minute=3)), Committed
            )
        assert house.first.rate_room(1, 3, NOW_MS) == 0
        outcome = await house.first.commit(house.acceptance(rate_per_minute=3))
        assert isinstance(outcome, Refusal)
        assert outcome.retry_after_s == 60

    run(tmp_path / "data", story)


def test_rate_room_tells_what_the_commit_will(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        store = house.first
        assert store.rate_room(1, 3, NOW_MS) == 3
        for left in (2, 1, 0):
            await store.commit(house.acceptance(rate_per_minute=3))
            assert store.rate_room(1, 3, NOW_MS) == left
        outcome = await store.commit(house.acceptance(rate_per_minute=3))
        assert isinstance(outcome, Refusal)
        assert outcome.retry_after_s == 60
        assert store.rate_room(1, 3, NOW_MS + 59_999) == 0
        assert store.rate_room(1, 3, NOW_MS + 60_000) == 3
        assert store.rate_room(1, 0, NOW_MS) > 1_000
        assert house.store(1).rate_room(1, 3, NOW_MS) == 0  # read from the rows
        # Another key of the account has its own.
        house.key(2, 1)
        assert isinstance(
            await store.commit(house.acceptance(rate_per_minute=1, key_id=2)), Committed
        )

    run(tmp_path / "data", story)


# Caps.


def test_a_cap_is_exact_and_the_rest_goes_on_next_days(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        house.change("UPDATE upstream SET daily_cap = 5")
        store, other, maker = house.first, house.store(1), ident.IdentMaker(1)
        takers = Taker(), Taker()
        store.attach(takers[0])
        other.attach(takers[1])
        outcomes = await asyncio.gather(
            *[store.commit(house.acceptance()) for _ in range(6)],
            *[other.commit(house.acceptance(maker=maker)) for _ in range(6)],
        )
        assert all(isinstance(outcome, Committed) for outcome in outcomes)
        assert house.balance == 1_000 - 12  # charged, whatever waits
        assert len(takers[0].taken) + len(takers[1].taken) == 5
        days = house.sql("SELECT due, count(*) FROM queue WHERE claim = 0 GROUP BY due")
        assert days == [(MIDNIGHT_MS, 5), (MIDNIGHT_MS + DAY_MS, 2)]
        assert house.one("SELECT used FROM place WHERE scope = 'u' AND day = ?", TODAY) == 5
        settled = await store.settled(max(o.id for o in outcomes if isinstance(o, Committed)), 60)
        assert "daily cap of 5" in settled.hint
        lane = Lane(1, 1, 0)
        assert await store.claim(lane, MIDNIGHT_MS - 1, 99) == []
        house.clock.ms = MIDNIGHT_MS
        found = await asyncio.gather(
            store.claim(lane, MIDNIGHT_MS, 3), other.claim(lane, MIDNIGHT_MS, 99)
        )
        ids = [parcel.id for each in found for parcel in each]
        assert len(ids) == 5
        assert house.one("SELECT used FROM place WHERE scope = 'u' AND day = ?", TODAY + 1) == 5

    run(tmp_path / "data", story)


def test_newer_mail_waits_behind_and_another_account_does_not(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        house.account(2)
        house.change("UPDATE sender SET daily_cap = 4")
        store, taker = house.first, Taker()
        store.attach(taker)
        await store.commit(house.acceptance("a@x.test", "b@x.test", "c@x.test"))
        await store.commit(house.acceptance("a@x.test", "b@x.test"))  # no room for two
        await store.commit(house.acceptance("a@x.test"))  # room for one, but it waits behind
        assert len(taker.taken) == 1
        await store.commit(house.acceptance("a@x.test", account_id=2))
        assert len(taker.taken) == 2
        house.clock.ms = MIDNIGHT_MS
        await store.commit(house.acceptance("new@x.test"))  # behind what waits since yesterday
        found = await store.claim(Lane(1, 1, 0), MIDNIGHT_MS, 99)
        assert [len(parcel.recipients) for parcel in found] == [2, 1, 1]
        assert [parcel.id for parcel in found] == sorted(parcel.id for parcel in found)

    run(tmp_path / "data", story)


def test_larger_than_the_cap_alone(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        house.change("UPDATE upstream SET daily_cap = 2")
        three = ("a@x.test", "b@x.test", "c@x.test")
        outcome = await house.first.commit(house.acceptance(*three))
        assert isinstance(outcome, Refusal)
        assert outcome.smtp_line.startswith("550 5.7.1 ")
        assert house.balance == 1_000
        # What waits when the cap is lowered below it fails with that reason, refunded.
        house.change("UPDATE upstream SET daily_cap = 3")
        await house.first.commit(house.acceptance("z@x.test"))
        await house.first.commit(house.acceptance(*three))
        house.change("UPDATE upstream SET daily_cap = 2")
        house.clock.ms = MIDNIGHT_MS
        assert len(await house.first.claim(Lane(1, 1, 0), MIDNIGHT_MS, 9)) == 1
        assert house.sql("SELECT status FROM message ORDER BY id") == [("queued",), ("failed",)]
        assert house.balance == 999

    run(tmp_path / "data", story)


def test_without_room_at_the_claim_it_is_moved_in_order(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        for name in ("a@x.test", "b@x.test", "c@x.test"):
            await house.first.commit(house.acceptance(name))  # places of today, not claimed
        house.clock.ms = MIDNIGHT_MS
        house.change("UPDATE sender SET daily_cap = 2")
        found = await house.first.claim(Lane(1, 1, 0), MIDNIGHT_MS, 9)
        assert len(found) == 2
        assert house.sql("SELECT due, capped FROM queue WHERE claim = 0") == [
            (MIDNIGHT_MS + DAY_MS, -1)
        ]
        # On the wire once, it takes no second place on a later day.
        for parcel in found:
            await house.first.record(attempt(parcel, State.QUEUED, next_ms=MIDNIGHT_MS + DAY_MS))
        house.clock.ms = MIDNIGHT_MS + DAY_MS
        found = await house.first.claim(Lane(1, 1, 0), house.clock.ms, 9)
        assert len(found) == 3
        assert house.one("SELECT used FROM place WHERE scope = 's' AND day = ?", TODAY + 2) == 1

    run(tmp_path / "data", story)


def test_what_goes_through_another_upstream_is_under_its_cap(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        house.change(
            "INSERT INTO upstream (id, name, host, port, encryption, connections, per_connection,"
            " per_minute, recipients, created_at, daily_cap)"
            " VALUES (2, 'second', 'mx.example', 587, 'starttls', 20, 0, 0, 100, 0, 2)"
        )
        for name in ("a@x.test", "b@x.test", "c@x.test"):
            await house.first.commit(house.acceptance(name))
        now_ms, used = house.clock.ms, "SELECT used FROM place WHERE scope = 'u' AND scope_id = ?"
        first, second = await house.first.claim(Lane(1, 1, 0).by(2), now_ms, 9)
        assert (house.one(used, 1), house.one(used, 2)) == (3, 2)
        assert await house.first.claim(Lane(1, 1, 0).by(2), now_ms, 9) == []
        # What was tried through it today has its place; the third stays, due now, for the first.
        for parcel in (first, second):
            await house.first.record(
                attempt(parcel, State.QUEUED, at_ms=now_ms, upstream_id=2, next_ms=now_ms - 2)
            )
        assert len(await house.first.claim(Lane(1, 1, 0).by(2), now_ms, 9)) == 2
        assert house.one(used, 2) == 2
        assert len(await house.first.claim(Lane(1, 1, 0).by(1), now_ms, 9)) == 1
        assert (house.one(used, 1), house.one(used, 2)) == (3, 2)

    run(tmp_path / "data", story)


@pytest.mark.parametrize("how", ["waiting", "claimed", "tried"])
def test_what_follows_its_sender_is_under_the_cap_of_the_new_upstream(
    tmp_path: Path, how: str
) -> None:
    async def story(house: House) -> None:
        house.change(
            "INSERT INTO upstream (id, name, host, port, encryption, connections, per_connection,"
            " per_minute, recipients, created_at, daily_cap)"
            " VALUES (2, 'second', 'mx.example', 587, 'starttls', 20, 0, 0, 100, 0, 2)"
        )
        store, now_ms = house.first, house.clock.ms
        for _ in range(4):
            await store.commit(house.acceptance())
        found = await store.claim(Lane(1, 1, 0), now_ms, 3) if how != "waiting" else []
        if how == "tried":
            for parcel in found:
                await store.record(attempt(parcel, State.QUEUED, at_ms=now_ms, next_ms=now_ms))
        db = connect(house.data)
        with transaction(db):
            rows.anew(Look(db), 1, now_ms)
        db.close()
        house.change("UPDATE sender SET upstream_id = 2, daily_cap = 7 WHERE id = 1")
        if how == "claimed":
            for parcel in found:
                await store.release(parcel, parcel.due_ms, "")
        used = "SELECT used FROM place WHERE scope = ? AND day = ? ORDER BY scope_id DESC"
        assert len(await store.claim(Lane(1, 1, 0), now_ms, 9)) == 2
        assert house.one(used, "u", TODAY) == 2
        # Of the sender each is counted once a day; what was claimed may have gone out meanwhile.
        assert house.one(used, "s", TODAY) == (5 if how == "claimed" else 2)
        # What waits for the cap does not come nearer to its end by that.
        held = house.one("SELECT max(held) FROM queue WHERE claim = 0")
        assert held == (MIDNIGHT_MS - now_ms if how == "tried" else 0)
        house.clock.ms = MIDNIGHT_MS
        assert len(await store.claim(Lane(1, 1, 0), MIDNIGHT_MS, 9)) == 2

    run(tmp_path / "data", story)


def test_nothing_smaller_overtakes_what_has_no_room(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        for count in (2, 3, 1):
            await house.first.commit(house.acceptance(*[f"r{n}@x.test" for n in range(count)]))
        house.clock.ms = MIDNIGHT_MS
        house.change("UPDATE upstream SET daily_cap = 3")
        found = await house.first.claim(Lane(1, 1, 0), MIDNIGHT_MS, 9)
        assert [len(parcel.recipients) for parcel in found] == [2]
        # Each waits for a day of its own: 3, then 1.
        assert house.sql("SELECT due, capped FROM queue WHERE claim = 0") == [
            (MIDNIGHT_MS + DAY_MS, 1),
            (MIDNIGHT_MS + 2 * DAY_MS, 1),
        ]

    run(tmp_path / "data", story)


def test_to_be_sent_later_takes_the_place_of_that_day(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        house.change("UPDATE upstream SET daily_cap = 1")
        until = MIDNIGHT_MS + 5_000
        await house.first.commit(house.acceptance(hold_until_ms=until))
        assert house.sql("SELECT * FROM place") == []
        assert isinstance(await house.first.commit(house.acceptance()), Committed)
        house.clock.ms = until
        assert len(await house.first.claim(Lane(1, 1, 0), until, 1)) == 1

    run(tmp_path / "data", story)


def test_a_part_that_is_cancelled_gives_its_days_back(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        house.change("UPDATE upstream SET daily_cap = 3")
        three = ("a@a.test", "b@a.test", "c@a.test")
        for _ in range(2):  # the second has no room today
            await house.first.commit(house.acceptance(*three))
        planned = "SELECT used FROM place WHERE scope = 'U' AND day = ?"
        day = MIDNIGHT_MS // DAY_MS
        (message_id,) = house.sql("SELECT message_id FROM queue WHERE capped <> 0")[0]
        db = connect(house.data)
        for numbers, left in (((2,), 2), ((2,), 2), ((1, 3), 0)):
            with transaction(db):
                now_ms = house.clock.wall_ms()
                end_recipients(db, now_ms, message_id, numbers, State.CANCELLED, 0, "", KEEP)
            assert house.one(planned, day) == left
        db.close()
        # The two places that are free again are taken, and no day after it.
        for _ in range(3):
            await house.first.commit(house.acceptance())
        assert house.one(planned, day) == 3
        assert house.sql("SELECT * FROM place WHERE scope = 'U' AND day > ?", day) == []

    run(tmp_path / "data", story)


@pytest.mark.parametrize("how", ["cancelled", "retried", "moved", "cap raised"])
def test_days_that_mail_no_longer_waits_for_are_free_again(tmp_path: Path, how: str) -> None:
    """Else what comes next waits behind nothing, and each retry puts all off further."""

    async def story(house: House) -> None:
        house.change("UPDATE upstream SET daily_cap = 1")
        store = house.first
        store.attach(Taker())
        for _ in range(6):  # one goes now, five on the days after it
            await store.commit(house.acceptance())
        waiting = house.sql("SELECT message_id, due FROM queue WHERE claim = 0 ORDER BY due")
        assert [due for _, due in waiting] == [MIDNIGHT_MS + n * DAY_MS for n in range(5)]
        now_ms = house.clock.wall_ms()
        db = connect(house.data)
        with transaction(db):
            look = Look(db)
            if how == "cancelled":
                for message_id, _ in waiting[1:]:
                    end_recipients(db, now_ms, message_id, (1,), State.CANCELLED, 0, "", KEEP)
            elif how == "retried":
                rows.due_now(look, [1], now_ms)
            elif how == "moved":
                rows.anew(look, 1, now_ms)
            else:
                rows.try_today(look, 1, now_ms)
        db.close()
        assert house.one("SELECT sum(used) FROM place WHERE scope = 'S'") == (how == "cancelled")
        assert await store.claim(Lane(1, 1, 0), now_ms, 99) == []
        await store.commit(house.acceptance())
        dues = [row[0] for row in house.sql("SELECT due FROM queue WHERE claim = 0 ORDER BY due")]
        count = 2 if how == "cancelled" else 6
        assert dues == [MIDNIGHT_MS + n * DAY_MS for n in range(count)]

    run(tmp_path / "data", story)
