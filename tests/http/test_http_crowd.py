"""More connections than a process may have open; what breaks, and what is said over TLS."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import trustme
from litestar import Request, get
from litestar.response import Stream

from waypost import web


def test_a_crowd_is_turned_away_and_those_inside_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "CONNECTIONS", 3)

    @get("/", sync_to_thread=False)
    def page() -> str:
        return "here"

    async def heard(reader: asyncio.StreamReader, octets: bytes) -> bytes:
        text = b""
        while octets not in text:
            more = await reader.read(4096)
            assert more, text
            text += more
        return text

    async def story() -> None:
        bound = socket.create_server(("127.0.0.1", 0))
        place = bound.getsockname()
        listener = web.WebListener([page], [])
        listener.start([bound])
        opened = []
        try:
            for _ in range(3):  # each answered once, then idle
                reader, writer = await asyncio.open_connection(*place)
                opened.append((reader, writer))
                writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                assert (await heard(reader, b"here")).startswith(b"HTTP/1.1 200 ")
            late, writer = await asyncio.open_connection(*place)
            opened.append((late, writer))
            told = await late.read()
            assert told.startswith(b"HTTP/1.1 503 ") and b"retry-after: " in told
            reader, writer = opened[0]
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert (await heard(reader, b"here")).startswith(b"HTTP/1.1 200 ")
            assert await reader.read() == b""
            reader, writer = await asyncio.open_connection(*place)  # there is room again
            opened.append((reader, writer))
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await heard(reader, b"here")).startswith(b"HTTP/1.1 200 ")
        finally:
            for _, writer in opened:
                writer.close()
            await listener.close()

    asyncio.run(asyncio.wait_for(story(), 120))


def test_what_breaks_is_logged_without_its_address(capfd: pytest.CaptureFixture[str]) -> None:
    """That of a login link would let in whoever reads the log."""
    token = "t0ken" * 8

    @get("/login/{kind:str}/{token:str}", sync_to_thread=False)
    def page() -> str:
        raise RuntimeError("it broke")

    async def story() -> bytes:
        bound = socket.create_server(("127.0.0.1", 0))
        listener = web.WebListener([page], [])
        listener.start([bound])
        try:
            reader, writer = await asyncio.open_connection(*bound.getsockname())
            head = f"GET /login/first/{token}?t={token} HTTP/1.1\r\nHost: a\r\n"
            head += f"Referer: http://a/login/first/{token}\r\nConnection: close\r\n\r\n"
            writer.write(head.encode())
            told = await reader.read()
            writer.close()
            return told
        finally:
            await listener.close()

    told = asyncio.run(asyncio.wait_for(story(), 120))
    assert told.startswith(b"HTTP/1.1 500 ") and token.encode() not in told
    logged = "".join(capfd.readouterr())
    assert "request_broke" in logged and "it broke" in logged  # the control
    assert "/login/{kind}/{token}" in logged and token not in logged


@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: "])
def test_a_header_that_never_ends_is_cut(begun: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "HEAD_S", 0.2)

    @get("/", sync_to_thread=False)
    def page() -> str:
        return "here"

    async def story() -> bytes:
        bound = socket.create_server(("127.0.0.1", 0))
        listener = web.WebListener([page], [])
        listener.start([bound])
        try:
            reader, writer = await asyncio.open_connection(*bound.getsockname())
            writer.write(begun)
            told = await reader.read()  # to its end, which the relay makes
            writer.close()
            return told
        finally:
            await listener.close()

    assert asyncio.run(asyncio.wait_for(story(), 120)) == b""


def test_handshakes_that_never_end_are_few_and_short(monkeypatch: pytest.MonkeyPatch) -> None:
    def limits(crowd: int, within_s: float) -> None:
        monkeypatch.setattr(web, "HANDSHAKES", crowd)
        monkeypatch.setattr(web, "HANDSHAKE_S", within_s)

    authority = trustme.CA()
    ours, theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(ours)
    authority.configure_trust(theirs)

    @get("/", sync_to_thread=False)
    def page(request: Request[Any, Any, Any]) -> str:
        return request.url.scheme

    async def story() -> None:
        bound = socket.create_server(("127.0.0.1", 0))
        place = bound.getsockname()
        listener = web.WebListener([page], [])
        listener.start([bound], Certificate(ours))
        limits(2, 1000.0)
        silent = [await asyncio.open_connection(*place) for _ in range(3)]
        try:
            assert await silent[2][0].read() == b""  # at once: the others have all the room
            limits(100, 0.2)
            silent.append(await asyncio.open_connection(*place))
            assert await silent[3][0].read() == b""  # in time
            limits(100, 1000.0)
            reader, writer = await asyncio.open_connection(
                *place, ssl=theirs, server_hostname="localhost"
            )
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert (await reader.read()).endswith(b"https")
            writer.close()
        finally:
            for _, writer in silent:
                writer.close()
            await listener.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*place)

    asyncio.run(asyncio.wait_for(story(), 120))


@dataclass
class Certificate:
    context: ssl.SSLContext


NEVER_READ = 64 << 20  # more than a kernel keeps for a client
UNFINISHED = [
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n",  # answered 405
    b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n",
    b"POST / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 9\r\n\r\n",
]


@pytest.mark.parametrize("head", UNFINISHED)
def test_the_rest_of_a_body_that_never_comes(head: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The call was answered: no other limit of time is for it any more."""
    monkeypatch.setattr(web, "WATCH_S", 0.2)

    @get("/", sync_to_thread=False)
    def page() -> str:
        return "here"

    async def story() -> None:
        bound = socket.create_server(("127.0.0.1", 0))
        listener = web.WebListener([page], [])
        listener.start([bound])
        try:
            reader, writer = await asyncio.open_connection(*bound.getsockname())
            writer.write(head)
            assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 ")
            with contextlib.suppress(ConnectionResetError):
                writer.write(b"x")
                await reader.read()  # to its end, which the relay makes
            writer.close()
        finally:
            await listener.close()

    asyncio.run(asyncio.wait_for(story(), 120))


def test_a_client_that_never_reads_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "WATCH_S", 0.2)
    ended = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        try:
            for _ in range(NEVER_READ >> 20):
                yield b"x" * (1 << 20)
        finally:
            ended.set()

    @get("/", sync_to_thread=False)
    def page() -> Stream:
        return Stream(pieces())

    async def story() -> None:
        bound = socket.create_server(("127.0.0.1", 0))
        listener = web.WebListener([page], [])
        listener.start([bound])
        try:
            with socket.create_connection(bound.getsockname()) as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                await ended.wait()  # with the connection, or when all has been read
                assert len(await asyncio.to_thread(drained, client)) < NEVER_READ
        finally:
            await listener.close()

    asyncio.run(asyncio.wait_for(story(), 120))


def drained(client: socket.socket) -> bytes:
    """What had come."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while more := client.recv(1 << 20):
            found += more
    return found
