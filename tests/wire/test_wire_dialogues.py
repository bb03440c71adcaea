"""The dialogues under `dialogues/`, each fed whole, octet by octet, and cut at random.

A line is `C: ` or `S: ` and what is said (`\\xNN` is an octet; CR LF follows unless the line
ends in `\\c`), `# ` and a remark, or `> ` and a deed. The first line is `> server [tls] [whole]` or
`> client [whole]`; `whole`: the cuts are what it is about, so it is fed in whole groups only.
Deeds of a server's doer: `handshake`. Of a client's: `starttls`, `handshake`, `quit`,
`login USER PASSWORD`, `send SENDER RCPT[,RCPT] OCTETS`; then `= ` and an event in short, in order.
The server's doer knows one key (`sesame`), refuses MAIL from refused@example.com, RCPT to
unknown@example.com, and a message that contains `spam`.
"""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from waypost.core.address import parse
from waypost.core.errors import Secret
from waypost.wire.client import ClientSession
from waypost.wire.events import (
    Auth,
    Broken,
    ClientEvent,
    DataChunk,
    DataEnd,
    DataStart,
    Declined,
    Mail,
    MessageDone,
    Rcpt,
    StartTls,
)
from waypost.wire.server import ServerSession

FILES = sorted((Path(__file__).parent / "dialogues").glob("*.txt"))
WAYS = ["whole", "octets", *(f"cut {seed}" for seed in range(5))]


def octets(text: str) -> bytes:
    stem, end = (text[:-2], b"") if text.endswith("\\c") else (text, b"\r\n")
    raw = stem.encode()
    return re.sub(rb"\\x([0-9a-f]{2})", lambda m: bytes([int(m[1], 16)]), raw) + end


def groups(lines: list[str]) -> list[tuple[str, str | bytes]]:
    """Neighbouring lines of one side are one group; remarks are dropped, deeds stand alone."""
    found: list[tuple[str, str | bytes]] = []
    for line in lines:
        mark, text = line[:2], line[3:]
        if mark in ("C:", "S:"):
            said = octets(text)
            if found and found[-1][0] == mark:
                said = bytes(found.pop()[1]) + said  # type: ignore[arg-type]
            found.append((mark, said))
        elif mark in ("> ", "= "):
            found.append((mark, line[2:]))
        else:
            assert line.startswith("#") or not line, line
    return found


def pieces(said: bytes, way: str) -> list[bytes]:
    if way == "whole":
        return [said]
    chance = random.Random(way)
    cut = []
    while said:
        size = 1 if way == "octets" else chance.choice((1, 2, 3, 7, 20, 50))
        cut.append(said[:size])
        said = said[size:]
    return cut


class ServersDoer:
    """One end: the server under test and what it decides."""

    def __init__(self, words: list[str]) -> None:
        self.session = ServerSession("relay.example", tls="tls" in words)
        self.session.greet()
        self.message = b""

    def feed(self, said: bytes) -> None:
        self.session.receive(said)
        while (event := self.session.next_event()) is not None:
            if isinstance(event, StartTls):
                return
            if isinstance(event, DataChunk):
                self.message += event.data
            elif isinstance(event, DataEnd):
                bad = b"spam" in self.message
                self.session.answer(
                    "550 5.7.1 No spam (id)" if bad else f"250 OK: {len(self.message)}"
                )
                self.message = b""
            elif isinstance(event, Auth | Mail | Rcpt | DataStart):
                refusal = self.refusal(event)
                self.session.answer(refusal) if refusal else self.session.accept()

    def refusal(self, event: Auth | Mail | Rcpt | DataStart) -> str:
        if isinstance(event, Auth) and event.password != Secret("sesame"):
            return "535 5.7.8 Unknown key"
        if isinstance(event, Mail) and str(event.address) == "refused@example.com":
            return "451 4.7.1 Not enough credits"
        if isinstance(event, Rcpt) and str(event.address) == "unknown@example.com":
            return "550 5.1.1 Unknown"
        return ""

    def deed(self, text: str) -> None:
        assert text == "handshake"
        self.session.tls_started()

    def said(self) -> bytes:
        return self.session.take_output()

    def told(self) -> list[str]:
        return []


class ClientsDoer:
    """The other end: the client under test and what it is asked for."""

    def __init__(self, words: list[str]) -> None:
        self.session = ClientSession("me.example")
        self.events: list[ClientEvent] = []

    def feed(self, said: bytes) -> None:
        self.events += self.session.receive(said)

    def deed(self, text: str) -> None:
        match text.split():
            case ["starttls"]:
                self.session.starttls()
            case ["handshake"]:
                self.session.tls_started()
            case ["login", user, password]:
                self.session.login(user, Secret(password))
            case ["send", sender, recipients, message]:
                whole = octets(message)
                to = [parse(address) for address in recipients.split(",")]
                self.session.send(parse(sender), to, len(whole), not whole.isascii(), [whole])
            case ["quit"]:
                self.session.quit()
            case _:
                raise AssertionError(text)

    def said(self) -> bytes:
        return self.session.take_output()

    def told(self) -> list[str]:
        told, self.events = [short(event) for event in self.events], []
        return told


def short(event: ClientEvent) -> str:
    name = type(event).__name__
    if isinstance(event, MessageDone):
        every = [event.mail, *event.rcpts, event.data, event.final]
        return " ".join([name, *(str(reply.code) if reply else "-" for reply in every)])
    if isinstance(event, Declined):
        return f"{name} {event.stage} {event.reply.code}"
    if isinstance(event, Broken):
        return f"{name} {event.error.stage}"
    return name


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
@pytest.mark.parametrize("way", WAYS)
def test_dialogue(file: Path, way: str) -> None:
    (_, first), *rest = groups(file.read_text(encoding="utf-8").splitlines())
    words = str(first).split()
    mine, theirs = ("S:", "C:") if words[0] == "server" else ("C:", "S:")
    if "whole" in words:
        way = "whole"
    doer = ServersDoer(words) if words[0] == "server" else ClientsDoer(words)
    told: list[str] = []
    said = b""
    for mark, content in rest:
        told += doer.told()
        said += doer.said()
        if mark == mine:
            assert said == content
            said = b""
        elif mark == theirs:
            assert said == b""
            for piece in pieces(bytes(content), way):  # type: ignore[arg-type]
                doer.feed(piece)
                said += doer.said()
        elif mark == "= ":
            assert told[:1] == [content]
            del told[0]
        else:
            doer.deed(str(content))
    assert doer.said() + said == b""
    assert told + doer.told() == []


def test_there_are_dialogues_of_both_ends() -> None:
    firsts = [file.read_text(encoding="utf-8").split("\n", 1)[0].split()[1] for file in FILES]
    assert firsts.count("server") >= 10
    assert firsts.count("client") >= 8
