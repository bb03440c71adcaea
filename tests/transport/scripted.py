"""An upstream that does what a test says: one fault at one stage, else it takes the mail.

Knows nothing of the relay; it is a server of plain asyncio streams.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct

import msgspec

DRIP_S = 0.1  # between two octets


class Got(msgspec.Struct):
    """A message that arrived, un-dotted; `connection` counts from 1."""

    mail: str
    rcpts: list[str]
    data: bytes
    connection: int


class Scripted:
    """`faults`: stage -> fault, for the first `times` times. Answers by address: `replies`."""

    def __init__(
        self,
        faults: dict[str, str] | None = None,
        times: int = 1_000_000,
        tls: ssl.SSLContext | None = None,
        implicit: bool = False,
        offers: tuple[str, ...] = ("PIPELINING", "8BITMIME", "SIZE 31457280"),
    ) -> None:
        self.faults = dict(faults or {})
        self.times = times
        self.replies: dict[str, str] = {}
        self.tls = tls
        self.implicit = implicit
        self.offers = offers
        self.got: list[Got] = []
        self.commands: list[str] = []
        self.connections = 0
        self.open = 0
        self.most_open = 0
        self.port = 0
        self.delay_s = 0.0
        self.turns: asyncio.Semaphore | None = None  # one is taken before each answer to a dot
        self.taken_then_lost = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._idle_writers: set[asyncio.StreamWriter] = set()
        self._deaf: set[asyncio.StreamWriter] = set()
        self._readers: dict[asyncio.StreamWriter, asyncio.StreamReader] = {}

    async def __aenter__(self) -> Scripted:
        context = self.tls if self.implicit else None
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", self.port, ssl=context, limit=1 << 20
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def speak_while_idle(self, octets: bytes) -> None:
        """Says something on every connection that waits for a command."""
        for writer in list(self._idle_writers):
            writer.write(octets)

    async def fail_while_idle(self, fault: str) -> None:
        """Does something on every connection that waits for a command."""
        for writer in list(self._idle_writers):
            if fault == "hang":
                self._deaf.add(writer)
                continue
            task = asyncio.ensure_future(self._unasked(writer, fault))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            await asyncio.sleep(0)

    async def _unasked(self, writer: asyncio.StreamWriter, fault: str) -> None:
        with contextlib.suppress(OSError, _Ended, asyncio.CancelledError):
            if fault == "garbage":
                writer.write(b"\xff\x00 what is this\r\n")
                return
            try:
                await self._do(writer, fault, "250 ok")
            except _Ended:
                writer.transport.abort()

    def reply_to(self, address: str) -> str:
        """What is said to a recipient where nothing goes wrong."""
        return self.replies.get(address, "250 recipient ok")

    def reply_to_dot(self, got: Got) -> str:
        return self.replies.get("dot", "250 taken")

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._readers[writer] = reader
        self.connections += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            with contextlib.suppress(OSError, EOFError, _Ended, asyncio.CancelledError):
                await self._serve(reader, writer, self.connections)
        finally:
            self.open -= 1
            self._idle_writers.discard(writer)
            self._readers.pop(writer, None)
            self._tasks.discard(task)
            writer.transport.abort()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> None:
        await self._say(writer, "greeting", "220 scripted ESMTP")
        mail, rcpts, good = "", [""], 0
        rcpts.clear()
        while True:
            self._idle_writers.add(writer)
            line = await reader.readline()
            self._idle_writers.discard(writer)
            if writer in self._deaf:
                await self._until_it_ends(writer)
            if not line:
                return
            text = line.decode("latin-1").rstrip("\r\n")
            self.commands.append(text)
            verb = text[:4].upper()
            if verb in ("EHLO", "HELO"):
                await self._say(writer, "ehlo", self._hello(writer))
            elif verb == "STAR":
                await self._say(writer, "starttls", "220 go on")
                await self._handshake(writer)
            elif verb == "AUTH":
                await self._say(writer, "auth", "235 welcome")
            elif verb == "MAIL":
                mail, rcpts, good = text, [], 0
                await self._say(writer, "mail", self.replies.get("mail", "250 sender ok"))
            elif verb == "RCPT":
                address = text.partition("<")[2].partition(">")[0]
                reply = self.reply_to(address)
                stage = "rcpt" if good else "rcpt first"
                rcpts += [address] if reply.startswith("250") else []
                good += 1
                await self._say(writer, stage, reply)
            elif verb == "DATA":
                await self._data(reader, writer, Got(mail, rcpts, b"", number))
            elif verb == "QUIT":
                await self._say(writer, "quit", "221 bye")
                return
            else:
                writer.write(b"250 ok\r\n")

    def _hello(self, writer: asyncio.StreamWriter) -> str:
        offers = list(self.offers)
        secured = writer.get_extra_info("ssl_object") is not None
        if self.tls is not None and not secured:
            offers.append("STARTTLS")
        else:
            offers.append("AUTH PLAIN LOGIN")
        lines = ["scripted", *offers]
        return "\r\n".join(
            f"250{'-' if index < len(lines) - 1 else ' '}{line}" for index, line in enumerate(lines)
        )

    async def _handshake(self, writer: asyncio.StreamWriter) -> None:
        fault = self._fault("handshake")
        if fault is not None:
            await self._do(writer, fault, "")
            raise _Ended
        assert self.tls is not None
        await writer.start_tls(self.tls)

    async def _data(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, got: Got
    ) -> None:
        if not got.rcpts and "354 anyway" not in self.replies:
            writer.write(b"554 no valid recipients\r\n")
            return
        if not await self._say(writer, "data", self.replies.get("data", "354 go ahead")):
            return
        lines = []
        while (line := await reader.readline()) != b".\r\n":
            if not line:
                return
            lines.append(line[1:] if line.startswith(b".") else line)
        got.data = b"".join(lines)
        self.commands.append(".")
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if self.turns is not None:
            await self.turns.acquire()
        reply = self.reply_to_dot(got)
        if await self._say(writer, "dot", reply) and got.rcpts and reply.startswith("2"):
            self.got.append(got)

    def _fault(self, stage: str) -> str | None:
        fault = self.faults.get(stage)
        if fault is None or self.times <= 0:
            return None
        self.times -= 1
        return fault

    async def _say(self, writer: asyncio.StreamWriter, stage: str, normal: str) -> bool:
        """Whether it went as normal."""
        fault = self._fault(stage)
        if fault is None:
            writer.write(f"{normal}\r\n".encode())
            await writer.drain()
            return True
        await self._do(writer, fault, normal)
        return fault == "early"

    async def _do(self, writer: asyncio.StreamWriter, fault: str, normal: str) -> None:
        match fault:
            case "4xx":
                writer.write(b"451 4.3.0 not now\r\n")
            case "5xx":
                writer.write(b"554 5.0.0 no\r\n")
            case "421":
                writer.write(b"421 4.3.2 closing\r\n")
                await writer.drain()
                raise _Ended
            case "drop":
                writer.close()
                raise _Ended
            case "reset":
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                raise _Ended
            case "garbage":
                writer.write(b"\xff\x00 what is this\r\n")
                await writer.drain()
                await self._until_it_ends(writer)
            case "endless":
                while True:
                    writer.write(b"250-and so on\r\n" * 100)
                    await writer.drain()
            case "early":
                writer.write(f"{normal}\r\n250 and one more\r\n".encode())
            case "drip":
                for octet in f"{normal or '250 ok'}\r\n".encode():
                    if writer.transport.is_closing():
                        break
                    writer.write(bytes([octet]))
                    await asyncio.sleep(DRIP_S)
                await self._until_it_ends(writer)
            case "hang":
                await self._until_it_ends(writer)
            case _:
                raise AssertionError(fault)

    async def _until_it_ends(self, writer: asyncio.StreamWriter) -> None:
        """Says nothing more until the client has gone."""
        while await self._readers[writer].read(65_536):
            pass
        raise _Ended


class _Ended(Exception):
    """This connection is over."""
