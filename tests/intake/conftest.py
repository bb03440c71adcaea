"""A relay's front half on loopback: real sockets, sessions, rules and spool; a store in memory."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import os
import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from waypost.clock import SystemClock
from waypost.core.address import parse
from waypost.core.errors import Secret, StoreAway
from waypost.core.facts import Account, Directory, Key, RecipientsFrom, Sender
from waypost.core.ident import IdentMaker
from waypost.core.message import Acceptance, Changed, Committed, SpoolPart
from waypost.core.verdict import Refusal, Settled
from waypost.intake.accept import Door
from waypost.intake.auth import Throttle
from waypost.intake.bounds import Disk, Memory, SessionCaps
from waypost.intake.certificate import Certificate, made
from waypost.intake.house import Collaborators, House, Patience
from waypost.intake.smtp_server import Listener, SmtpServer
from waypost.policy.judge import Rules
from waypost.store.connect import connect, prepare
from waypost.store.contract import RefusalNote
from waypost.store.shared import Shared, changing
from waypost.store.spool import Spool
from waypost.store.sqlite.engine import Engine, open_store

PATIENCE_S = 60  # how long anything may take on a busy machine
SECRET = "hyd-mail-" + "a" * 40
ENVELOPE_SECRET = "hyd-mail-" + "e" * 40
DISABLED_SECRET = "hyd-mail-" + "d" * 40


class FakeClock(SystemClock):
    """Stands, but for what a test lets pass: how long the machine takes is not counted."""

    def __init__(self) -> None:
        self.later_s = 0.0

    def monotonic(self) -> float:
        return 1_000 + self.later_s


def make_directory(
    generation: int = 1,
    enabled: bool = True,
    account: bool = True,
    rate: int = 0,
    first: str = SECRET,
) -> Directory:
    accounts = (Account(1, "acme", account, False, rate, None, None, 0),)
    keys = tuple(
        Key(number, 1, "k", hashlib.sha256(secret.encode()).digest(), secret[-4:], on, kind, 0)
        for number, secret, on, kind in (
            (1, first, enabled, RecipientsFrom.HEADERS),
            (2, ENVELOPE_SECRET, enabled, RecipientsFrom.ENVELOPE),
            (3, DISABLED_SECRET, False, RecipientsFrom.HEADERS),
        )
    )
    sender = Sender(1, parse("app@example.com"), None, True, frozenset(), 1, "", None, "")
    return Directory(generation, accounts, keys, (sender,), None)


class FakeStore:
    """Keeps what was committed and refused; answers as it is told."""

    def __init__(self) -> None:
        self.facts = make_directory()
        self.away = False
        self.credits: int | None = 100
        self.room = 100
        self.commits: list[Acceptance] = []
        self.bodies: dict[int, bytes] = {}
        self.refusals: list[RefusalNote] = []
        self.used_keys: list[int] = []
        self.verdicts: list[Refusal | Changed] = []
        self.outcome: Callable[[Acceptance], Settled] = lambda a: Settled(
            a.id, queued=0, sent=len(a.addressees), failed=0
        )
        self.waits: list[float] = []
        self.gate: asyncio.Event | None = None
        self.waiting = 0
        self.data = Path()

    def directory(self) -> Directory:
        if self.away:
            raise StoreAway("away")
        return self.facts

    def balance(self, account_id: int) -> int | None:
        return self.credits

    def rate_room(self, key_id: int, per_minute: int, now_ms: int) -> int:
        return self.room

    def told(self, message_id: int) -> None:
        pass  # no account of this store has an address for notices

    def refuse(self, note: RefusalNote) -> asyncio.Future[None]:
        self.refusals.append(note)
        kept: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        kept.set_result(None)
        return kept

    def used(self, key_id: int, now_ms: int) -> None:
        self.used_keys.append(key_id)

    async def commit(self, acceptance: Acceptance) -> Committed | Refusal | Changed:
        if self.gate is not None:
            self.waiting += 1
            await self.gate.wait()
        if self.away:
            raise StoreAway("away")
        if self.verdicts:
            return self.verdicts.pop(0)
        rest = acceptance.rest
        if isinstance(rest, SpoolPart):
            path = self.data / rest.name
            self.bodies[acceptance.id] = acceptance.head + path.read_bytes()
            path.unlink()
        else:
            self.bodies[acceptance.id] = acceptance.head + rest
        self.commits.append(acceptance)
        return Committed(acceptance.id, len(acceptance.addressees))

    async def settled(self, message_id: int, wait_s: float) -> Settled:
        self.waits.append(wait_s)
        return self.outcome(next(a for a in self.commits if a.id == message_id))


class Front:
    """The running front half; `run` does something on its loop."""

    def __init__(self, data: Path, rules: Rules, limits: dict[str, int]) -> None:
        prepare(data)
        self.data = data
        self.store: Any = FakeStore()
        self.store.data = data
        self.clock = FakeClock()
        self.free = (10**12, 10**12)
        self.rules = rules
        self.limits = limits
        self.loop = uvloop.new_event_loop()
        self._talks = contextlib.ExitStack()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def build(self) -> None:
        clock, limits = self.clock, self.limits
        if limits.get("real"):
            self.store = real_store(self.data)
        store = self.store
        self.disk = Disk(lambda: self.free)
        self.door = Door(store, self.rules, IdentMaker(0), clock, 1.0, self.data, self.disk)
        self.memory = Memory(limits.get("memory", 268_435_456))
        sessions = limits.get("sessions", 2000)
        self.certificate = Certificate(*made(self.data, "relay.test", clock.wall_ms()))
        with_ = Collaborators(
            door=self.door,
            store=store,
            clock=clock,
            spool=Spool(self.data, 0),
            certificate=self.certificate,
            caps=SessionCaps(sessions, limits.get("per_address", 200)),
            memory=self.memory,
            throttle=Throttle(),
        )
        self.house = House(with_, "relay.test", sessions, Patience())
        listeners = []
        self.ports: list[int] = []
        for implicit in (False, True):
            bound = socket.create_server(("127.0.0.1", 0), backlog=128)
            listeners.append(Listener(bound, implicit))
            self.ports.append(bound.getsockname()[1])
        self.server = SmtpServer(self.house, listeners)

    def start(self) -> None:
        self._thread.start()
        self.run(self._start)

    async def _start(self) -> None:
        self.build()
        self.server.start()

    def stop(self) -> None:
        async def stop() -> None:
            await self.server.stop(0.2)
            if self.limits.get("real"):
                await self.store.close()

        self._talks.close()
        self.run(stop)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def run(self, work: Callable[[], object]) -> object:
        """Calls it on the loop, awaits what it gives, and gives that back."""

        async def there() -> object:
            given = work()
            return await given if asyncio.iscoroutine(given) else given

        return asyncio.run_coroutine_threadsafe(there(), self.loop).result(120)

    def sweep(self, later_s: float) -> None:
        """Lets so much time pass."""
        self.clock.later_s += later_s
        self.run(lambda: self.house.sweep(self.clock.monotonic()))

    def smtp(self, secret: str | None = SECRET) -> smtplib.SMTP:
        """A client that has started TLS and, given a secret, is logged in."""
        client = smtplib.SMTP("127.0.0.1", self.ports[0], timeout=PATIENCE_S)
        self._talks.callback(client.close)
        client.ehlo("client.test")
        client.starttls(context=trusting())
        client.ehlo("client.test")
        if secret is not None:
            client.login("x", secret)
        return client

    def raw(self, secret: str | None = SECRET) -> Raw:
        """A TLS socket on the implicit port."""
        plain = socket.create_connection(("127.0.0.1", self.ports[1]), timeout=PATIENCE_S)
        talk = Raw(trusting().wrap_socket(plain))
        self._talks.callback(talk.close)
        assert talk.reply().startswith("220")
        if secret is not None:
            talk.ask("EHLO client.test")
            assert talk.login(secret).startswith("235")
        return talk

    def close_gate(self) -> None:
        """Commits wait from now on."""

        async def close() -> None:
            self.store.gate = asyncio.Event()

        self.run(close)

    def open_gate(self) -> None:
        async def opened() -> None:
            assert self.store.gate is not None
            self.store.gate.set()

        self.run(opened)

    def until(self, true: Callable[[], bool]) -> None:
        """Waits until it is so, as the loop sees it."""
        end = time.monotonic() + PATIENCE_S
        while not self.run(true):
            assert time.monotonic() < end, "it did not come to that"
            time.sleep(0.005)

    @staticmethod
    def trusting() -> ssl.SSLContext:
        return trusting()

    def plain(self) -> Raw:
        """A socket on the STARTTLS port, before the greeting."""
        talk = Raw(socket.create_connection(("127.0.0.1", self.ports[0]), timeout=PATIENCE_S))
        self._talks.callback(talk.close)
        return talk


def real_store(data: Path) -> Engine:
    """The store that relays run on, with an account of 100 credits, its keys and a sender."""
    store = open_store(
        data,
        clock=SystemClock(),  # it waits by it
        worker=0,
        opener=lambda _, sealed: Secret(sealed.decode()),
        create=True,
    )
    db, shared = connect(data), Shared(data)
    facts = make_directory()
    with changing(db, shared, facts=True, work=False):
        db.execute("INSERT INTO account (id, name, balance, created_at) VALUES (1, 'acme', 100, 0)")
        for key in facts.keys.values():
            db.execute(
                "INSERT INTO api_key (id, account_id, digest, last4, enabled, recipients,"
                " created_at) VALUES (?, 1, ?, ?, ?, ?, 0)",
                (key.id, key.digest, key.last4, key.enabled, key.recipients.value),
            )
        db.execute(
            "INSERT INTO upstream (id, name, host, port, encryption, connections, per_connection,"
            " per_minute, recipients, created_at)"
            " VALUES (1, 'main', 'mx.example', 587, 'starttls', 20, 0, 0, 100, 0)"
        )
        db.execute(
            "INSERT INTO sender (id, address, address_key, everyone, upstream_id, created_at)"
            " VALUES (1, 'app@example.com', 'app@example.com', 1, 1, 0)"
        )
    db.close()
    shared.close()
    return store


def trusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Raw:
    """A line-wise client that says exactly what it is told."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._file = connection.makefile("rb")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def reply(self) -> str:
        """One reply, its last line; empty at the end of the connection."""
        while True:
            try:
                line = self._file.readline().decode()
            except OSError:
                return ""
            if line[3:4] != "-":
                return line.rstrip("\r\n")

    def ask(self, line: str) -> str:
        self.send(line.encode() + b"\r\n")
        return self.reply()

    def login(self, secret: str) -> str:
        return self.ask("AUTH PLAIN " + base64.b64encode(f"\0x\0{secret}".encode()).decode())

    def begin(self, *rcpts: str) -> None:
        """MAIL, RCPT and DATA up to 354."""
        assert self.ask("MAIL FROM:<app@example.com>").startswith("250")
        for rcpt in rcpts or ("to@example.net",):
            assert self.ask(f"RCPT TO:<{rcpt}>").startswith("250")
        assert self.ask("DATA").startswith("354")

    def ended(self) -> bool:
        return self.reply() == ""

    def unwrapped(self) -> socket.socket:
        """Ends TLS with a close_notify and gives the socket below it."""
        assert isinstance(self.socket, ssl.SSLSocket)
        descriptor = socket.socket(fileno=os.dup(self.socket.fileno()))
        self.socket.settimeout(0.5)
        with contextlib.suppress(OSError):
            self.socket.unwrap()
        return descriptor

    def close(self) -> None:
        self._file.close()
        self.socket.close()


@pytest.fixture
def make_front(tmp_path: Path) -> Iterator[Callable[..., Front]]:
    with contextlib.ExitStack() as stack:

        def build(rules: dict[str, object] | None = None, **limits: int) -> Front:
            made_rules = Rules(hostname="relay.test", **(rules or {}))  # type: ignore[arg-type]  # any
            front = Front(tmp_path / "data", made_rules, limits)
            front.store.facts = make_directory(rate=limits.get("rate", 0))
            front.start()
            stack.callback(front.stop)
            return front

        yield build


@pytest.fixture
def front(make_front: Callable[..., Front]) -> Front:
    return make_front()


@pytest.fixture
def directory() -> Callable[..., Directory]:
    return make_directory
