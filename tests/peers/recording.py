"""An upstream of our own that keeps the exact octets of every message and answers as it is told.

It is deliberately not Waypost's `wire`: what one end gets wrong the other must not hide. A server
is a thread with an event loop; a test reads `messages` at any time.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
import threading
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from peers.process import PATIENCE_S, free_port

LINE_OCTETS = 16384
HANG = "hang"
DROP = "drop"

Answer = str | Callable[[str], str]
"""A reply such as `450 4.2.1 busy`, `HANG`, `DROP`, or a function from the command line to one."""


@dataclass
class Recorded:
    """One message as it arrived: `octets` after un-dotting, `ending` CR LF included."""

    mail_from: str
    recipients: list[str]
    octets: bytes
    parameters: str
    session: int


@dataclass
class Recording:
    """What arrived, and how the server answers: stage -> answer; stages are those of `_Session`."""

    extensions: list[str] = field(
        default_factory=lambda: ["PIPELINING", "SIZE 41943040", "8BITMIME", "ENHANCEDSTATUSCODES"]
    )
    answers: dict[str, Answer] = field(default_factory=dict)
    messages: list[Recorded] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    sessions: int = 0  # that ever were
    open: int = 0
    users: dict[str, str] = field(default_factory=dict)
    bearers: set[str] | None = None  # tokens that XOAUTH2 takes; None: it is not offered
    before_dot: Callable[[], Awaitable[None]] | None = None  # waited for behind each message
    port: int = 0

    def to(self, address: str) -> list[Recorded]:
        """The messages that this address was a recipient of."""
        return [m for m in self.messages if address in m.recipients]


class _Session:
    """One connection. Stages: greeting, EHLO, STARTTLS, AUTH, MAIL, RCPT, DATA, dot, QUIT."""

    def __init__(
        self,
        book: Recording,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        tls: ssl.SSLContext | None,
    ) -> None:
        self.book, self.reader, self.writer, self.tls = book, reader, writer, tls
        book.sessions += 1
        self.number = book.sessions
        self.secure = False
        self.mail_from: str | None = None
        self.parameters = ""
        self.recipients: list[str] = []

    async def say(self, stage: str, line: str, usual: str) -> bool:
        """Answers for the stage; whether the answer was a good one. Raises to end the session."""
        answer = self.answer(stage, line, usual)
        if answer == HANG:
            await asyncio.sleep(3600)
        if answer == DROP:
            raise ConnectionAbortedError
        self.writer.write(answer.encode() + b"\r\n")
        await self.writer.drain()
        if answer.startswith("421"):
            raise ConnectionAbortedError
        return answer[0] in "23"

    def answer(self, stage: str, line: str, usual: str) -> str:
        told = self.book.answers.get(stage, usual)
        return told(line) if callable(told) else told

    async def run(self) -> None:
        await self.say("greeting", "", "220 recording.test ESMTP")
        while True:
            raw = await self.reader.readline()
            if not raw:
                return
            line = raw.rstrip(b"\r\n").decode("latin-1")
            self.book.lines.append(line)
            verb = line.split(" ", 1)[0].upper()
            if verb == "QUIT":
                await self.say("QUIT", line, "221 2.0.0 bye")
                return
            await self.obey(verb, line)

    async def obey(self, verb: str, line: str) -> None:
        match verb:
            case "EHLO":
                await self.say("EHLO", line, self.greeting())
            case "HELO" | "NOOP":
                await self.say(verb, line, "250 2.0.0 ok")
            case "RSET":
                self.forget()
                await self.say(verb, line, "250 2.0.0 ok")
            case "STARTTLS":
                if await self.say("STARTTLS", line, "220 2.0.0 go") and self.tls:
                    await self.writer.start_tls(self.tls)
                    self.secure = True
            case "AUTH":
                await self.login(line)
            case "MAIL":
                if await self.say("MAIL", line, "250 2.1.0 ok"):
                    self.mail_from, self.parameters = _path(line)
            case "RCPT":
                usual = "250 2.1.5 ok" if self.mail_from is not None else "503 5.5.1 MAIL first"
                if await self.say("RCPT", line, usual):
                    self.recipients.append(_path(line)[0])
            case "DATA":
                await self.data(line)
            case _:
                await self.say("unknown", line, "500 5.5.2 what?")

    def greeting(self) -> str:
        offers = list(self.book.extensions)
        if self.tls and not self.secure:
            offers.append("STARTTLS")
        if self.book.users and (self.secure or not self.tls):
            offers.append("AUTH PLAIN LOGIN")
        if self.book.bearers is not None and (self.secure or not self.tls):
            offers.append("AUTH XOAUTH2")
        names = ["recording.test", *offers]
        marks = ["-"] * (len(names) - 1) + [" "]
        return "\r\n".join(f"250{m}{n}" for m, n in zip(marks, names, strict=True))

    async def ask(self, question: str) -> str:
        self.writer.write(b"334 " + base64.b64encode(question.encode()) + b"\r\n")
        await self.writer.drain()
        return base64.b64decode(await self.reader.readline()).decode()

    async def login(self, line: str) -> None:
        words = line.split()
        if words[1].upper() == "XOAUTH2":
            await self.bearer(line, base64.b64decode(words[2]).decode())
            return
        if words[1].upper() == "PLAIN":
            given = base64.b64decode(words[2]).decode() if len(words) > 2 else await self.ask("")
            _, user, password = given.split("\0")
        else:
            user = base64.b64decode(words[2]).decode() if len(words) > 2 else await self.ask("User")
            password = await self.ask("Password")
        good = self.book.users.get(user) == password
        self.book.logins.append(user)
        await self.say("AUTH", line, "235 2.7.0 ok" if good else "535 5.7.8 wrong")

    async def bearer(self, line: str, given: str) -> None:
        """As Google does it: a refusal is a challenge, an empty line, then 535."""
        user, token = given.removesuffix("\x01\x01").split("\x01auth=Bearer ")
        self.book.logins.append(user.removeprefix("user="))
        if token in (self.book.bearers or ()):
            await self.say("AUTH", line, "235 2.7.0 Accepted")
            return
        why = '{"status":"401","schemes":"bearer","scope":"https://mail.google.com/"}'
        self.writer.write(b"334 " + base64.b64encode(why.encode()) + b"\r\n")
        answer = await self.reader.readline()
        said = "535 5.7.8 Username and Password not accepted." if answer == b"\r\n" else "501 what?"
        await self.say("AUTH", line, said)

    async def data(self, line: str) -> None:
        usual = "354 go on" if self.recipients else "554 5.5.1 no valid recipients"
        if not await self.say("DATA", line, usual):
            self.forget()
            return
        octets = await self.body()
        message = Recorded(
            self.mail_from or "", self.recipients, octets, self.parameters, self.number
        )
        self.forget()
        if self.book.before_dot is not None:
            await self.book.before_dot()
        answer = self.answer("dot", octets.decode("latin-1"), "250 2.0.0 taken")
        if answer.startswith("2"):
            self.book.messages.append(message)
        await self.say("after the dot", "", answer)

    async def body(self) -> bytes:
        """Up to CR LF . CR LF and nothing else; a dot is undone only after CR LF."""
        lines: list[bytes] = []
        fresh = True
        while (line := await self.reader.readline()) != b".\r\n" or not fresh:
            if not line.endswith(b"\n"):
                raise ConnectionAbortedError
            lines.append(line[1:] if fresh and line.startswith(b".") else line)
            fresh = line.endswith(b"\r\n")
        return b"".join(lines)

    def forget(self) -> None:
        self.mail_from, self.parameters, self.recipients = None, "", []


def _path(line: str) -> tuple[str, str]:
    path = line.split(":", 1)[1].strip()
    inner, _, rest = path[1:].partition(">")
    return inner, rest.strip()


class RecordingServer:
    """The server; `book` is what it has seen and how it answers."""

    def __init__(
        self, book: Recording, tls: ssl.SSLContext | None = None, implicit: bool = False
    ) -> None:
        self.book = book
        self._tls, self._implicit = tls, implicit
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def start(self, port: int = 0) -> Recording:
        if not self._thread.is_alive():
            self._thread.start()
        # One that is away keeps its port, so that has to be one which the kernel gives to nobody.
        port = port or self.book.port or free_port()
        self._do(self._listen(port))
        return self.book

    def away(self) -> None:
        """Listens no more and drops every session; `start` comes back on the same port."""
        self._do(self._leave())

    def stop(self) -> None:
        self.away()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()

    def _do(self, deed: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(deed, self._loop).result(PATIENCE_S)

    async def _listen(self, port: int) -> None:
        self._server = await asyncio.start_server(
            self._serve,
            "127.0.0.1",
            port,
            limit=64 * 1024 * 1024,
            ssl=self._tls if self._implicit else None,
            backlog=512,
        )
        self.book.port = self._server.sockets[0].getsockname()[1]

    async def _leave(self) -> None:
        server, self._server = self._server, None
        # Nobody new from now on; but it is closed last, since who was accepted just now and is not
        # served yet needs it, or leaves a socket open.
        for listening in server.sockets if server else ():
            self._loop.remove_reader(listening.fileno())
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.sleep(0)  # one that is cancelled before it begins closes nothing
            for task in others:
                task.cancel()
            await asyncio.wait(others)
            await asyncio.sleep(0)  # for what they had yet to close
        if server:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = _Session(self.book, reader, writer, None if self._implicit else self._tls)
        self.book.open += 1
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await session.run()
        finally:
            self.book.open -= 1
            writer.transport.abort()
