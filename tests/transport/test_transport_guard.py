"""Where a tenant's upstream may be."""

from __future__ import annotations

import asyncio
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transport.fake_store import make_upstream
from waypost.transport.link.connect import Dialer
from waypost.transport.link.guard import Guard, make_guard
from waypost.transport.trouble import Scope, TransportError

FORBIDDEN_TEXT = """
127.0.0.1 127.8.8.8 0.0.0.0 10.1.2.3 172.16.0.1 172.31.255.255 192.168.1.1 169.254.169.254
100.64.0.1
100.127.255.255 192.0.0.8 192.0.2.1
198.51.100.7 203.0.113.9 198.18.0.1
198.19.255.255 224.0.0.1
239.1.1.1 240.0.0.1 255.255.255.255 192.88.99.1 168.63.129.16
:: ::1 fe80::1 fe80::1%eth0 fc00::1 fd00:ec2::254 ff02::1 2001:db8::1 3fff::1 100::1 fec0::1
::ffff:127.0.0.1 ::ffff:10.0.0.1 ::10.0.0.1 ::ffff:0:10.0.0.1 64:ff9b::7f00:1 64:ff9b::a00:1
64:ff9b:1::1 2001:4860::5efe:a00:1 2600:1f00::200:5efe:c0a8:1
2002:7f00:1:: 2002:a00:1::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 5f00::1 4000::1
"""
ALLOWED_TEXT = """
8.8.8.8 1.1.1.1 142.250.1.27 100.63.255.255 100.128.0.1 172.32.0.1 2607:f8b0:4004:c07::6d
2a00:1450:400c:c0b::6c ::ffff:8.8.8.8 64:ff9b::808:808 2002:808:808::1
2001:4860::5efe:808:808
"""


@pytest.mark.parametrize("address", FORBIDDEN_TEXT.split())
def test_forbidden(address: str) -> None:
    assert not Guard().allows(address)


@pytest.mark.parametrize("address", ALLOWED_TEXT.split())
def test_allowed(address: str) -> None:
    assert Guard().allows(address)


def test_the_operator_can_allow_networks_and_ports() -> None:
    guard = make_guard(["10.0.0.0/8", "fd00::/8"], [587])
    assert guard.allows("10.9.9.9")
    assert guard.allows("::ffff:10.9.9.9")
    assert guard.allows("fd00::1")
    assert not guard.allows("192.168.0.1")
    assert guard.allows_port(587)
    assert not guard.allows_port(25)


@given(st.ip_addresses(v=4))
def test_an_address_inside_another_is_judged_as_itself(inner: object) -> None:
    guard = Guard()
    assert guard.allows(str(inner)) == guard.allows(f"::ffff:{inner}")
    assert guard.allows(str(inner)) == guard.allows(f"64:ff9b::{inner}")


@given(st.text(max_size=20))
def test_what_is_no_address_is_not_allowed(text: str) -> None:
    if not text.isascii() or not any(c in text for c in ".:"):
        assert not Guard().allows(text)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0x7f.1", "2130706433", "0177.0.0.1"])
def test_a_tenants_upstream_is_never_connected_to_a_forbidden_address(host: str) -> None:
    async def play() -> None:
        reached: list[object] = []
        server = await asyncio.start_server(lambda r, w: reached.append(w), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        dialer = Dialer("relay.test", Guard(ports=frozenset({port})))
        with pytest.raises(TransportError) as failed:
            await dialer.sign_in(make_upstream(port, host=host, account_id=7), dialer.contexts())
        assert failed.value.trouble is not None
        assert failed.value.trouble.scope is Scope.UPSTREAM_PAUSED
        assert "not allowed" in failed.value.public
        assert "127.0.0.1" not in failed.value.public
        assert not reached
        server.close()

    asyncio.run(play())


def test_a_tenants_port_is_checked_before_anything_else() -> None:
    async def play() -> None:
        dialer = Dialer("relay.test", Guard())
        with pytest.raises(TransportError, match="port 22 is not allowed"):
            await dialer.sign_in(
                make_upstream(22, host="mail.invalid", account_id=7), dialer.contexts()
            )

    asyncio.run(play())


def test_of_several_addresses_only_the_checked_ones_are_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def play() -> None:
        dialer = Dialer("relay.test", Guard())

        def answer(*_: object, **__: object) -> list[object]:
            return [
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", 587)),
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", 587)),
            ]

        monkeypatch.setattr(socket, "getaddrinfo", answer)
        tenant = make_upstream(587, host="mail.example.com", account_id=7)
        assert [address[0] for _, address in await dialer.resolve(tenant)] == ["8.8.8.8"]
        operator = make_upstream(587, host="mail.example.com")
        assert len(await dialer.resolve(operator)) == 2

    asyncio.run(play())


def test_a_name_with_thousands_of_addresses_costs_a_few(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def play() -> None:
        dialer = Dialer("relay.test", Guard())
        given = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"8.8.{n >> 8}.{n & 255}", 587))
            for n in range(4_000)
        ]

        def answer(*_: object, **__: object) -> list[object]:
            return [*given[:1], *given]

        monkeypatch.setattr(socket, "getaddrinfo", answer)
        for account_id in (7, None):
            found = await dialer.resolve(make_upstream(587, host="mx.test", account_id=account_id))
            assert [address[0] for _, address in found] == [place[4][0] for place in given[:64]]

    asyncio.run(play())
