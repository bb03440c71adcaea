"""The fault matrix: an upstream that fails at each stage in each way, over real sockets.

Two recipients. Every cell says what becomes of each, of the upstream, and whether the try counted;
in each another upstream is not disturbed and no socket is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import trustme

from peers.process import free_port
from transport.bench_of import PATIENT
from transport.fake_store import FakeClock, FakeStore, make_upstream, until
from transport.scripted import Scripted
from waypost.core.errors import Secret
from waypost.core.lifecycle import State
from waypost.core.message import Attempt, Parcel
from waypost.core.reply import Stage
from waypost.core.upstream import Encryption, UpstreamState, Validate
from waypost.transport.dispatch import Dispatcher
from waypost.transport.link.connect import Dialer
from waypost.transport.link.guard import Guard
from waypost.transport.link.stream import Timeouts
from waypost.transport.schedule import QueueRules

SHORT_S = 0.4  # for what hangs, and for nothing else
Q, S, F = State.QUEUED, State.SENT, State.FAILED
OK, FAILING, PAUSED = UpstreamState.OK, UpstreamState.FAILING, UpstreamState.PAUSED

LOSSES = ("421", "drop", "reset", "garbage", "endless", "early", "hang", "drip")
SLOW = ("hang", "drip")
TOGETHER = frozenset({Stage.MAIL, Stage.RCPT, Stage.DATA})  # asked in one write


class Impatient(Timeouts, frozen=True):
    """Waits shortly for some steps, and as long as other tests do for all others."""

    steps: frozenset[Stage] = frozenset()

    def of(self, stage: Stage) -> float:
        return SHORT_S if stage in self.steps else PATIENT.of(stage)


def patience(stage: str, fault: str) -> Timeouts:
    if fault not in SLOW or stage == "quit":
        return PATIENT
    if stage == "connect":
        return msgspec.structs.replace(PATIENT, connect_s=SHORT_S)
    if stage == "handshake":
        return Impatient(connect_s=60.0, reply_s=SHORT_S)
    step = Stage.MAIL if stage in ("idle", "rcpt first") else Stage(stage)
    steps = TOGETHER if step in TOGETHER else frozenset({step})
    return Impatient(connect_s=60.0, reply_s=60.0, steps=steps)


Cell = tuple[tuple[State, State], UpstreamState, str]
MATRIX: dict[tuple[str, str], Cell] = {}
for _fault in ("4xx", "5xx", *LOSSES):
    for _stage in ("greeting", "ehlo", "starttls", "auth"):
        MATRIX[_stage, _fault] = ((Q, Q), FAILING, "none")
    MATRIX["mail", _fault] = ((Q, Q), OK, "counted")
    MATRIX["rcpt first", _fault] = ((Q, Q), OK, "counted")
    MATRIX["rcpt", _fault] = ((Q, Q), OK, "counted")
    MATRIX["data", _fault] = ((Q, Q), OK, "counted")
    MATRIX["dot", _fault] = ((Q, Q), OK, "uncertain")
    MATRIX["handshake", _fault] = ((Q, Q), FAILING, "none")
    MATRIX["quit", _fault] = ((S, S), OK, "before")  # all of it was answered before
    MATRIX["idle", _fault] = ((S, S), OK, "before")
for _stage in ("greeting", "starttls", "auth"):
    MATRIX[_stage, "5xx"] = ((Q, Q), PAUSED, "none")
for _fault in ("drop", "reset", "hang"):  # what is said in any other way is said at the greeting
    MATRIX["connect", _fault] = ((Q, Q), FAILING, "none")
MATRIX["mail", "5xx"] = ((Q, Q), OK, "held")
MATRIX["rcpt first", "4xx"] = ((Q, S), OK, "counted")
MATRIX["rcpt first", "5xx"] = ((F, S), OK, "counted")
MATRIX["rcpt", "4xx"] = ((S, Q), OK, "counted")
MATRIX["rcpt", "5xx"] = ((S, F), OK, "counted")
MATRIX["data", "5xx"] = ((F, F), OK, "counted")
MATRIX["dot", "4xx"] = ((Q, Q), OK, "counted")
MATRIX["dot", "421"] = ((Q, Q), OK, "counted")
MATRIX["dot", "early"] = ((S, S), OK, "counted")  # what was answered stands
MATRIX["dot", "5xx"] = ((F, F), OK, "counted")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture(scope="module")
def roots(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("roots") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


@pytest.mark.parametrize(("stage", "fault"), list(MATRIX))
def test_the_fault_matrix(
    stage: str,
    fault: str,
    tls: ssl.SSLContext,
    roots: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("waypost.transport.link.stream._TICK_S", SHORT_S / 8)
    states, health, how = MATRIX[stage, fault]
    times = 2 if (stage, fault) == ("ehlo", "5xx") else 1  # HELO comes behind it

    async def play() -> None:
        clock = FakeClock()
        store = FakeStore(clock)
        dialer = Dialer("relay.test", Guard(), PATIENT, roots)
        idle_s = 0.05 if stage == "quit" else 30.0
        dispatcher = Dispatcher(store, dialer, clock, QueueRules(), tmp_path, idle_s=idle_s)
        before = open_files()
        async with (
            Scripted({stage: fault}, times, tls) as server,
            Scripted() as healthy,
            connecting(stage, fault, server.port) as port,
        ):
            store.add_upstream(
                make_upstream(
                    port,
                    encryption=Encryption.STARTTLS,
                    validate=Validate.ON,
                    username="u",
                    password=Secret("p"),
                )
            )
            store.add_upstream(make_upstream(healthy.port, id=2, name="healthy"))
            store.add_sender(1, 1)
            store.add_sender(2, 2)
            store.add_account(1)
            store.put(sender_id=2)
            store.attach(dispatcher)
            await dispatcher.start()
            await until(lambda: len(store.records) == 1)
            # Who is well has its connection, and goes on on it with its own patience.
            dialer.timeouts = patience(stage, fault)
            parcel = store.put(["ann@example.org", "bob@example.org"])
            other = store.put(sender_id=2)
            dispatcher.stirred()
            await until(lambda: store.states[other.id][1] is S)
            if how == "before":
                await until(lambda: store.states[parcel.id][2] is S)
                dialer.timeouts = PATIENT
                parcel = await again_after(stage, fault, store, dispatcher, server)
            else:
                await until(
                    lambda: (
                        any(r.parcel is parcel for r in store.records)
                        or any(r[0] == parcel.id for r in store.released)
                    )
                )
            await asyncio.sleep(0)
            assert tuple(store.states[parcel.id].values()) == states
            assert store.state_of() is health
            assert store.state_of(2) is OK
            recorded_as(how, [r for r in store.records if r.parcel.id == parcel.id], states)
            if how == "none":
                assert store.waiting[parcel.id].due_ms == parcel.due_ms
                assert store.no_tries[parcel.id][0]
            assert [hold[0] for hold in store.holds] == ([1] if how == "held" else [])
            await dispatcher.stop(30.0)
            assert not store.claimed
            assert not store.doubly
            assert len(healthy.got) == 2
            await until(lambda: server.open == healthy.open == 0)
        await until(lambda: open_files() <= before)  # no socket is left

    asyncio.run(play())


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def recorded_as(how: str, records: list[Attempt], states: tuple[State, State]) -> None:
    if how == "none":
        assert not records
        return
    (record,) = records
    assert record.uncertain is (how == "uncertain")
    assert record.counted is (how != "held")
    assert bool(record.transcript) is (states != (S, S))


async def again_after(
    stage: str, fault: str, store: FakeStore, dispatcher: Dispatcher, server: Scripted
) -> Parcel:
    """The fault behind a message that went well, and another one, which must go well too."""
    if stage == "quit":
        await until(lambda: "QUIT" in server.commands)
    else:
        await server.fail_while_idle(fault)
        if fault != "hang":  # it shows at the next message
            await until(lambda: server.open == 0)
    parcel = store.put(["ann@example.org", "bob@example.org"])
    dispatcher.stirred()
    await until(lambda: store.states[parcel.id][2] is S)
    assert server.connections == 2
    return parcel


@contextlib.asynccontextmanager
async def connecting(stage: str, fault: str, port: int) -> AsyncIterator[int]:
    """The port to connect to: one that fails at the connecting itself, where that is the stage."""
    if stage != "connect":
        yield port
        return
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        place = listener.getsockname()
        if fault == "hang":
            # A full backlog: the kernel answers nobody else.
            listener.listen(0)
            for _ in range(3):
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(place)
        elif fault == "drop":
            listener.listen()
            listener.setblocking(False)
            loop = asyncio.get_running_loop()
            loop.add_reader(listener, lambda: listener.accept()[0].close())
            stack.callback(loop.remove_reader, listener)
        yield place[1]


def test_a_connection_that_is_refused_backs_the_upstream_off(tmp_path: Path) -> None:
    async def play() -> None:
        clock = FakeClock()
        store = FakeStore(clock)
        dispatcher = Dispatcher(
            store, Dialer("relay.test", Guard(), PATIENT), clock, QueueRules(), tmp_path
        )
        store.add_upstream(make_upstream(free_port()))
        store.add_sender(1, 1)
        store.add_account(1)
        for _ in range(30):
            store.put()
        store.attach(dispatcher)
        await dispatcher.start()
        await until(lambda: store.state_of() is FAILING and not store.claimed)
        await dispatcher.stop(30.0)
        assert not store.records
        assert len(store.waiting) == 30
        assert [event.kind for event in store.events] == ["upstream.failing"]
        assert store.settings[1].health.probe_at_ms == clock.ms + 5 * 60_000

    asyncio.run(play())


def test_bytes_while_idle_close_the_connection_and_the_next_message_is_sent(
    tmp_path: Path,
) -> None:
    async def play() -> None:
        clock = FakeClock()
        store = FakeStore(clock)
        dispatcher = Dispatcher(
            store, Dialer("relay.test", Guard(), PATIENT), clock, QueueRules(), tmp_path
        )
        async with Scripted() as server:
            store.add_upstream(make_upstream(server.port))
            store.add_sender(1, 1)
            store.add_account(1)
            store.put()
            store.attach(dispatcher)
            await dispatcher.start()
            for count, octets in enumerate((b"421 going\r\n", b"250 ok\r\n", b"\x00"), 1):
                await until(lambda count: len(store.records) == count, count)
                server.speak_while_idle(octets)
                await until(lambda: server.open == 0)
                parcel = store.put()
                dispatcher.stirred()
            await until(lambda: len(store.records) == 4)
            await dispatcher.stop(30.0)
            assert all(r.results[0].state is S and r.counted for r in store.records)
            assert server.connections == 4
            assert store.states[parcel.id][1] is S

    asyncio.run(play())


@pytest.mark.parametrize("fault", ["421", "drop", "reset", "garbage"])
def test_a_kept_connection_that_fails_at_its_first_mail_is_replaced_at_once(
    fault: str, tmp_path: Path
) -> None:
    async def play() -> None:
        clock = FakeClock()
        store = FakeStore(clock)
        dispatcher = Dispatcher(
            store, Dialer("relay.test", Guard(), PATIENT), clock, QueueRules(), tmp_path
        )
        async with Scripted() as server:
            store.add_upstream(make_upstream(server.port))
            store.add_sender(1, 1)
            store.add_account(1)
            store.put()
            store.attach(dispatcher)
            await dispatcher.start()
            await until(lambda: len(store.records) == 1)
            server.faults, server.times = {"mail": fault}, 1
            second = store.put()
            dispatcher.stirred()
            await until(lambda: len(store.records) == 2)
            await dispatcher.stop(30.0)
            assert store.states[second.id][1] is S
            assert store.records[1].parcel.attempt == 1
            assert server.connections == 2
            assert store.state_of() is OK

    asyncio.run(play())


def test_three_messages_in_a_row_that_lose_their_connection_back_the_upstream_off(
    tmp_path: Path,
) -> None:
    async def play() -> None:
        clock = FakeClock()
        store = FakeStore(clock)
        dispatcher = Dispatcher(
            store, Dialer("relay.test", Guard(), PATIENT), clock, QueueRules(), tmp_path
        )
        async with Scripted({"data": "drop"}) as server:
            upstream = make_upstream(server.port)
            limits = msgspec.structs.replace(upstream.limits, connections=1)
            store.add_upstream(msgspec.structs.replace(upstream, limits=limits))
            store.add_sender(1, 1)
            store.add_account(1)
            for _ in range(10):
                store.put()
            store.attach(dispatcher)
            await dispatcher.start()
            await until(lambda: store.state_of() is FAILING and not store.claimed)
            assert len(store.records) == 3
            # After an hour one message, and nothing else until it is taken.
            server.faults = {}
            clock.ms += 3_600_000
            dispatcher.stirred()
            await until(lambda: store.state_of() is OK)
            await until(lambda: len(server.got) == 10)
            await dispatcher.stop(30.0)
            kinds = [event.kind for event in store.events]
            assert kinds == ["upstream.failing", "upstream.recovered"]

    asyncio.run(play())
