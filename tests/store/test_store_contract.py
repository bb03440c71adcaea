"""What store/contract.py promises of acceptance and outcomes, on a real file, with a clock that
stands."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from store.house import FROM, NOW_MS, House, StandingClock, Taker, attempt, opener
from waypost.core import ident
from waypost.core.address import parse
from waypost.core.errors import StoreAway
from waypost.core.event import Event, Kind
from waypost.core.lifecycle import State
from waypost.core.message import Addressee, Changed, Committed
from waypost.core.upstream import Health, UpstreamState
from waypost.core.verdict import Reason, Refusal
from waypost.store.contract import Lane, RefusalNote, RelayStore
from waypost.store.sqlite.engine import open_store
from waypost.store.sqlite.notes import RECIPIENTS_CHARACTERS

Story = Callable[[House], Awaitable[None]]


def run(data: Path, story: Story, credits: int = 1_000) -> None:
    """Tells a story in a house; what an audit proves holds at its end."""

    async def whole() -> None:
        house = House(data, credits)
        try:
            await asyncio.wait_for(story(house), 60)
        finally:
            await house.close()
        house.adds_up()

    asyncio.run(whole())


def reason(outcome: object) -> Reason:
    assert isinstance(outcome, Refusal), outcome
    return outcome.reason


def test_engine_keeps_the_contract(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        store: RelayStore = house.first  # mypy reads the promise, this line the names
        for name in vars(RelayStore):
            assert name.startswith("_") or hasattr(store, name)

    run(tmp_path / "data", story)


def test_accepted_paid_claimed_sent(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        store, taker = house.first, Taker()
        store.attach(taker)
        acceptance = house.acceptance("a@example.com", "B@example.com")
        assert await store.commit(acceptance) == Committed(acceptance.id, 2)
        assert house.balance == 998
        assert store.balance(1) == 998
        (parcel,) = taker.taken
        assert parcel.recipients == ((1, parse("a@example.com")), (2, parse("B@example.com")))
        assert (parcel.head, parcel.rest) == (acceptance.head, acceptance.rest)
        assert house.sql("SELECT claim, due FROM queue") == [(1, NOW_MS)]
        await store.record(attempt(parcel, State.SENT))
        settled = await store.settled(acceptance.id, 5)
        assert (settled.queued, settled.sent, settled.failed) == (0, 2, 0)
        assert house.sql("SELECT status, ended_at FROM message") == [("sent", NOW_MS)]
        assert house.sql("SELECT count(*) FROM body UNION ALL SELECT count(*) FROM queue") == [
            (0,),
            (0,),
        ]
        assert house.one("SELECT results FROM attempt") == (
            '[[1,1,250,"2.0.0 ok"],[2,1,250,"2.0.0 ok"]]'
        )

    run(tmp_path / "data", story)


def test_two_hundred_race_for_a_hundred_credits(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        outcomes = await asyncio.gather(
            *[house.first.commit(house.acceptance()) for _ in range(200)]
        )
        assert sum(isinstance(outcome, Committed) for outcome in outcomes) == 100
        refused = {reason(o) for o in outcomes if not isinstance(o, Committed)}
        assert refused == {Reason.NO_CREDITS}
        assert house.balance == 0

    run(tmp_path / "data", story, credits=100)


def test_two_stores_race_for_the_last_credits(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        other, maker = house.store(1), ident.IdentMaker(1)
        mine = [house.first.commit(house.acceptance()) for _ in range(30)]
        theirs = [other.commit(house.acceptance(maker=maker)) for _ in range(30)]
        outcomes = await asyncio.gather(*mine, *theirs)
        assert sum(isinstance(outcome, Committed) for outcome in outcomes) == 7
        assert house.balance == 0

    run(tmp_path / "data", story, credits=7)


def test_a_message_is_paid_whole_or_refused(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        outcome = await house.first.commit(house.acceptance("a@x.test", "b@x.test", "c@x.test"))
        assert reason(outcome) is Reason.NO_CREDITS
        for table in ("message", "recipient", "body", "queue", "place"):
            assert house.sql(f"SELECT * FROM {table}") == []
        assert house.balance == 2

    run(tmp_path / "data", story, credits=2)


def test_unlimited_keeps_a_ledger_and_refuses_nothing(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        assert house.first.balance(1) == 1
        house.change("UPDATE account SET unlimited = 1")
        assert house.first.directory().accounts[1].unlimited
        assert house.first.balance(1) is None
        outcome = await house.first.commit(house.acceptance("a@x.test", "b@x.test"))
        assert isinstance(outcome, Committed)
        assert house.balance == -1

    run(tmp_path / "data", story, credits=1)


def test_refund_once_and_words_of_the_first_refused(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        store, taker = house.first, Taker()
        store.attach(taker)
        await store.commit(house.acceptance("a@x.test", "b@x.test"))
        parcel = taker.taken[0]
        refusal = attempt(parcel, State.FAILED, code=550, text="5.1.1 who is that")
        await asyncio.gather(store.record(refusal), store.record(refusal))
        await store.record(refusal)
        assert house.balance == 1_000
        assert house.sql(
            "SELECT amount, recipient, balance FROM ledger WHERE reason = 'refund'"
        ) == [(1, 1, 999), (1, 2, 1_000)]
        settled = await store.settled(parcel.id, 0)
        assert (settled.code, settled.enhanced) == (550, "5.1.1")
        assert settled.words == "5.1.1 who is that"
        assert house.sql("SELECT kind, message_id FROM event") == [("message.failed", parcel.id)]
        # A failed message's body is kept a while.
        assert house.one("SELECT expires_at FROM body") == NOW_MS + 7 * 86_400_000
        # Who asks later, or another process, reads the same.
        again = await house.store(1).settled(parcel.id, 1)
        assert (again.code, again.enhanced, again.failed) == (550, "5.1.1", 2)

    run(tmp_path / "data", story)


def test_deferred_is_due_again_and_the_ended_do_not_move(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        store, taker = house.first, Taker()
        store.attach(taker)
        await store.commit(house.acceptance("a@x.test", "b@x.test", "c@x.test"))
        first = attempt(
            taker.taken[0],
            State.SENT,
            State.QUEUED,
            State.FAILED,
            next_ms=NOW_MS + 5,
            reason="grey",
        )
        await store.record(first)
        settled = await store.settled(taker.taken[0].id, 0)
        assert (settled.sent, settled.queued, settled.failed) == (1, 1, 1)
        assert (settled.hint, settled.next_at_ms) == ("grey", NOW_MS + 5)
        (lane,) = await store.lanes([1])
        assert lane == Lane(1, 1, NOW_MS + 5)
        assert await store.claim(lane, NOW_MS + 4, 10) == []
        (parcel,) = await store.claim(lane, NOW_MS + 5, 10)
        assert parcel.recipients == ((2, parse("b@x.test")),)
        assert (parcel.attempt, parcel.tries, parcel.first_try_ms) == (2, 1, NOW_MS)
        assert await store.claim(lane, NOW_MS + 5, 10) == []
        await store.record(attempt(parcel, State.SENT))
        assert house.one("SELECT status FROM message") == "partial"

    run(tmp_path / "data", story)


def test_counting_of_attempts(tmp_path: Path) -> None:
    """(counted, uncertain) -> tries, uncertain ones in a row and whether the first try has been."""

    async def story(house: House) -> None:
        store, taker = house.first, Taker()
        store.attach(taker)
        await store.commit(house.acceptance())
        parcel = taker.taken[0]
        steps = [
            ((False, False), (0, 0, False)),
            ((True, True), (1, 1, True)),
            ((False, False), (1, 1, True)),
            ((True, True), (2, 2, True)),
            ((True, False), (3, 0, True)),
        ]
        for number, ((counted, uncertain), expected) in enumerate(steps, 2):
            await store.record(
                attempt(
                    parcel,
                    State.QUEUED,
                    counted=counted,
                    uncertain=uncertain,
                    next_ms=NOW_MS,
                    held_ms=7,
                )
            )
            (parcel,) = await store.claim(Lane(1, 1, 0), NOW_MS, 1)
            got = (parcel.tries, parcel.uncertain_row, parcel.first_try_ms > 0)
            assert got == expected
            assert (parcel.attempt, parcel.held_ms) == (number, 7 * (number - 1))

    run(tmp_path / "data", story)


def test_record_without_the_claim_is_not_recorded(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        taker = Taker()
        house.first.attach(taker)
        await house.first.commit(house.acceptance())
        parcel = taker.taken[0]
        await house.store(1).record(attempt(parcel, State.SENT))
        assert house.one("SELECT queued FROM message") == 1
        # Even if memory says that the claim is ours: the row decides.
        house.change("UPDATE queue SET claim = 9")
        await house.first.record(attempt(parcel, State.FAILED))
        assert house.sql("SELECT * FROM attempt") == []
        assert house.balance == 999

    run(tmp_path / "data", story)


def test_release_gives_back_untried(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        store, taker = house.first, Taker()
        store.attach(taker)
        await store.commit(house.acceptance())
        await store.release(taker.taken[0], NOW_MS + 9, "paused")
        assert house.sql("SELECT claim, due, attempt, tries, held, reason FROM queue") == [
            (0, NOW_MS + 9, 1, 0, 0, "paused")
        ]
        (parcel,) = await store.claim(Lane(1, 1, 0), NOW_MS + 9, 1)
        assert (parcel.attempt, parcel.held_ms) == (1, 0)
        assert house.sql("SELECT * FROM attempt") == []

    run(tmp_path / "data", story)


def test_claims_of_the_dead_are_taken_over(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        dying, taker = house.store(1), Taker()
        dying.attach(taker)
        maker = ident.IdentMaker(1)
        for _ in range(3):
            await dying.commit(house.acceptance(maker=maker))
        keeper = Taker()
        house.first.attach(keeper)
        await house.first.commit(house.acceptance())
        assert await house.first.adopt(NOW_MS) == 0  # it lives, and so do we
        await dying.close()  # the kernel drops its lock, as at a kill
        assert await house.first.adopt(NOW_MS + 1) == 3
        assert await house.first.adopt(NOW_MS + 1) == 0
        rows = house.sql("SELECT uncertain, results, upstream FROM attempt")
        assert len(rows) == 3
        assert all(row[0] == 1 and row[2] == "main" for row in rows)
        assert house.one("SELECT count(*) FROM event WHERE kind = 'message.uncertain'") == 3
        found = await house.first.claim(Lane(1, 1, 0), NOW_MS + 1, 10)
        # Logged, not counted: neither towards the schedule nor to the three in a row.
        assert {(p.attempt, p.tries, p.uncertain_row) for p in found} == {(2, 0, 0)}
        await asyncio.gather(*[house.first.record(attempt(p, State.SENT)) for p in found])
        await house.first.record(attempt(keeper.taken[0], State.SENT))

    run(tmp_path / "data", story)


def test_a_worker_takes_over_what_its_own_number_left(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        taker = Taker()
        house.first.attach(taker)
        await house.first.commit(house.acceptance())
        await house.first.close()
        again = house.store(0, Taker())
        fresh = await again.commit(house.acceptance(store=again))
        assert isinstance(fresh, Committed)
        assert await again.adopt(NOW_MS) == 1
        assert house.one("SELECT claim FROM queue WHERE message_id = ?", fresh.id) == 1
        house.maker = ident.IdentMaker(0, again.last_id())
        assert house.maker.make(0) > fresh.id

    run(tmp_path / "data", story)


@pytest.mark.parametrize(
    ("held", "until", "wanting", "claimed"),
    [("", 0, True, True), ("553", 0, True, False), ("", 1, True, False), ("", 0, False, False)],
)
def test_who_is_claimed_at_once(
    tmp_path: Path, held: str, until: int, wanting: bool, claimed: bool
) -> None:
    async def story(house: House) -> None:
        taker = Taker(wanting)
        house.change("UPDATE sender SET held = ?", held)
        house.first.attach(taker)
        while not taker.stirs:  # noqa: ASYNC110  (of the change: another process would see it so)
            await asyncio.sleep(0)
        taker.stirs = 0
        acceptance = house.acceptance(hold_until_ms=(NOW_MS + 60_000) if until else 0)
        await house.first.commit(acceptance)
        assert bool(taker.taken) is claimed
        assert house.one("SELECT claim FROM queue") == (1 if claimed else 0)
        await asyncio.sleep(0)
        assert bool(taker.stirs) is not claimed
        if held or until:
            settled = await house.first.settled(acceptance.id, 60)
            assert settled.queued == 1
            assert settled.hint

    run(tmp_path / "data", story)


def test_settled_is_told_at_once(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        store, taker = house.first, Taker()
        store.attach(taker)
        early, late, slow = (house.acceptance() for _ in range(3))
        store.no_try(early.id, "paused", NOW_MS + 1)  # before its commit was told of
        for acceptance in (early, late, slow):
            await store.commit(acceptance)
        assert (await store.settled(early.id, 60)).hint == "paused"
        waiting = asyncio.ensure_future(store.settled(late.id, 60))
        await asyncio.sleep(0)
        store.no_try(late.id, "no slot", 0)
        assert (await waiting).hint == "no slot"
        assert (await store.settled(slow.id, 0)).queued == 1
        assert (await store.settled(slow.id, 0.01)).queued == 1

    run(tmp_path / "data", story)


@pytest.mark.parametrize(
    ("sql", "changed"),
    [
        ("UPDATE account SET notify = 'n@example.org'", False),
        ("UPDATE api_key SET enabled = 0", True),
        ("UPDATE api_key SET deleted_at = 1", True),
        ("UPDATE account SET enabled = 0", True),
        ("UPDATE account SET rate_per_minute = 5", True),
        ("DELETE FROM sender", True),
        ("UPDATE sender SET account_id = 2, everyone = 0", True),
        ("UPDATE sender SET from_name = 'Shop'", False),
    ],
)
def test_what_it_was_judged_by_is_compared_again(tmp_path: Path, sql: str, changed: bool) -> None:
    async def story(house: House) -> None:
        house.account(2)
        acceptance = house.acceptance()
        before = house.first.directory()
        house.change(sql)
        outcome = await house.first.commit(acceptance)
        assert isinstance(outcome, Changed) is changed
        assert house.first.directory() is not before

    run(tmp_path / "data", story)


def test_a_disabled_key_is_dead_at_once(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        assert house.first.directory().keys[1].enabled
        house.change("UPDATE api_key SET enabled = 0")
        assert not house.first.directory().keys[1].enabled
        assert house.first.upstreams()[1].password == opener(1, b"terces")

    run(tmp_path / "data", story)


def test_disabled_account_holds_its_queue(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        await house.first.commit(house.acceptance())
        house.change("UPDATE account SET enabled = 0")
        assert await house.first.lanes([1]) == []
        assert await house.first.claim(Lane(1, 1, 0), NOW_MS, 5) == []
        house.change("UPDATE account SET enabled = 1")
        assert len(await house.first.lanes([1])) == 1

    run(tmp_path / "data", story)


def test_lanes_cost_a_look_up_each(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        house.account(2)
        house.sender(2, "b@example.org")
        for account_id, sender in ((1, FROM), (1, FROM), (2, FROM), (2, parse("b@example.org"))):
            await house.first.commit(house.acceptance(account_id=account_id, sender=sender))
            house.clock.ms += 1
        found = await house.first.lanes([2, 1, 77])
        assert found == [Lane(2, 2, NOW_MS + 3), Lane(1, 1, NOW_MS), Lane(1, 2, NOW_MS + 2)]

    run(tmp_path / "data", story)


def test_health_pin_hold_and_their_events(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        store, other = house.first, house.store(1)
        paused = Health(UpstreamState.PAUSED, "login refused", NOW_MS)
        event = Event(NOW_MS, Kind.UPSTREAM_PAUSED, "login refused", upstream_id=1)
        await store.health(1, 99, paused, event)  # edited since: not kept, not told
        assert house.sql("SELECT * FROM event") == []
        await store.health(1, 1, paused, event)
        assert store.upstreams()[1].health == other.upstreams()[1].health == paused
        assert house.one("SELECT count(*) FROM event") == 1
        await store.pin(1, 1, "verified")
        assert other.upstreams()[1].pin == "verified"
        await store.hold(1, "553 not yours", NOW_MS + 5, None)
        assert store.directory().senders[1].held == "553 not yours"

    run(tmp_path / "data", story)


def test_a_line_of_refusals_keeps_who_they_were_to(tmp_path: Path) -> None:
    """Of equal ones all, once each, as far as there is room; they make no line of their own."""

    async def story(house: House) -> None:
        def note(*to: str) -> RefusalNote:
            return RefusalNote(NOW_MS, "smtp", "p", 1, 1, "f@x.test", "sender", "550 no", to)

        house.first.refuse(note("a@x.test", "b@x.test"))
        await house.first.refuse(note("b@x.test"))
        await house.first.refuse(note())
        await house.first.refuse(note("c@x.test", "a@x.test"))
        sql = "SELECT count, recipients FROM refusal"
        assert house.sql(sql) == [(4, "a@x.test\nb@x.test\nc@x.test")]
        await house.first.refuse(note(*(f"{number}@many.test" for number in range(1_000))))
        ((count, kept),) = house.sql(sql)
        assert count == 5
        assert kept.startswith("a@x.test\nb@x.test\nc@x.test\n0@many.test\n1@many")
        assert RECIPIENTS_CHARACTERS - 20 < len(kept) <= RECIPIENTS_CHARACTERS

    run(tmp_path / "data", story)


def test_refusals_are_counted_and_uses_written_seldom(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        store = house.first

        def note(at_ms: int, peer: str) -> RefusalNote:
            return RefusalNote(at_ms, "smtp", peer, 1, 1, "f@x.test", "sender", "550 no")

        for at_ms in (0, 1, 59_999, 60_000):
            store.used(1, NOW_MS + at_ms)
            store.refuse(note(NOW_MS + at_ms, "192.0.2.1"))
            await store.refuse(note(NOW_MS + at_ms, "192.0.2.2"))
        assert house.sql("SELECT peer, at - ?, count FROM refusal ORDER BY id", NOW_MS) == [
            ("192.0.2.1", 0, 3),
            ("192.0.2.2", 0, 3),
            ("192.0.2.1", 60_000, 1),
            ("192.0.2.2", 60_000, 1),
        ]
        assert house.one("SELECT last_used_at FROM api_key WHERE id = 1") == NOW_MS + 60_000

    run(tmp_path / "data", story)


def test_another_process_is_heard(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        taker = Taker()
        house.first.attach(taker)
        command = house.store(None)
        assert command.worker == 255
        acceptance = house.acceptance(
            store=command, maker=ident.IdentMaker(command.worker), key_id=None
        )
        assert isinstance(await command.commit(acceptance), Committed)
        assert taker.taken == []
        assert house.one("SELECT claim FROM queue") == 0
        assert house.first.bell.rung()
        assert not house.first.bell.rung()
        (parcel,) = await house.first.claim(Lane(1, 1, 0), NOW_MS, 1)
        waiting = asyncio.ensure_future(command.settled(acceptance.id, 30))
        await house.first.record(attempt(parcel, State.SENT))
        assert (await waiting).sent == 1

    run(tmp_path / "data", story)


def test_after_close_everything_is_away(tmp_path: Path) -> None:
    async def whole() -> None:
        house = House(tmp_path / "data")
        acceptance = house.acceptance()
        pending = asyncio.ensure_future(house.first.commit(acceptance))
        await asyncio.sleep(0)
        await house.first.close()
        assert await pending == Committed(acceptance.id, 1)  # what was asked for is committed
        with pytest.raises(StoreAway):
            await house.first.commit(acceptance)
        with pytest.raises(StoreAway):
            house.first.directory()
        await house.first.refuse(RefusalNote(0, "smtp", "p", None, None, "", "r", "a"))
        await house.close()

    asyncio.run(whole())


def test_one_number_is_one_process(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        with pytest.raises(StoreAway, match="worker number 0"):
            house.store(0)
        with pytest.raises(StoreAway, match="no store"):
            open_store(tmp_path / "none", clock=StandingClock(), worker=3, opener=opener)
        assert not (tmp_path / "none").exists()

    run(tmp_path / "data", story)


def test_header_only_named_again_is_left_out(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        def named(*header_only: bool) -> tuple[Addressee, ...]:
            people = zip(("a@x.test", "b@x.test"), header_only, strict=True)
            return tuple(Addressee(parse(text), flag) for text, flag in people)

        one = house.acceptance(message_id="m@c", addressees=named(False, True), repeat_window_ms=0)
        assert await house.first.commit(one) == Committed(one.id, 2)
        two = house.acceptance(message_id="m@c", addressees=named(True, False), repeat_window_ms=0)
        # Other bytes: RCPT TO b is delivered (again), a is only in the header and has had it.
        assert await house.first.commit(two) == Committed(two.id, 1)
        three = house.acceptance(message_id="m@c", addressees=named(True, True), repeat_window_ms=0)
        assert await house.first.commit(three) == Committed(one.id, 0, repeat_of=one.id)
        house.clock.ms += 86_400_001
        four = house.acceptance(message_id="m@c", addressees=named(True, True), repeat_window_ms=0)
        assert await house.first.commit(four) == Committed(four.id, 2)

    run(tmp_path / "data", story)


def test_what_ended_meanwhile_is_not_ended_or_refunded_again(tmp_path: Path) -> None:
    """Whoever ended it: an attempt's results for it are left out."""

    async def story(house: House) -> None:
        taker = Taker()
        house.first.attach(taker)
        await house.first.commit(house.acceptance("a@a.test", "b@a.test", "c@a.test"))
        (parcel,) = taker.taken
        house.change("UPDATE recipient SET state = 3, ended_at = 1 WHERE number = 2")
        house.change("UPDATE message SET queued = 2, cancelled = 1, refunded = 1")
        house.change("UPDATE account SET balance = balance + 1, cancelled = 1 WHERE id = 1")
        house.change(
            "INSERT INTO ledger (account_id, at, amount, reason, message_id, recipient, balance)"
            " VALUES (1, 0, 1, 'refund', ?, 2, 998)",
            parcel.id,
        )
        house.first._fresh.clear()  # its counts have moved
        await house.first.record(attempt(parcel, State.FAILED, code=550, text="5.1.1 nobody"))
        assert house.sql("SELECT state FROM recipient ORDER BY number") == [(2,), (3,), (2,)]
        assert house.sql("SELECT failed, cancelled, refunded FROM message") == [(2, 1, 3)]
        assert house.balance == 1_000

    run(tmp_path / "data", story)
