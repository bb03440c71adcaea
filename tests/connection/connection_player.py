"""A test upstream that plays failures: a step says what is to be said or done there; and a loop
in which nobody has to wait for a silence to end.

Knows nothing of what is tested with it; a server of plain asyncio streams and real TLS.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import socket
import ssl
import struct
import warnings
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from peers.loop import ErrandLoop
from waypost.clock import SystemClock

T = TypeVar("T")
SILENT, CLOSE, RESET = "(silent)", "(close)", "(reset)"
GLANCE_S = 0.05  # of real time; what both ends in one loop say to each other is there before


class HastyLoop(ErrandLoop):
    """A loop in which time passes at once while nobody says or does anything: what waits for a
    minute on somebody silent waits for a glance, and what works may take as long as it needs."""

    def __init__(self) -> None:
        self._passed_s = 0.0
        super().__init__()
        # The loop asks its selector to wait: there time is let pass.
        selector: Any = self.__dict__["_selector"]
        self._really = selector.select
        selector.select = self._select

    def time(self) -> float:
        return super().time() + self._passed_s

    def _select(self, timeout: float | None) -> Any:
        if timeout is None or timeout <= GLANCE_S:
            return self._really(timeout)
        events = self._really(GLANCE_S)
        if not events and not self._errands:
            self._passed_s += timeout
        return events


class LoopClock(SystemClock):
    """Goes with the loop that it is asked in."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


def hastily(deed: Coroutine[Any, Any, T]) -> T:
    """Runs it in a `HastyLoop`."""
    with asyncio.Runner(loop_factory=HastyLoop) as runner:
        return runner.run(deed)


class Play(msgspec.Struct, frozen=True, kw_only=True):
    """`say`: step -> reply lines or one of the three deeds. `tls`: the name of a certificate.

    `echo`: whatever the client says is repeated in the reply to AUTH.
    """

    say: dict[str, str] = {}
    tls: str = ""
    implicit: bool = False
    auth: str = "AUTH PLAIN LOGIN"
    auth_in_clear: bool = False
    echo: bool = False


class Player:
    """One server. `heard`: every line of every client; `mails`: what came after DATA."""

    def __init__(self, play: Play, context: ssl.SSLContext | None) -> None:
        self.play = play
        self.port = 0
        self.heard: list[str] = []
        self.mails: list[bytes] = []
        self._context = context
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Player:
        implicit = self._context if self.play.implicit else None
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=implicit)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(OSError, EOFError, asyncio.CancelledError, _Over):
                await self._serve(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._say(reader, writer, "greeting", "220 player ESMTP")
        secured = self.play.implicit
        while line := await reader.readline():
            text = line.decode("latin-1").rstrip("\r\n")
            self.heard.append(text)
            verb = text.partition(" ")[0].upper()
            if verb in ("EHLO", "HELO"):
                await self._say(reader, writer, "EHLO", self._hello(secured))
            elif verb == "STARTTLS":
                await self._say(reader, writer, "STARTTLS", "220 go on")
                await self._handshake(reader, writer)
                secured = True
            elif verb == "AUTH":
                said = f"535 5.7.8 {text} refused" if self.play.echo else "235 welcome"
                await self._say(reader, writer, "AUTH", said)
            elif verb == "DATA":
                await self._data(reader, writer)
            elif verb == "QUIT":
                writer.write(b"221 bye\r\n")
                return
            else:
                await self._say(reader, writer, verb, "250 ok")

    def _hello(self, secured: bool) -> str:
        lines = ["player", "8BITMIME"]
        if self._context is not None and not secured:
            lines.append("STARTTLS")
        if secured or self.play.auth_in_clear or self._context is None:
            lines += [self.play.auth] if self.play.auth else []
        return "\n".join(
            f"250{'-' if index < len(lines) - 1 else ' '}{line}" for index, line in enumerate(lines)
        )

    async def _handshake(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if "handshake" in self.play.say:
            await self._say(reader, writer, "handshake", "")
            raise _Over
        assert self._context is not None
        await writer.start_tls(self._context)

    async def _data(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._say(reader, writer, "DATA", "354 go on")
        if not self.play.say.get("DATA", "354").startswith("354"):
            return
        lines = []
        while (line := await reader.readline()) != b".\r\n":
            if not line:
                return
            lines.append(line)
        self.mails.append(b"".join(lines))
        await self._say(reader, writer, "dot", "250 taken")

    async def _say(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, step: str, normal: str
    ) -> None:
        text = self.play.say.get(step, normal)
        if text == SILENT:
            while await reader.read(4096):
                pass
            raise _Over
        if text == CLOSE:
            raise _Over
        if text == RESET:
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raise _Over
        writer.write(text.replace("\n", "\r\n").encode("latin-1") + b"\r\n")
        await writer.drain()


class _Over(Exception):
    """This connection has ended."""


class Certificates:
    """Server contexts by what is wrong with them, for the host `localhost`; `roots` is trusted."""

    def __init__(self, path: Path) -> None:
        ours, other = trustme.CA(), trustme.CA()
        past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
        self.contexts: dict[str, ssl.SSLContext] = {}
        for name, certificate in {
            "good": ours.issue_cert("localhost"),
            "wrong name": ours.issue_cert("mail.hoster.example"),
            "expired": ours.issue_cert("localhost", not_after=past),
            "unknown authority": other.issue_cert("localhost"),
        }.items():
            self.contexts[name] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            certificate.configure_cert(self.contexts[name])
        self.contexts["self-signed"] = _self_signed(path, "one")
        self.contexts["self-signed anew"] = _self_signed(path, "two")
        self.contexts["other ciphers"] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ours.issue_cert("localhost").configure_cert(self.contexts["other ciphers"])
        self.contexts["other ciphers"].maximum_version = ssl.TLSVersion.TLSv1_2
        self.contexts["other ciphers"].set_ciphers("PSK")
        self.contexts["old TLS"] = _old_tls()
        ours.issue_cert("localhost").configure_cert(self.contexts["old TLS"])
        self.roots = str(path / "roots.pem")
        ours.cert_pem.write_to_path(self.roots)


def _old_tls() -> ssl.SSLContext:
    """A server that was never renewed: TLS 1.0 and 1.1 alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


def _self_signed(path: Path, name: str) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    start = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=36_500))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = path / f"{name}.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    pem.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context
