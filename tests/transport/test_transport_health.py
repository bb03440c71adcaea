"""Health of upstreams and holds of senders: who is tried when, and what is told."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from transport.bench_of import acceptance, rig
from transport.fake_store import make_upstream, until
from transport.scripted import Scripted
from waypost.core.errors import Secret
from waypost.core.lifecycle import State
from waypost.core.upstream import Health, Limits, UpstreamState
from waypost.transport.flow.window import SOON_S, Pace
from waypost.transport.schedule import DAY_MS, HOUR_MS, MINUTE_MS, QueueRules

Q, S, F = State.QUEUED, State.SENT, State.FAILED
OK, FAILING, PAUSED = UpstreamState.OK, UpstreamState.FAILING, UpstreamState.PAUSED


def test_a_refused_login_pauses_and_one_login_at_a_time_probes(tmp_path: Path) -> None:
    async def play() -> None:
        server = Scripted({"auth": "5xx"})
        async with rig(server, tmp_path) as held:
            held.edit(username="u", password=Secret("p"))
            for _ in range(50):
                held.store.put()
            await held.dispatcher.start()
            await until(lambda: held.store.state_of() is PAUSED and not held.store.claimed)
            assert server.connections == 1
            waits = []
            for wait in (5, 15, 60, 240, 240):
                before = server.connections
                held.later(wait * MINUTE_MS - 1)
                await asyncio.sleep(0.03)
                assert server.connections == before
                held.later(1)
                await until(lambda n: server.connections == n + 1, before)
                await asyncio.sleep(0.03)
                waits.append(server.connections - before)
            assert waits == [1] * 5
            assert not held.store.records
            server.faults = {}
            held.later(240 * MINUTE_MS)
            await until(lambda: len(server.got) == 50)
            assert held.store.state_of() is OK
            kinds = [event.kind for event in held.store.events]
            assert kinds == ["upstream.login_failed", "upstream.recovered"]

    asyncio.run(play())


@pytest.mark.parametrize("how", ["resume", "edit"])
def test_somebody_acts_and_mail_goes_on_at_once(how: str, tmp_path: Path) -> None:
    async def play() -> None:
        server = Scripted({"auth": "5xx"}, times=1)
        async with rig(server, tmp_path) as held:
            held.edit(username="u", password=Secret("p"))
            held.store.put()
            await held.dispatcher.start()
            await until(lambda: held.store.state_of() is PAUSED and not held.store.claimed)
            fresh = Health(since_ms=held.clock.ms + 1)
            if how == "resume":
                known = held.store.settings[1]
                held.store.add_upstream(msgspec.structs.replace(known, health=fresh))
                held.dispatcher.stirred()
            else:
                held.edit(password=Secret("better"), health=fresh)
            await until(lambda: len(server.got) == 1 and len(held.store.events) == 2)
            held.store.put()
            await until(lambda: len(server.got) == 2)
            await until(lambda: len(held.store.records) == 2)
            kinds = [event.kind for event in held.store.events]
            assert kinds == ["upstream.login_failed", "upstream.recovered"]

    asyncio.run(play())


@pytest.mark.parametrize(
    ("stage", "words", "state"),
    [
        ("mail", "550 5.4.5 Daily user sending limit exceeded.", FAILING),
        ("dot", "550 5.4.5 Daily user sending limit exceeded.", FAILING),
        ("mail", "530 5.7.0 Authentication required", PAUSED),
    ],
)
def test_the_message_that_was_hit_goes_on_at_once_too(
    stage: str, words: str, state: UpstreamState, tmp_path: Path
) -> None:
    async def play() -> None:
        server = Scripted()
        server.replies = {stage: words}
        async with rig(server, tmp_path) as held:
            held.store.put()
            await held.dispatcher.start()
            await until(lambda: held.store.state_of() is state and not held.store.claimed)
            assert held.store.records[0].probe_ms >= held.clock.ms + HOUR_MS
            server.replies = {}
            held.edit(health=Health(since_ms=held.clock.ms + 1))
            await until(lambda: len(server.got) == 1)

    asyncio.run(play())


def test_a_limit_told_at_rcpt_is_the_reason(tmp_path: Path) -> None:
    async def play() -> None:
        server = Scripted()
        async with rig(server, tmp_path) as held:
            parcel = held.store.put()
            address = str(parcel.recipients[0][1])
            server.replies = {address: "550 5.2.251 submission quota exceeded"}
            await held.dispatcher.start()
            await until(lambda: held.store.state_of() is FAILING and not held.store.claimed)
            assert "5.2.251" in held.store.settings[1].health.reason
            assert held.store.settings[1].health.probes == 1

    asyncio.run(play())


def test_a_pause_by_hand_is_never_probed(tmp_path: Path) -> None:
    async def play() -> None:
        server = Scripted()
        async with rig(server, tmp_path) as held:
            await held.dispatcher.start()
            held.edit(health=Health(state=PAUSED, reason="paused by the operator"))
            held.store.put()
            assert not held.dispatcher.wants(acceptance(99))
            for _ in range(5):
                held.later(5 * HOUR_MS)
                await asyncio.sleep(0.02)
            assert server.connections == 0
            held.edit(health=Health())
            await until(lambda: len(server.got) == 1 and len(held.store.records) == 1)
            assert [event.kind for event in held.store.events] == ["upstream.recovered"]

    asyncio.run(play())


@pytest.mark.parametrize(
    "words", ["250 taken", "554 5.0.0 no", "550 5.4.5 Daily user sending limit exceeded."]
)
def test_nothing_that_was_on_the_wire_ends_a_pause_by_hand(words: str, tmp_path: Path) -> None:
    async def play() -> None:
        server = Scripted()
        server.turns = asyncio.Semaphore(0)
        server.replies = {"dot": words}
        async with rig(server, tmp_path) as held:
            held.store.put()
            await held.dispatcher.start()
            await until(lambda: "." in server.commands)
            by_hand = Health(state=PAUSED, reason="paused by the operator")
            held.edit(health=by_hand)
            await until(lambda: held.dispatcher.health[1] is PAUSED)
            server.turns.release()
            await until(lambda: len(held.store.records) == 1 and not held.store.claimed)
            assert held.store.settings[1].health == by_hand
            assert held.dispatcher.health[1] is PAUSED

    asyncio.run(play())


def test_what_was_on_the_wire_ends_no_pause_for_a_refused_login(tmp_path: Path) -> None:
    """Each message of the connections that are left would end it, and each new login begin it."""

    async def play() -> None:
        server = Scripted()
        server.turns = asyncio.Semaphore(0)
        async with rig(server, tmp_path) as held:
            held.edit(username="u", password=Secret("p"))
            held.store.put()
            await held.dispatcher.start()
            await until(lambda: "." in server.commands)
            server.faults = {"auth": "5xx"}
            held.store.put()
            held.dispatcher.stirred()
            await until(lambda: held.dispatcher.health[1] is PAUSED)
            server.turns.release()
            await until(lambda: len(server.got) == 1 and len(held.store.claimed) == 0)
            assert held.dispatcher.health[1] is PAUSED
            assert held.store.state_of() is PAUSED
            assert [event.kind for event in held.store.events] == ["upstream.login_failed"]
            server.faults = {}
            server.turns.release()
            held.later(6 * MINUTE_MS + 1)
            await until(lambda: len(server.got) == 2 and held.store.state_of() is OK)
            kinds = [event.kind for event in held.store.events]
            assert kinds == ["upstream.login_failed", "upstream.recovered"]

    asyncio.run(play())


def test_a_limit_told_of_some_recipients_stands_though_others_are_taken(tmp_path: Path) -> None:
    async def play() -> None:
        server = Scripted()
        server.replies = {"bob@example.org": "550 5.4.5 Daily user sending limit exceeded."}
        async with rig(server, tmp_path) as held:
            held.store.put(("ann@example.org", "bob@example.org"))
            await held.dispatcher.start()
            await until(lambda: held.store.state_of() is FAILING and not held.store.claimed)
            await asyncio.sleep(0.05)
            assert [got.rcpts for got in server.got] == [["ann@example.org"]]
            assert len(held.store.records) == 1
            assert [event.kind for event in held.store.events] == ["upstream.failing"]
            server.replies = {}
            held.later(2 * HOUR_MS)
            await until(lambda: len(server.got) == 2 and held.store.state_of() is OK)

    asyncio.run(play())


def test_after_later_trouble_one_message_an_hour_and_nothing_else(tmp_path: Path) -> None:
    async def play() -> None:
        server = Scripted()
        server.replies = {"dot": "550 5.4.5 Daily user sending limit exceeded."}
        async with rig(server, tmp_path, Limits(connections=1)) as held:
            for _ in range(10):
                held.store.put()
            await held.dispatcher.start()
            await until(lambda: held.store.state_of() is FAILING and not held.store.claimed)
            assert len(held.store.records) == 1
            assert not held.store.records[0].counted
            for hours in (2, 3):
                held.later(HOUR_MS - 1)
                await asyncio.sleep(0.03)
                assert len(held.store.records) == hours - 1
                held.later(1)
                await until(lambda n: len(held.store.records) == n, hours)
                await asyncio.sleep(0.03)
                assert len(held.store.records) == hours
            server.replies = {}
            held.later(HOUR_MS)
            await until(lambda: len(server.got) == 10)
            assert all(states[1] is S for states in held.store.states.values())
            assert held.store.state_of() is OK

    asyncio.run(play())


def test_a_sick_upstream_slows_no_other(tmp_path: Path) -> None:
    async def play() -> None:
        async with Scripted() as other, rig(Scripted({"greeting": "hang"}), tmp_path) as held:
            held.store.add_upstream(make_upstream(other.port, id=2, name="second"))
            held.store.add_sender(2, 2)
            for _ in range(50):
                held.store.put(sender_id=1)
                held.store.put(sender_id=2)
            await held.dispatcher.start()
            await until(lambda: len(other.got) == 50)
            # The sick one has not even been given up.
            assert (held.server.connections, held.server.open) == (1, 1)
            assert held.store.state_of() is OK
            await held.dispatcher.stop(0.1)

    asyncio.run(play())


def test_too_many_connections_means_fewer_not_none(tmp_path: Path) -> None:
    class Few(Scripted):
        def _fault(self, stage: str) -> str | None:
            return "421" if stage == "greeting" and self.open > 2 else None

    async def play() -> None:
        server = Few()
        server.delay_s = 0.003
        async with rig(server, tmp_path, Limits(connections=10)) as held:
            for _ in range(100):
                held.store.put()
            await held.dispatcher.start()
            await until(lambda: len(server.got) == 100)
            assert held.store.state_of() is OK
            assert server.connections < 30
            assert all(record.parcel.attempt == 1 for record in held.store.records)

    asyncio.run(play())


def test_a_sender_that_is_refused_is_held_alone(tmp_path: Path) -> None:
    async def play() -> None:
        server = Scripted()
        server.replies = {}

        class Picky(Scripted):
            refuses = True

            async def _say(self, writer: asyncio.StreamWriter, stage: str, normal: str) -> bool:
                if stage == "mail" and self.refuses and "sender1@" in self.commands[-1]:
                    normal = "553 5.7.1 sender address rejected: not owned by user"
                return await super()._say(writer, stage, normal)

        picky = Picky(offers=())
        async with rig(picky, tmp_path, Limits(connections=1)) as held:
            held.store.add_sender(2, 1)
            for _ in range(5):
                held.store.put(sender_id=1)
                held.store.put(sender_id=2)
            await held.dispatcher.start()
            await until(lambda: len(picky.got) == 5 and not held.store.claimed)
            assert held.store.senders[1].held
            assert held.store.state_of() is OK
            tried = [r for r in held.store.records if r.parcel.sender_id == 1]
            assert len(tried) == 1
            assert not tried[0].counted
            assert not held.dispatcher.wants(acceptance(99))
            assert "not owned" in held.store.no_tries[99][0]
            held.later(HOUR_MS)
            await until(lambda: len([r for r in held.store.records if not r.counted]) == 2)
            await asyncio.sleep(0.03)
            picky.refuses = False
            held.later(HOUR_MS)
            await until(lambda: len(picky.got) == 10)
            assert not held.store.senders[1].held
            kinds = [event.kind for event in held.store.events]
            assert kinds == ["sender.held", "sender.released"]

    asyncio.run(play())


def test_mail_follows_its_sender_to_a_new_upstream(tmp_path: Path) -> None:
    async def play() -> None:
        server = Scripted()
        turns = server.turns = asyncio.Semaphore(0)
        async with Scripted() as other, rig(server, tmp_path, Limits(connections=1)) as held:
            held.store.add_upstream(make_upstream(other.port, id=2, name="second"))
            for _ in range(6):
                held.store.put()
            await held.dispatcher.start()
            await until(lambda: server.commands.count(".") == 1)
            held.store.add_sender(1, 2)
            for _ in range(6):
                turns.release()
            await until(lambda: len(other.got) == 5)
            await until(lambda: len(held.store.records) == 6)
            assert len(server.got) == 1

    asyncio.run(play())


def test_the_fallback_carries_while_the_first_cannot(tmp_path: Path) -> None:
    async def play() -> None:
        server = Scripted({"greeting": "5xx"})
        async with Scripted() as other, rig(server, tmp_path) as held:
            held.store.add_upstream(make_upstream(other.port, id=2, name="second"))
            held.edit(fallback_id=2)
            for _ in range(5):
                held.store.put()
            await held.dispatcher.start()
            await until(lambda: len(other.got) == 5)
            assert {record.upstream_name for record in held.store.records} == {"second"}
            assert held.store.state_of() is PAUSED
            await until(lambda: len(held.store.events) == 2)
            paused, told = held.store.events
            assert (paused.kind, told.kind) == ("upstream.paused", "upstream.failover")
            assert (told.upstream_id, told.account_id) == (1, None)
            assert "goes through second" in told.text
            assert "refuses us" in told.text
            held.later(1)
            held.store.put()
            held.dispatcher.stirred()
            await until(lambda: len(other.got) == 6)
            assert len(held.store.events) == 2  # told once, not once a message
            assert not held.dispatcher.wants(acceptance(900))  # a place is taken by a claim alone

            server.faults = {}
            held.later(5 * MINUTE_MS)
            await until(lambda: held.store.state_of() is OK)
            held.store.put()
            held.dispatcher.stirred()
            await until(lambda: len(server.got) == 1)
            assert len(other.got) == 6

    asyncio.run(play())


def test_a_fallback_that_refuses_the_sender_is_not_used_for_it(tmp_path: Path) -> None:
    async def play() -> None:
        server = Scripted({"greeting": "5xx"})
        other = Scripted(offers=("8BITMIME",))
        async with other, rig(server, tmp_path) as held:
            other.replies["mail"] = "553 5.7.1 not owned by user"
            held.store.add_upstream(make_upstream(other.port, id=2, name="second"))
            held.edit(fallback_id=2)
            held.store.put()
            held.store.put()
            await held.dispatcher.start()
            await until(lambda: len(held.store.records) >= 1 and not held.store.claimed)
            await asyncio.sleep(0.05)
            assert len([text for text in other.commands if text.startswith("MAIL")]) <= 2
            assert other.got == []
            assert held.store.holds == []  # the first may send as it
            server.faults = {}
            held.later(5 * MINUTE_MS)
            await until(lambda: len(server.got) == 2)
            await until(lambda: {found[1] for found in held.store.states.values()} == {S})

    asyncio.run(play())


def test_a_first_that_takes_no_mail_is_tried_with_one_while_the_second_carries(
    tmp_path: Path,
) -> None:
    async def play() -> None:
        server = Scripted({"dot": "drop"})
        async with Scripted() as other, rig(server, tmp_path) as held:
            held.store.add_upstream(make_upstream(other.port, id=2, name="second"))
            held.edit(fallback_id=2, health=Health(FAILING, "quota", 1, held.clock.ms + HOUR_MS))
            held.store.put()
            await held.dispatcher.start()
            await until(lambda: len(other.got) == 1)
            server.faults = {}
            held.later(HOUR_MS)
            for _ in range(3):
                held.store.put()
            held.dispatcher.stirred()
            await until(lambda: len(server.got) + len(other.got) == 4)
            await until(lambda: held.store.state_of() is OK)
            assert server.got

    asyncio.run(play())


def test_a_failover_is_told_each_time_and_no_probe_ends_it(tmp_path: Path) -> None:
    """Also where another worker gives the first its mail: only the health tells of that."""

    async def play() -> None:
        server = Scripted({"dot": "drop"})
        async with Scripted() as other, rig(server, tmp_path) as held:
            held.store.add_upstream(make_upstream(other.port, id=2, name="second"))
            held.edit(fallback_id=2)

            def told() -> int:
                return sum(event.kind == "upstream.failover" for event in held.store.events)

            async def state(health: Health) -> None:
                known = held.store.settings[1]
                held.store.add_upstream(msgspec.structs.replace(known, health=health))
                held.dispatcher.stirred()
                await until(lambda: held.dispatcher.health[1] is health.state)

            async def carried(count: int) -> None:
                held.store.put()
                held.dispatcher.stirred()
                await until(lambda: len(other.got) == count)

            await held.dispatcher.start()
            await state(Health(FAILING, "quota", 1, held.clock.ms + HOUR_MS))
            await carried(1)
            await until(lambda: told() == 1)
            held.store.put()
            held.later(HOUR_MS)  # tries the first, which loses it
            await until(lambda: len(held.store.records) == 2)
            await carried(2)
            assert told() == 1
            await state(Health())
            await asyncio.sleep(0.02)
            await state(Health(FAILING, "quota", 1, held.clock.ms + HOUR_MS))
            await carried(3)
            await until(lambda: told() == 2)

    asyncio.run(play())


def test_a_quiet_upstream_is_logged_in_to_once_a_day(tmp_path: Path) -> None:
    async def play() -> None:
        server = Scripted()
        async with rig(server, tmp_path, idle_s=0.01) as held:
            await held.dispatcher.start()
            held.later(DAY_MS // 2)
            await asyncio.sleep(0.05)
            assert server.connections == 0
            for day in (1, 2):
                held.later(DAY_MS)
                await until(lambda n: server.connections == n, day)
                seen = held.clock.ms
                await until(lambda at: held.store.settings[1].health.last_success_ms == at, seen)
                await until(lambda: server.open == 0)
                held.later(MINUTE_MS)
                await asyncio.sleep(0.03)
                assert server.connections == day
            assert held.store.events == []
            server.faults = {"greeting": "5xx"}
            held.later(DAY_MS)
            await until(lambda: held.store.state_of() is PAUSED)
            assert [event.kind for event in held.store.events] == ["upstream.paused"]

    asyncio.run(play())


def test_what_works_is_known_to_the_minute(tmp_path: Path) -> None:
    async def play() -> None:
        async with rig(Scripted(), tmp_path) as held:
            await held.dispatcher.start()
            seen = []
            for wait in (0, MINUTE_MS // 2, MINUTE_MS):
                held.later(wait)
                parcel = held.store.put()
                held.dispatcher.stirred()
                await until(lambda p: held.store.states[p.id][1] is S, parcel)
                seen.append(held.store.settings[1].health.last_success_ms)
            assert seen[0] == seen[1] < seen[2] == held.clock.ms
            assert held.store.events == []

    asyncio.run(play())


def test_a_disabled_account_waits(tmp_path: Path) -> None:
    async def play() -> None:
        async with rig(Scripted(), tmp_path) as held:
            held.store.add_account(2, enabled=False)
            parcel = held.store.put(account_id=2)
            await held.dispatcher.start()
            await asyncio.sleep(0.05)
            assert parcel.id in held.store.waiting
            held.store.add_account(2)
            held.dispatcher.stirred()
            await until(lambda: held.store.states[parcel.id][1] is S)

    asyncio.run(play())


def test_the_whole_schedule_of_a_message_that_is_always_put_off(tmp_path: Path) -> None:
    async def play() -> None:
        server = Scripted()
        server.replies = {"ann@example.org": "450 4.2.0 not now"}
        async with rig(server, tmp_path) as held:
            parcel = held.store.put()
            await held.dispatcher.start()
            for tries in range(1, 100):
                await until(lambda n: len(held.store.records) == n, tries)
                await asyncio.sleep(0)
                if held.store.states[parcel.id][1] is not Q:
                    break
                held.later(held.store.waiting[parcel.id].due_ms - held.clock.ms)
            hours = [
                (record.at_ms - held.store.records[0].at_ms) / HOUR_MS
                for record in held.store.records
            ]
            assert [round(hour, 2) for hour in hours[:8]] == [
                0,
                0.02,
                0.1,
                0.35,
                0.85,
                1.85,
                3.85,
                7.85,
            ]
            assert 72 <= hours[-1] <= 77
            last = held.store.records[-1].results[0]
            assert (last.state, last.code) == (F, 450)
            assert "not now" in last.text

    asyncio.run(play())


def test_uncertain_three_times_is_the_end(tmp_path: Path) -> None:
    async def play() -> None:
        async with rig(Scripted({"dot": "drop"}), tmp_path) as held:
            parcel = held.store.put()
            await held.dispatcher.start()
            waits = []
            for tries in (1, 2, 3):
                await until(lambda n: len(held.store.records) == n, tries)
                await asyncio.sleep(0)
                if tries < 3:
                    waits.append(held.store.waiting[parcel.id].due_ms - held.clock.ms)
                    held.later(waits[-1])
            assert waits == [15 * MINUTE_MS, 15 * MINUTE_MS]
            assert all(record.uncertain for record in held.store.records)
            assert held.store.records[-1].results[0].text.startswith("uncertain")
            assert held.store.states[parcel.id][1] is F

    asyncio.run(play())


def test_nothing_is_queued_longer_than_hold_max_though_nobody_tries(tmp_path: Path) -> None:
    async def play() -> None:
        async with rig(Scripted(), tmp_path) as held:
            held.edit(health=Health(state=PAUSED, reason="by hand"))
            parcel = held.store.put()
            await held.dispatcher.start()
            held.later(7 * DAY_MS - 1)
            await asyncio.sleep(0.05)
            assert parcel.id in held.store.waiting
            held.later(60_001)
            await until(lambda: held.store.states[parcel.id][1] is F)

    asyncio.run(play())


def test_a_short_hold_max_is_kept_to(tmp_path: Path) -> None:
    async def play() -> None:
        async with rig(Scripted(), tmp_path, rules=QueueRules(hold_max_ms=4_000)) as held:
            held.edit(health=Health(state=PAUSED, reason="by hand"))
            parcel = held.store.put()
            await held.dispatcher.start()
            held.later(3_999)
            await asyncio.sleep(0.05)
            assert parcel.id in held.store.waiting
            held.later(1_001)
            await until(lambda: held.store.states[parcel.id][1] is F)

    asyncio.run(play())


def test_time_in_a_pause_does_not_count_towards_giving_up(tmp_path: Path) -> None:
    async def play() -> None:
        server = Scripted()
        server.replies = {"ann@example.org": "450 4.2.0 not now"}
        async with rig(server, tmp_path) as held:
            parcel = held.store.put()
            await held.dispatcher.start()
            await until(lambda: len(held.store.records) == 1)
            held.edit(health=Health(state=PAUSED, reason="by hand"))
            held.later(4 * DAY_MS)
            await asyncio.sleep(0.02)
            held.edit(health=Health())
            await until(lambda: len(held.store.records) == 2)
            assert held.store.states[parcel.id][1] is Q
            assert held.store.records[1].held_ms >= 4 * DAY_MS - HOUR_MS

    asyncio.run(play())


def test_fresh_mail_is_wanted_while_there_is_room(tmp_path: Path) -> None:
    async def play() -> None:
        server = Scripted({"greeting": "hang"})
        async with rig(server, tmp_path, Limits(connections=2)) as held:
            assert not held.dispatcher.wants(acceptance(1))
            await held.dispatcher.start()
            taken = 0
            for ident in range(1_000, 1_100):
                if not held.dispatcher.wants(acceptance(ident)):
                    break
                held.store.hand_over(held.dispatcher, held.store.put())
                taken += 1
            assert taken == 4
            assert held.dispatcher.wants(acceptance(2_000, account_id=2))
            assert "free connection" in held.store.no_tries[1_004][0]
            assert not held.dispatcher.wants(acceptance(3_000, sender_id=77))
            await held.dispatcher.stop(0.1)
            assert not held.dispatcher.wants(acceptance(4_000))

    asyncio.run(play())


def test_fresh_mail_is_told_at_once_that_the_pace_is_used_up(tmp_path: Path) -> None:
    """Nor is what waits for the minute to pass claimed: it can still be cancelled."""

    async def play() -> None:
        server = Scripted()
        async with rig(server, tmp_path, Limits(connections=4, per_minute=3)) as held:
            await held.dispatcher.start()
            for ident in range(1_000, 1_003):
                assert held.dispatcher.wants(acceptance(ident))
                held.store.hand_over(held.dispatcher, held.store.put())
            await until(lambda: len(server.got) == 3 and not held.store.claimed)
            assert not held.dispatcher.wants(acceptance(2_000))
            hint, next_ms = held.store.no_tries[2_000]
            assert "free connection" in hint
            assert 30_000 < next_ms - held.clock.wall_ms() <= 60_000
            held.store.put()
            held.dispatcher.stirred()
            await asyncio.sleep(0.05)
            assert not held.store.claimed

    asyncio.run(play())


def test_the_pace_tells_once_when_it_is_over() -> None:
    async def play() -> None:
        over: list[float] = []
        loop = asyncio.get_running_loop()
        pace = Pace(1, lambda: over.append(loop.time()))
        began = loop.time()
        assert not pace.rests(began, 0.0)
        pace.start(began - 59.9)
        assert pace.rests(began, 0.0)
        assert pace.rests(began, 0.0)
        assert not pace.rests(began, SOON_S)
        await until(lambda: len(over) == 1)
        assert over[0] - began >= 0.09
        assert not pace.rests(loop.time(), 0.0)

    asyncio.run(play())
