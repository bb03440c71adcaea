"""An account's upstream at a forbidden address: refused at save and at test, never connected to.

What is checked is every connect() of this process, by an audit hook, not what the answer says.
"""

from __future__ import annotations

import asyncio
import random
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connection.connection_player import Certificates, Play, Player
from transport.fake_store import make_upstream
from waypost.clock import SystemClock
from waypost.core.errors import Secret, UsageError
from waypost.desk import accounts, upstreams
from waypost.desk.connection import trial
from waypost.desk.connection.edits import Fields
from waypost.desk.connection.trial import Trial
from waypost.desk.connection.views import TestFailed
from waypost.desk.office import Desk
from waypost.desk.secrets import FileSealer
from waypost.transport.check.run import Setup, Times, Wanted, check
from waypost.transport.link.guard import Guard, make_guard
from waypost.transport.trouble import TransportError
from waypost.upstream.settings import Form


class Connects:
    """Addresses that anybody in this process connected to over IP. While `blocked`, none is
    reached."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.blocked = False


WATCH = Connects()


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        WATCH.seen.append(str(arguments[1][0]))
        if WATCH.blocked:
            raise ConnectionRefusedError(111, "Connection refused")


sys.addaudithook(_hook)


@pytest.fixture
def connects() -> Iterator[Connects]:
    WATCH.seen.clear()
    yield WATCH
    WATCH.blocked = False


FORBIDDEN_TEXT = """
127.0.0.1 127.0.0.2 127.1.1.1 127.255.255.254 0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.254 172.16.0.1
172.31.255.254 192.168.0.1 192.168.255.254 169.254.169.254 169.254.0.1 100.64.0.1 100.127.255.254
192.0.0.1 192.0.0.170 192.0.2.5 198.51.100.5 203.0.113.5 198.18.0.5 198.19.255.5 224.0.0.5
239.255.255.250 240.0.0.1 255.255.255.255 192.88.99.5 168.63.129.16 localhost LOCALHOST localhost.
[127.0.0.1] [::1] ::1 :: ::127.0.0.1 ::10.0.0.1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:7f00:1
::ffff:169.254.169.254 ::FFFF:192.168.0.1 0:0:0:0:0:ffff:7f00:1 ::ffff:0:127.0.0.1 ::ffff:0:a00:1
64:ff9b::127.0.0.1 64:ff9b::a9fe:a9fe 64:ff9b::10.0.0.1 64:ff9b::c0a8:1 64:ff9b:1::1
64:ff9b:1::a00:1 2002:7f00:1:: 2002:a00:1:: 2002:a9fe:a9fe:: 2002:c0a8:1::1
2001:0:53aa:64c:0:fbf5:80ff:fffe 2001::1 2001:10::1 2001:db8::1 2001:db8:ffff::1 3fff::1
3fff:fff::1 fe80::1 fe80::a00:1 febf::1 fec0::1 fc00::1 fd00::1 fd00:ec2::254 fdff::1 ff02::1
2001:4860::5efe:10.0.0.1 2600:1f00::200:5efe:7f00:1
ff0e::1 ff01::1 100::1 5f00::1 4000::1 8000::1 e000::1 200::1
10.0.0.0 100.100.100.200 192.0.0.192 233.252.0.1 250.0.0.1 ::ffff:100.64.0.1 ::ffff:0.0.0.0
::ffff:224.0.0.1 ::ffff:192.0.2.1 64:ff9b::7f00:1 64:ff9b::6440:1 64:ff9b::e000:1 2002:c000:204::
2002:e000:1:: 2001:2::1 fcff::1 ff05::2
"""
UNREADABLE_TEXT = """
2130706433 0x7f000001 0x7f.1 0177.0.0.1 017700000001 127.1 127.0.1 0x7f.0x0.0x0.0x1 0300.0250.0.1
3232235521 0xa9fea9fe 0251.0376.0251.0376 127.0.0.1:587 http://127.0.0.1/ 127.0.0.1/
user@127.0.0.1 ١٢٧.٠.٠.١ １２７.0.0.1 ①②⑦.⓪.⓪.① 127。0。0。1 127.0.0.1%00.example fe80::1%eth0
::1%lo
fd00::1%a,b 2607:f8b0::6d%a,b
[::ffff:127.0.0.1]x 0177.1 127.0.0.01 0X7F000001 2852039166 017777777777 0x7f.0.0.1
"""

FORBIDDEN = FORBIDDEN_TEXT.split()
UNREADABLE = UNREADABLE_TEXT.split()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    clock = SystemClock()
    key_file = tmp_path / "data" / "sealing.keys"
    made = Desk(
        data=tmp_path / "data",
        clock=clock,
        sealer=FileSealer(key_file, clock),
        key_file=key_file,
        create=True,
    )
    accounts.create(made, "acme")
    return made


def fields(host: str, port: int = 587) -> Fields:
    form = Form(host=host, port=port, encryption="none")
    return Fields(form=form, sender="a@customer.example", password=Secret("Planted-77"))


def setup() -> Setup:
    return Setup("relay.test", Guard(), SystemClock(), Times(60.0, 60.0))


def test_enough_forms() -> None:
    assert len(set(FORBIDDEN)) + len(set(UNREADABLE)) >= 120


@pytest.mark.parametrize("host", FORBIDDEN)
def test_forbidden(desk: Desk, connects: Connects, host: str) -> None:
    for test in (True, False):
        with pytest.raises(TestFailed) as refused:
            trial.add(desk, Trial(setup(), test=test), "own", fields(host), account="acme")
        assert refused.value.view.diagnosis == "address_not_allowed"
        assert not refused.value.view.would_work
    # One that got in all the same, by another door or before the guard was there.
    kept = make_upstream(587, host=host.strip("[]").rstrip("."), account_id=7)
    result = asyncio.run(check(setup(), kept, Wanted(), lambda step: None))
    assert result.finding is not None
    assert result.finding.diagnosis.value == "address_not_allowed"
    assert not connects.seen
    assert upstreams.list_(desk) == []


@pytest.mark.parametrize("host", UNREADABLE)
def test_a_form_that_is_no_name_is_no_host(desk: Desk, connects: Connects, host: str) -> None:
    with pytest.raises((UsageError, TestFailed)):
        trial.add(desk, Trial(setup(), test=False), "own", fields(host), account="acme")
    kept = make_upstream(587, host=host, account_id=7)
    try:
        result = asyncio.run(check(setup(), kept, Wanted(), lambda step: None))
    except UnicodeError:
        pass  # which `settings.host` keeps out
    else:
        assert not result.ok
    assert not connects.seen


@pytest.mark.parametrize("port", [1, 22, 80, 443, 3306, 6379, 11211, 65535, 586, 466])
def test_a_forbidden_port(desk: Desk, connects: Connects, port: int) -> None:
    for test in (True, False):
        with pytest.raises(TestFailed) as refused:
            trying = Trial(setup(), test=test)
            trial.add(desk, trying, "own", fields("8.8.8.8", port), account="acme")
    assert f"port {port}" in str(refused.value.view.title)
    kept = make_upstream(port, host="8.8.8.8", account_id=7)
    result = asyncio.run(check(setup(), kept, Wanted(), lambda step: None))
    assert result.finding is not None
    assert f"port {port}" in result.finding.title
    assert refused.value.view.diagnosis == "address_not_allowed"
    assert not connects.seen


def answering(monkeypatch: pytest.MonkeyPatch, answers: list[list[str]]) -> None:
    """The names of the world lead elsewhere at each question; the last answer stays."""

    def getaddrinfo(host: str, port: int, *_: object, **__: object) -> list[object]:
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            (
                socket.AF_INET6 if ":" in address else socket.AF_INET,
                socket.SOCK_STREAM,
                6,
                "",
                (address, port, 0, 0) if ":" in address else (address, port),
            )
            for address in found
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_a_name_with_one_forbidden_address_is_not_saved(
    desk: Desk, connects: Connects, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, [["8.8.8.8", "10.0.0.1"]])
    for test in (True, False):
        with pytest.raises(TestFailed, match="address_not_allowed"):
            trial.add(
                desk, Trial(setup(), test=test), "own", fields("mx.x.example"), account="acme"
            )
    assert not connects.seen


def test_rebinding_never_leads_inside(connects: Connects, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the answers change from one question to the next, no connect goes inside."""
    connects.blocked = True
    chance = random.Random(7)
    inside = ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fd00::1", "::ffff:127.0.0.1"]
    outside = ["8.8.8.8", "2607:f8b0:4004:c07::6d"]
    guard = Guard()
    for _ in range(120):
        answers = [
            chance.sample(inside + outside, chance.randint(1, 3))
            for _ in range(chance.randint(1, 9))
        ]
        with monkeypatch.context() as patch:
            answering(patch, answers)
            kept = make_upstream(587, host="mail.customer.example", account_id=7)
            result = asyncio.run(check(setup(), kept, Wanted(), lambda step: None))
        assert not result.ok
    assert len(connects.seen) > 50
    assert all(guard.allows(address) for address in connects.seen)


@pytest.mark.parametrize("account_id", [7, None])
def test_no_account_reads_what_another_service_says(account_id: int | None) -> None:
    """Row 42 of the threats: a banner is shown where it is SMTP's. The operator sees it."""

    async def play() -> str:
        banner = "SSH-2.0-Internal_Secret_9"
        async with Player(Play(say={"greeting": banner}), None) as player:
            guard = make_guard(["127.0.0.0/8"], [player.port])
            setting = Setup("relay.test", guard, SystemClock(), Times(60.0, 60.0), others=())
            kept = make_upstream(player.port, host="127.0.0.1", account_id=account_id)
            result = await check(setting, kept, Wanted(), lambda step: None)
            with pytest.raises(TransportError) as delivered:
                dialer = setting.dialer()
                await dialer.sign_in(kept, dialer.contexts())
            assert result.finding is not None
            assert result.finding.diagnosis.value == "connection_refused"
            assert "does not speak SMTP" in result.finding.title
            trouble = delivered.value.trouble
            return f"{result}{delivered.value}{delivered.value.transcript}{trouble}"

    shown = asyncio.run(play())
    assert ("Internal_Secret" in shown) is (account_id is None)


def test_the_operator_can_allow_a_network(certificates: Certificates, desk: Desk) -> None:
    async def play() -> None:
        async with Player(Play(), None) as player:
            guard = Guard(frozenset({player.port}), Guard().networks)
            closed = Setup("relay.test", guard, SystemClock(), Times(60.0, 60.0))
            opened = Setup(
                "relay.test",
                make_guard(["127.0.0.0/8"], [player.port]),
                SystemClock(),
                Times(60.0, 60.0),
            )
            said = fields("127.0.0.1", player.port)
            with pytest.raises(TestFailed, match="address_not_allowed"):
                await asyncio.to_thread(trial.add, desk, Trial(closed), "own", said, account="acme")
            made = await asyncio.to_thread(
                trial.add, desk, Trial(opened), "own", said, account="acme"
            )
            assert made.account == "acme"

    asyncio.run(play())


def test_open_and_closed_ports_inside_are_told_alike(desk: Desk) -> None:
    """The same words, and no more time for the one than for the other."""
    with (
        socket.create_server(("127.0.0.1", 0)) as opened,
        socket.create_server(("127.0.0.1", 0)) as closing,
    ):
        ports = [opened.getsockname()[1], closing.getsockname()[1]]
        closing.close()
        guard = Guard(frozenset(ports))
        trying = Trial(Setup("relay.test", guard, SystemClock(), Times(60.0, 60.0)))
        seen = []
        for port in ports:
            began = time.monotonic()
            with pytest.raises(TestFailed) as refused:
                trial.add(desk, trying, "own", fields("127.0.0.1", port), account="acme")
            assert time.monotonic() - began < 30.0  # half of what a silent one is waited for
            view = refused.value.view
            seen.append((view.title, view.causes, view.fix, view.steps, view.transcript))
        assert seen[0] == seen[1]
