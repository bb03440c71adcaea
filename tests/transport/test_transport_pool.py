"""Kept connections: who gets which outcome, limits, pace, order, large bodies, stopping."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop

from transport.bench_of import PATIENT, rig
from transport.fake_store import until
from transport.scripted import Got, Scripted
from waypost.core.errors import StoreAway
from waypost.core.lifecycle import State
from waypost.core.message import SpoolPart
from waypost.core.upstream import Limits
from waypost.store import spool
from waypost.transport import courier, dispatch

STRAY = (b"", b"", b"250 ok\r\n", b"421 4.4.2 idle\r\n", b"\x00", b"5")
Q, S, F = State.QUEUED, State.SENT, State.FAILED


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_no_outcome_is_given_to_the_wrong_message(runner: object, tmp_path: Path) -> None:
    """2,000 messages over few connections, where the recipient says what is to become of it."""

    async def play() -> None:
        chance = random.Random(7)
        server = Scripted()
        server.replies = {
            "temporary@example.org": "450 4.2.0 later",
            "never@example.org": "550 5.1.1 no such user",
            "good@example.org": "250 2.1.5 ok",
        }
        async with rig(server, tmp_path, Limits(connections=5)) as held:
            wanted = {}
            kinds = {"temporary@": Q, "never@": F, "good@": S}
            for index in range(2_000):
                picked = chance.sample(sorted(kinds), chance.randint(1, 3))
                parcel = held.store.put(
                    [f"{name}example.org" for name in picked],
                    account_id=1 + index % 2,
                    rest=b"number %d\r\n" % index,
                )
                wanted[parcel.id] = ([kinds[name] for name in picked], index)
            await held.dispatcher.start()
            await until(lambda: len(held.store.records) == 2_000, seconds=240.0)
            for parcel_id, (states, _) in wanted.items():
                assert list(held.store.states[parcel_id].values()) == states
            arrived = sorted(int(got.data.split()[-1]) for got in server.got)
            expected = sorted(i for states, i in wanted.values() if S in states)
            assert arrived == expected
            for got in server.got:
                assert got.rcpts == ["good@example.org"]
            assert server.most_open <= 5
            assert server.connections <= 5

    runner(play())  # type: ignore[operator]


class Speaking(Scripted):
    """Says in each reply what it is a reply to, and some replies late."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self.chance = chance

    def reply_to(self, address: str) -> str:
        kind = address.partition(".")[0]
        known = {"temporary": "450 4.2.0 later", "never": "550 5.1.1 no", "good": "250 2.1.5 ok"}
        return f"{known[kind]} {address}"

    def reply_to_dot(self, got: Got) -> str:
        self.delay_s = 0.02 * self.chance.random() if self.chance.random() < 0.05 else 0.0
        return f"250 2.0.0 taken {got.data.split()[-1].decode()}"


@pytest.mark.slow
def test_twenty_thousand_outcomes_are_each_their_messages(tmp_path: Path) -> None:
    """Kept connections, late replies, octets and 421 while idle: each result has its own words."""

    async def play() -> None:
        chance = random.Random(5)
        server = Speaking(chance)
        count, kinds = 20_000, {"temporary": Q, "never": F, "good": S}
        async with rig(server, tmp_path, Limits(connections=8)) as held:
            wanted = {}
            await held.dispatcher.start()
            for index in range(count):
                picked = chance.sample(sorted(kinds), chance.randint(1, 3))
                people = [f"{kind}.{index}@example.org" for kind in picked]
                parcel = held.store.put(people, rest=b"number %d\r\n" % index)
                wanted[parcel.id] = index, people
                if index % 100 == 99:  # in bursts, so that connections are idle in between
                    held.dispatcher.stirred()
                    await until(lambda n: len(held.store.records) > n, index)
                    server.speak_while_idle(chance.choice(STRAY))
                    await asyncio.sleep(0.005)
            sent = 0
            for record in held.store.records:
                index, people = wanted[record.parcel.id]
                for result in record.results:
                    address = people[result.number - 1]
                    good = address.startswith("good")
                    said = f"taken {index}" if good else f" {address}"
                    assert result.text.endswith(said), (result, address)
                    assert result.state is kinds[address.partition(".")[0]]
                    sent += good
            assert sent > count / 2
            arrived = [int(got.data.split()[-1]) for got in server.got]
            assert len(set(arrived)) == len(arrived), "a second copy"
            assert server.connections > 300, "nothing was disturbed"

    uvloop.run(play())


@pytest.mark.slow
def test_random_losses_never_mix_outcomes(tmp_path: Path) -> None:
    """Connections that end at random: a message is SENT only if it arrived."""

    async def play() -> None:
        chance = random.Random(11)
        server = Scripted()
        async with rig(server, tmp_path, Limits(connections=3, per_connection=7)) as held:
            for index in range(300):
                held.store.put(rest=b"number %d\r\n" % index)
            await held.dispatcher.start()
            for _ in range(400):
                stage = chance.choice(["mail", "rcpt first", "data", "dot"])
                server.faults = {stage: chance.choice(["421", "drop", "reset", "garbage"])}
                server.times = 1
                await asyncio.sleep(0.005)
                held.later(20 * 60_000)
                if not held.store.waiting and not held.store.claimed:
                    break
            server.faults = {}
            async with asyncio.timeout(120):
                while held.store.waiting or held.store.claimed:
                    held.later(3_600_000)
                    await asyncio.sleep(0.005)
            sent = [i for i, states in held.store.states.items() if states[1] is S]
            arrived = {int(got.data.split()[-1]) + 1 for got in server.got}
            assert set(sent) <= arrived
            assert {states[1] for states in held.store.states.values()} <= {S, F}

    asyncio.run(play())


def test_messages_a_connection_and_connections_are_limits(tmp_path: Path) -> None:
    async def play() -> None:
        server = Scripted()
        server.delay_s = 0.002
        async with rig(server, tmp_path, Limits(connections=4, per_connection=10)) as held:
            for _ in range(100):
                held.store.put()
            await held.dispatcher.start()
            await until(lambda: len(server.got) == 100)
            each = [got.connection for got in server.got]
            assert max(each.count(number) for number in set(each)) <= 10
            assert server.most_open <= 5  # one may still be ending
            assert server.commands.count("RSET") == 0

    asyncio.run(play())


def test_the_pace_holds_over_any_minute(tmp_path: Path) -> None:
    async def play() -> None:
        server = Scripted()
        async with rig(server, tmp_path, Limits(connections=4, per_minute=30)) as held:
            for _ in range(100):
                held.store.put()
            await held.dispatcher.start()
            await until(lambda: len(server.got) == 30)
            await asyncio.sleep(0.05)
            assert len(server.got) == 30

    asyncio.run(play())


@pytest.mark.parametrize("edited", [False, True])
def test_idle_connections_end_and_an_edit_ends_them_at_once(edited: bool, tmp_path: Path) -> None:
    async def play() -> None:
        server = Scripted()
        async with rig(server, tmp_path, idle_s=3_600 if edited else 0.05) as held:
            held.store.put()
            await held.dispatcher.start()
            await until(lambda: len(held.store.records) == 1)
            if edited:
                assert server.open == 1
                held.edit(username="")
            await until(lambda: server.open == 0)
            assert (server.connections, server.commands.count("QUIT")) == (1, 1)

    asyncio.run(play())


def test_an_account_with_a_backlog_lets_others_go_in_turn(tmp_path: Path) -> None:
    async def play() -> None:
        server = Scripted()
        turns = server.turns = asyncio.Semaphore(20)
        async with rig(server, tmp_path, Limits(connections=3)) as held:
            for _ in range(300):
                held.store.put(account_id=1)
            await held.dispatcher.start()
            # All three connections wait for the answer to a dot.
            await until(lambda: server.commands.count(".") == 23 and len(server.got) == 20)
            dots = 23
            for fresh in (False, True):
                said = len(server.commands)
                address = f"other{fresh}@example.net"
                mine = held.store.put([address], account_id=2)
                if fresh:
                    held.store.hand_over(held.dispatcher, mine)
                else:
                    held.dispatcher.stirred()
                    await until(lambda mine: mine.id in held.store.claimed, mine)
                while f"RCPT TO:<{address}>" not in server.commands:
                    turns.release()  # one has gone, the next of that connection is begun
                    dots += 1
                    await until(lambda dots: server.commands.count(".") == dots, dots)
                theirs = server.commands[said : server.commands.index(f"RCPT TO:<{address}>")]
                assert theirs.count("RCPT TO:<ann@example.org>") <= 1
            for _ in range(300):
                turns.release()
            await until(lambda: held.store.states[mine.id][1] is S)

    asyncio.run(play())


def test_recipients_are_split_by_the_limit_and_where_the_server_says_so(tmp_path: Path) -> None:
    async def play() -> None:
        server = Scripted()
        server.replies = {"r4@example.org": "452 4.5.3 too many recipients"}
        names = [f"r{number}@example.org" for number in range(7)]
        async with rig(server, tmp_path, Limits(recipients=5)) as held:
            parcel = held.store.put(names)
            await held.dispatcher.start()
            await until(lambda: len(held.store.records) == 1)
            groups = [got.rcpts for got in server.got]
            assert groups == [names[:4], names[5:]]
            states = held.store.states[parcel.id]
            assert [states[n] for n in range(1, 8)] == [S, S, S, S, Q, S, S]
            assert held.store.records[0].counted

    asyncio.run(play())


def test_nothing_is_silently_changed_for_an_upstream_that_lacks(tmp_path: Path) -> None:
    async def play() -> None:
        server = Scripted(offers=("SIZE 100",))
        async with rig(server, tmp_path) as held:
            eight = held.store.put(rest=b"\xe4\r\n", eight_bit=True)
            large = held.store.put(rest=b"x" * 200 + b"\r\n")
            small = held.store.put()
            await held.dispatcher.start()
            await until(lambda: len(held.store.records) == 3)
            texts = {r.parcel.id: r.results[0] for r in held.store.records}
            assert texts[eight.id].state is F
            assert texts[eight.id].text.startswith("5.6.3 ")
            assert texts[large.id].text.startswith("5.3.4 ")
            assert texts[small.id].state is S
            assert len(server.got) == 1

    asyncio.run(play())


def test_a_lone_dot_answers_a_354_that_nobody_wanted(tmp_path: Path) -> None:
    async def play() -> None:
        server = Scripted()
        server.replies = {"no@example.org": "550 5.1.1 no", "354 anyway": ""}
        async with rig(server, tmp_path, Limits(connections=1)) as held:
            held.store.put(["no@example.org"])
            held.store.put(["yes@example.org"])
            await held.dispatcher.start()
            await until(lambda: len(held.store.records) == 2)
            states = [record.results[0].state for record in held.store.records]
            assert states == [F, S]
            assert server.connections == 1
            assert [got.rcpts for got in server.got] == [["yes@example.org"]]

    asyncio.run(play())


@pytest.mark.parametrize("offers", [("PIPELINING", "SIZE"), ("SIZE",)])
def test_a_large_body_arrives_octet_for_octet(offers: tuple[str, ...], tmp_path: Path) -> None:
    async def play() -> None:
        lines = [b".dot", b"..", b".", b"x" * 900, b"", b"plain"]
        body = b"\r\n".join(lines * 3_000) + b"\r\n"
        (tmp_path / "spool").mkdir()
        (tmp_path / "spool" / "1").write_bytes(b"before" + body)
        server = Scripted(offers=offers)
        async with rig(server, tmp_path) as held:
            rest = SpoolPart("spool/1", 6, len(body))
            large = held.store.put(head=b"Subject: large\r\n\r\n", rest=rest)
            small = held.store.put(rest=b".\r\n..\r\nend\r\n")
            await held.dispatcher.start()
            await until(lambda: len(held.store.records) == 2)
            assert held.store.states[large.id][1] is S
            assert held.store.states[small.id][1] is S
            arrived = {got.data for got in server.got}
            assert b"Subject: large\r\n\r\n" + body in arrived
            assert b"Subject: hello\r\n\r\n.\r\n..\r\nend\r\n" in arrived

    asyncio.run(play())


def test_a_body_that_cannot_be_read_is_never_ended_with_a_dot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def chunks(*_: object) -> Iterator[bytes]:
        yield b"half of it\r\n"
        raise StoreAway("the body of a large message cannot be read: Input/output error")

    monkeypatch.setattr(spool, "chunks", chunks)

    async def play() -> None:
        (tmp_path / "spool").mkdir()
        (tmp_path / "spool" / "1").write_bytes(b"x" * 100_000)
        server = Scripted()
        async with rig(server, tmp_path) as held:
            parcel = held.store.put(rest=SpoolPart("spool/1", 0, 100_000))
            await held.dispatcher.start()
            await until(lambda: parcel.id in held.store.waiting and bool(held.store.released))
            assert server.got == []
            assert held.store.states[parcel.id][1] is Q

    asyncio.run(play())


def test_an_early_refusal_ends_a_large_body(tmp_path: Path) -> None:
    async def play() -> None:
        (tmp_path / "spool").mkdir()
        body = (b"y" * 998 + b"\r\n") * 30_000
        (tmp_path / "spool" / "1").write_bytes(body)
        refused = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 hello\r\n")
            while line := await reader.readline():
                if line.startswith(b"DATA"):
                    writer.write(b"354 go\r\n")
                    await reader.readexactly(200_000)
                    writer.write(b"552 5.3.4 too much\r\n")
                    await writer.drain()
                    await refused.wait()
                    break
                writer.write(b"250 ok\r\n")
            writer.close()

        async with rig(Scripted(), tmp_path) as held:
            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            held.edit(port=server.sockets[0].getsockname()[1])
            parcel = held.store.put(rest=SpoolPart("spool/1", 0, len(body)))
            await held.dispatcher.start()
            await until(lambda: bool(held.store.records))
            result = held.store.records[0].results[0]
            assert (result.state, result.code) == (F, 552)
            assert held.store.states[parcel.id][1] is F
            refused.set()
            server.close()

    asyncio.run(play())


def test_stopping_finishes_what_is_on_the_wire_and_releases_the_rest(tmp_path: Path) -> None:
    async def play() -> None:
        server = Scripted()
        turns = server.turns = asyncio.Semaphore(0)
        async with rig(server, tmp_path, Limits(connections=2)) as held:
            for _ in range(20):
                held.store.put()
            await held.dispatcher.start()
            await until(lambda: server.commands.count(".") == 2)
            stopping = asyncio.ensure_future(held.dispatcher.stop(60.0))
            (courier,) = held.dispatcher._couriers.values()
            await until(lambda: courier._stopping)
            for _ in range(20):
                turns.release()
            await stopping
            assert len(server.got) == 2
            assert [r.results[0].state for r in held.store.records] == [S, S]
            assert len(held.store.waiting) == 18
            assert all(p.attempt == 1 for p in held.store.waiting.values())

    asyncio.run(play())


def test_a_dot_whose_answer_does_not_come_before_the_end_is_uncertain(tmp_path: Path) -> None:
    async def play() -> None:
        server = Scripted({"dot": "hang"})
        async with rig(server, tmp_path, Limits(connections=1)) as held:
            held.store.put()
            held.store.put()
            await held.dispatcher.start()
            await until(lambda: "." in server.commands)
            started = time.monotonic()
            await held.dispatcher.stop(0.2)
            assert time.monotonic() - started < PATIENT.dot_s / 2
            (record,) = held.store.records
            assert record.uncertain
            assert record.next_ms == held.clock.ms + 15 * 60_000
            assert len(held.store.waiting) == 2

    asyncio.run(play())


def test_a_stop_does_not_wait_for_a_new_login_in_the_place_of_a_lost_connection(
    tmp_path: Path,
) -> None:
    async def play() -> None:
        server = Scripted()
        async with rig(server, tmp_path, Limits(connections=1)) as held:
            held.store.put()
            await held.dispatcher.start()
            await until(lambda: len(held.store.records) == 1)
            server.times, server.faults = 2, {"mail": "drop", "greeting": "hang"}
            parcel = held.store.put()
            held.dispatcher.stirred()
            await until(lambda: server.connections == 2)
            started = time.monotonic()
            await held.dispatcher.stop(1.0)
            assert time.monotonic() - started < 4.0  # the greeting may take 5
            assert len(held.store.records) == 1
            assert held.store.waiting[parcel.id].attempt == 1

    asyncio.run(play())


class Gated(Scripted):
    """Greets when `gate` is open."""

    gate: asyncio.Event

    async def _say(self, writer: asyncio.StreamWriter, stage: str, normal: str) -> bool:
        if stage == "greeting":
            await self.gate.wait()
        return await super()._say(writer, stage, normal)


def test_mail_that_came_while_a_lost_connection_was_replaced_has_more_than_one(
    tmp_path: Path,
) -> None:
    async def play() -> None:
        server = Gated()
        server.gate = asyncio.Event()
        server.gate.set()
        async with rig(server, tmp_path, Limits(connections=5)) as held:
            held.store.put()
            await held.dispatcher.start()
            await until(lambda: len(server.got) == 1)
            server.faults, server.times = {"mail": "drop"}, 1
            server.gate.clear()
            server.turns = asyncio.Semaphore(0)
            held.store.put()
            held.dispatcher.stirred()
            await until(lambda: server.connections == 2)  # that in place of the lost one
            for _ in range(10):
                held.store.put()
            held.dispatcher.stirred()
            (one,) = held.dispatcher._couriers.values()
            await until(lambda: one.window.ready >= 4)
            server.gate.set()
            await until(lambda: server.open == 5)
            for _ in range(11):
                server.turns.release()
            await until(lambda: len(held.store.records) == 12)

    asyncio.run(play())


def test_a_stop_does_not_wait_for_connections_that_wait_for_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "LAST_WORDS_S", 0.2)

    async def play() -> None:
        server = Scripted()
        async with rig(server, tmp_path, Limits(connections=1)) as held:
            held.store.put()
            await held.dispatcher.start()
            await until(lambda: len(held.store.records) == 1)
            (one,) = held.dispatcher._couriers.values()
            held.dispatcher._records.outstanding += courier.OUTSTANDING + 1
            parcel = held.store.put()
            held.dispatcher.stirred()
            await until(lambda: one.window.ready == 1 and not one._idle)
            started = time.monotonic()
            await held.dispatcher.stop(0.2)
            assert time.monotonic() - started < 20.0
            assert parcel.id in held.store.waiting
            held.dispatcher._records.outstanding = 0

    asyncio.run(play())


def test_what_waits_for_an_answer_before_the_dot_is_released_untried(tmp_path: Path) -> None:
    async def play() -> None:
        server = Scripted({"data": "hang"})
        async with rig(server, tmp_path) as held:
            held.store.put()
            await held.dispatcher.start()
            await until(lambda: "DATA" in server.commands)
            await held.dispatcher.stop(0.2)
            (record,) = held.store.records
            assert not record.uncertain
            assert not record.counted
            assert held.store.state_of() == "ok"

    asyncio.run(play())
