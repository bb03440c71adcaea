"""Delivery with the real store and aiosmtpd as the upstream: TLS, login, refunds, recovery."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from peers.process import free_port
from store.house import House
from transport.fake_store import until
from waypost.core.message import Committed
from waypost.core.verdict import Settled
from waypost.store.sqlite.engine import Engine
from waypost.transport.dispatch import Dispatcher
from waypost.transport.link.connect import Dialer
from waypost.transport.link.guard import Guard
from waypost.transport.schedule import QueueRules


class Mailbox:
    """Keeps what arrives; refuses recipients that begin with `no`, puts off those with `later`."""

    def __init__(self) -> None:
        self.messages: list[Envelope] = []
        self.sessions: set[int] = set()

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: Any
    ) -> str:
        if address.startswith("no"):
            return "550 5.1.1 no such user"
        if address.startswith("later"):
            return "451 4.2.0 not now"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.messages.append(envelope)
        self.sessions.add(id(session))
        return "250 2.0.0 taken"


class Upstream:
    """aiosmtpd with STARTTLS and a login, on a free port."""

    def __init__(self, context: ssl.SSLContext, password: bytes = b"secret") -> None:
        self.mailbox = Mailbox()
        self.password = password
        self.logins = 0
        self.controller = Controller(
            self.mailbox,
            hostname="127.0.0.1",
            port=0,
            tls_context=context,
            require_starttls=True,
            auth_required=True,
            authenticator=self._login,
            decode_data=False,
            ready_timeout=60,
        )

    def _login(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        self.logins += 1
        assert isinstance(data, LoginPassword)
        return AuthResult(success=data.password == self.password, handled=False)

    def __enter__(self) -> Upstream:
        self.controller.port = free_port()
        self.controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.controller.stop()


@pytest.fixture
def pair(tmp_path: Path) -> tuple[ssl.SSLContext, str]:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    roots = tmp_path / "roots.pem"
    authority.cert_pem.write_to_path(str(roots))
    return context, str(roots)


def relay(house: House, engine: Engine, roots: str) -> Dispatcher:
    dialer = Dialer("relay.test", Guard(), authorities=roots)
    dispatcher = Dispatcher(engine, dialer, house.clock, QueueRules(), house.data)
    engine.attach(dispatcher)
    return dispatcher


async def submit(house: House, engine: Engine, *to: str) -> Settled:
    committed = await engine.commit(house.acceptance(*to, store=engine))
    assert isinstance(committed, Committed)
    return await engine.settled(committed.id, 60.0)


def test_mail_goes_through_a_real_server_and_outcomes_are_kept(
    tmp_path: Path, pair: tuple[ssl.SSLContext, str]
) -> None:
    async def play() -> None:
        house = House(tmp_path / "data")
        with Upstream(pair[0]) as upstream:
            house.change(
                "UPDATE upstream SET host = 'localhost', port = ?, username = 'user', edition = 2",
                upstream.controller.port,
            )
            engine = house.first
            dispatcher = relay(house, engine, pair[1])
            await dispatcher.start()
            sent = await submit(house, engine, "a@example.com", "b@example.com")
            assert (sent.sent, sent.queued, sent.failed) == (2, 0, 0)
            refused = await submit(house, engine, "no@example.com", "noone@example.com")
            assert (refused.code, refused.enhanced) == (550, "5.1.1")
            later = await submit(house, engine, "a@example.com", "later@example.com")
            assert (later.sent, later.queued) == (1, 1)
            assert later.next_at_ms >= house.clock.ms + 60_000
            for _ in range(30):
                assert (await submit(house, engine, "c@example.com")).sent == 1
            assert upstream.logins == 1
            assert house.one("SELECT pin FROM upstream") == "verified"
            await dispatcher.stop(30.0)
            await house.close()
            house.adds_up()
            assert house.one("SELECT count(*) FROM queue WHERE claim <> 0") == 0
            assert house.one("SELECT count(*) FROM queue") == 1
            (first, *_) = upstream.mailbox.messages
            assert first.rcpt_tos == ["a@example.com", "b@example.com"]
            assert first.content == b"Subject: hello\r\n\r\n" + b"body\r\n" * 10

    asyncio.run(play())


def test_a_changed_password_pauses_and_a_resume_sends_all(
    tmp_path: Path, pair: tuple[ssl.SSLContext, str]
) -> None:
    async def play() -> None:
        house = House(tmp_path / "data")
        with Upstream(pair[0], b"changed") as upstream:
            house.change(
                "UPDATE upstream SET host = 'localhost', port = ?, username = 'user', edition = 2",
                upstream.controller.port,
            )
            engine = house.first
            dispatcher = relay(house, engine, pair[1])
            await dispatcher.start()
            for _ in range(10):
                waits = await submit(house, engine, "a@example.com")
                assert waits.queued == 1
                assert "login refused" in waits.hint
            assert upstream.logins == 1
            assert house.one("SELECT state FROM upstream") == "paused"
            assert house.one("SELECT count(*) FROM attempt") == 0
            upstream.password = b"secret"
            house.change(
                "UPDATE upstream SET state = 'ok', reason = '', probe_at = 0, probes = 0,"
                " edition = edition + 1",
                work=True,
            )
            await until(lambda: len(upstream.mailbox.messages) == 10)
            await dispatcher.stop(30.0)
            await house.close()
            house.adds_up()
            assert house.one("SELECT count(*) FROM queue") == 0
            kinds = [row[0] for row in house.sql("SELECT kind FROM event ORDER BY id")]
            assert kinds == ["upstream.login_failed", "upstream.recovered"]

    asyncio.run(play())


def test_what_a_stop_released_is_sent_by_the_next_start(
    tmp_path: Path, pair: tuple[ssl.SSLContext, str]
) -> None:
    async def play() -> None:
        house = House(tmp_path / "data")
        with Upstream(pair[0]) as upstream:
            house.change(
                "UPDATE upstream SET host = 'localhost', port = ?, username = 'user', edition = 2",
                upstream.controller.port,
            )
            engine = house.first
            dispatcher = relay(house, engine, pair[1])
            await dispatcher.start()
            for _ in range(40):
                await engine.commit(house.acceptance("a@example.com", store=engine))
            await dispatcher.stop(30.0)
            await engine.close()
            assert house.one("SELECT count(*) FROM queue WHERE claim <> 0") == 0
            again = house.store()
            second = relay(house, again, pair[1])
            await again.adopt(house.clock.ms)
            await second.start()
            await until(lambda: len(upstream.mailbox.messages) == 40)
            await second.stop(30.0)
            await house.close()
            house.adds_up()
            assert house.one("SELECT count(*) FROM message WHERE sent = 1") == 40

    asyncio.run(play())
