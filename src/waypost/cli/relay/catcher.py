"""A small upstream that takes every message and keeps it in memory: the other end of the demo.

Promises the octets exactly as they came over the wire, un-dotted. Knows nothing of TLS and disks.
"""

from __future__ import annotations

import asyncio
from typing import cast

import msgspec

from waypost.wire import events
from waypost.wire.server import ServerSession

MESSAGE_OCTETS = 64 * 1024 * 1024
KEPT_MESSAGES = 1000  # the oldest is forgotten beyond it


class Caught(msgspec.Struct):
    """One message as it arrived."""

    sender: str
    recipients: list[str]
    octets: bytes


class Catcher:
    """Listens on loopback; `caught` grows with each message."""

    def __init__(self) -> None:
        self.caught: list[Caught] = []
        self._server: asyncio.Server | None = None

    async def start(self) -> int:
        """Begins to listen on a free port of 127.0.0.1 and gives its number."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Session(self), "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def keep(self, message: Caught) -> None:
        self.caught.append(message)
        del self.caught[:-KEPT_MESSAGES]

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()


class _Session(asyncio.Protocol):
    """One connection: every sender, every recipient, every message and every login is welcome."""

    def __init__(self, catcher: Catcher) -> None:
        self._catcher = catcher
        limits = events.ServerLimits(message_octets=MESSAGE_OCTETS, recipients=1000, refusals=20)
        self._wire = ServerSession("catcher.demo", limits, tls=True)
        self._message = Caught("", [], b"")
        self._chunks: list[bytes] = []
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)  # uvloop has its own class
        self._transport = transport
        self._wire.greet()
        self._flush()

    def data_received(self, data: bytes) -> None:
        self._wire.receive(data)
        while (event := self._wire.next_event()) is not None:
            self._on(event)
        self._flush()

    def _on(self, event: events.ServerEvent) -> None:
        match event:
            case events.Auth():
                self._wire.accept()
            case events.Mail():
                self._message = Caught(str(event.address or ""), [], b"")
                self._chunks = []
                self._wire.accept()
            case events.Rcpt():
                self._message.recipients.append(str(event.address))
                self._wire.accept()
            case events.DataStart():
                self._wire.accept()
            case events.DataChunk():
                self._chunks.append(event.data)
            case events.DataEnd():
                self._message.octets = b"".join(self._chunks)
                self._catcher.keep(self._message)
                self._wire.answer("250 2.0.0 Caught")
            case _:
                pass

    def _flush(self) -> None:
        assert self._transport is not None
        output = self._wire.take_output()
        if output:
            self._transport.write(output)
        if self._wire.ended:
            self._transport.close()
