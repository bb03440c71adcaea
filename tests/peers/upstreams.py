"""Upstreams that are other people's programs: Debian's smtp-sink and aiosmtpd."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from peers.need import need
from peers.process import PATIENCE_S, Process, free_port, greets, wait_until


class SmtpSink:
    """smtp-sink: each message to a file of its own, or (`keep=False`) only counted."""

    def __init__(self, folder: Path, keep: bool = True, options: Iterable[str] = ()) -> None:
        program = need("smtp-sink")[0]
        self.port = free_port()
        self.dump = folder / "sink"
        self.dump.mkdir(parents=True, exist_ok=True)
        # As root it must be told whom to become; root itself keeps the test's folder writable.
        kept = ["-u", "root", "-d", f"{self.dump}/%M."] if keep else ["-u", "root", "-c"]
        self._process = Process(
            [program, *kept, *options, f"127.0.0.1:{self.port}", "1000"], folder / "sink.log"
        )
        wait_until(lambda: greets(self.port), "smtp-sink")

    def count(self) -> int:
        """Messages counted (`keep=False`)."""
        found = re.findall(r"mesg=(\d+)", self._process.output)
        return int(found[-1]) if found else 0

    def messages(self) -> list[bytes]:
        """Every whole message, line ends as LF, without the envelope lines that it writes.

        It writes an empty line behind each message.
        """
        found = []
        for path in sorted(self.dump.iterdir()):
            text = path.read_bytes()
            head, _, rest = text.partition(b"\nReceived: ")
            if head.startswith(b"X-Client-Addr") and rest.endswith(b"\n\n"):
                found.append(b"Received: " + rest[:-1])
        return found

    def stop(self) -> None:
        self._process.kill9()


class FailingHandler:
    """What aiosmtpd answers: `answers` stage -> reply, for MAIL, RCPT and DATA; else it takes."""

    def __init__(self) -> None:
        self.answers: dict[str, str] = {}
        self.messages: list[tuple[str, list[str], bytes]] = []

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if "MAIL" in self.answers:
            return self.answers["MAIL"]
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if "RCPT" in self.answers:
            return self.answers["RCPT"]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if "DATA" in self.answers:
            return self.answers["DATA"]
        content: Any = envelope.original_content
        self.messages.append((envelope.mail_from or "", list(envelope.rcpt_tos), bytes(content)))
        return "250 taken"


class Aiosmtpd:
    """aiosmtpd in a thread; `handler` says what it answers and holds what it took."""

    def __init__(self) -> None:
        self.handler = FailingHandler()
        self.port = free_port()
        self._controller = Controller(
            self.handler,
            hostname="127.0.0.1",
            port=self.port,
            data_size_limit=41943040,
            ready_timeout=PATIENCE_S,
        )
        self._controller.start()

    def stop(self) -> None:
        self._controller.stop()
