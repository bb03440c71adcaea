"""Attacks that mail software has fallen to, from the outside: real sockets, a real relay, and an
upstream that shows what came through. A row's name is the attack; what is right stands in the test.
"""

from __future__ import annotations

import base64
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from peers.process import wait_until
from peers.recording import Recording, RecordingServer
from peers.relay import SENDER, Relay, any_certificate, ident_of, stuffed

ANN = "ann@example.com"
HEAD = f"From: {SENDER}\r\nTo: {ANN}\r\n".encode()
MESSAGE_BYTES = 2_000_000
PATIENCE_S = 120.0
WORK_S = 2.0  # of a processor, for what takes a few hundredths


class Place:
    """One relay, its upstream, and a key of an account with credits."""

    def __init__(self, relay: Relay, recording: Recording, key: str) -> None:
        self.relay, self.recording, self.key = relay, recording, key

    def arrived(self, since: int) -> list[bytes]:
        return [message.octets for message in self.recording.messages[since:]]


class Talk:
    """Says exactly what it is told; `ask` gives the last line of the reply, empty at the end."""

    def __init__(self, port: int, tls: bool) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        if tls:
            self.socket = any_certificate().wrap_socket(self.socket)
        self.file = self.socket.makefile("rb")
        assert self.reply().startswith("220 ")

    def reply(self) -> str:
        while True:
            try:
                line = self.file.readline().decode()
            except OSError:
                return ""
            if line[3:4] != "-":
                return line.rstrip("\r\n")

    def ask(self, line: bytes | str) -> str:
        self.socket.sendall((line.encode() if isinstance(line, str) else line) + b"\r\n")
        return self.reply()

    def begin(self, *rcpts: str) -> None:
        assert self.ask(f"MAIL FROM:<{SENDER}>")[:3] == "250"
        for rcpt in rcpts or (ANN,):
            assert self.ask(f"RCPT TO:<{rcpt}>")[:3] == "250"
        assert self.ask("DATA")[:3] == "354"

    def message(self, octets: bytes, *rcpts: str) -> str:
        self.begin(*rcpts)
        self.socket.sendall(stuffed(octets) + b".\r\n")
        return self.reply()

    def close(self) -> None:
        self.file.close()
        self.socket.close()


def worked_s(place: Place) -> float:
    """The processor's time that the relay took, whatever else the machine does."""
    told = Path(f"/proc/{place.relay.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(told[11]) + int(told[12])) / os.sysconf("SC_CLK_TCK")


def plain(key: str) -> str:
    return "AUTH PLAIN " + base64.b64encode(f"\0x\0{key}".encode()).decode()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    server = RecordingServer(Recording())
    recording = server.start()
    limits = f"rate_per_minute = 0\nmessage_bytes = {MESSAGE_BYTES}\nbody_bytes = {MESSAGE_BYTES}"
    relay = Relay(
        tmp_path_factory.mktemp("hostile"),
        "inline_wait = 30",
        tables={"limits": limits, "queue": 'retry = ["6h"]'},
    )
    try:
        relay.start()
        yield Place(relay, recording, relay.furnish(recording.port, credits="10000"))
        relay.audit()
    finally:
        relay.stop()
        server.stop()


@pytest.fixture
def clear(place: Place) -> Iterator[Talk]:
    talk = Talk(place.relay.submission, False)
    yield talk
    talk.close()


@pytest.fixture
def stranger(place: Place) -> Iterator[Talk]:
    talk = Talk(place.relay.submissions, True)
    assert talk.ask("EHLO client.test")[:3] == "250"
    yield talk
    talk.close()


@pytest.fixture
def talk(place: Place, stranger: Talk) -> Talk:
    assert stranger.ask(plain(place.key))[:3] == "235"
    return stranger


# What must not end a message, and what then arrives in its place: mended, never passed through.
SMUGGLED = [
    (b"\n.\n", b"\r\n.\r\n"),
    (b"\r.\r", b" . "),
    (b"\r.\n", b" .\r\n"),
    (b"\n.\r", b"\r\n. "),
    (b"\n.\r\n", b"\r\n.\r\n"),
    (b"\r\n.\n", b"\r\n\r\n"),
    (b"\r.\r\n", b" .\r\n"),
    (b"\r\n.\r", b"\r\n "),
    (b"\r\n.\r\r\n", b"\r\n\r\n"),
    (b"\r\r\n.\r\r\n", b"\r\n\r\n"),
    (b"\r\n. \r\n", b"\r\n \r\n"),
    (b"\r\n..\r\n", b"\r\n.\r\n"),
    (b"\r\n\0.\r\n", None),
    (b"\r\n.\0\r\n", None),
]
SECOND = b"MAIL FROM:<>\r\nRCPT TO:<evil@example.com>\r\nDATA\r\nFrom: a@b.test\r\n\r\nevil\r\n"


@pytest.mark.parametrize(("end", "mended"), SMUGGLED)
def test_smuggling(place: Place, talk: Talk, end: bytes, mended: bytes | None) -> None:
    before = len(place.recording.messages)
    talk.begin()
    talk.socket.sendall(HEAD + b"\r\na" + end + SECOND + b".\r\n")
    answer = talk.reply()
    assert talk.ask("NOOP") == "250 OK"  # one answer: one message
    arrived = place.arrived(before)
    if mended is None:
        assert answer.startswith("550 5.6.0 ")
        assert not arrived
        return
    assert answer.startswith("250 OK: ")
    assert [octets.partition(b"\r\n\r\n")[2] for octets in arrived] == [b"a" + mended + SECOND]


@pytest.mark.parametrize("ahead", [b"N", b"NOOP\r\n", b"EHLO x\r\nMAIL FROM:<>\r\n", b"\x16\x03"])
def test_starttls_injection(clear: Talk, ahead: bytes) -> None:
    clear.ask("EHLO x")
    clear.socket.sendall(b"STARTTLS\r\n" + ahead)
    assert clear.reply().startswith("554 5.5.1 ")
    assert clear.reply() == ""


def test_nothing_is_kept_over_starttls(place: Place, clear: Talk) -> None:
    assert clear.ask("EHLO x")[:3] == "250"
    assert clear.ask(plain(place.key)).startswith("538 5.7.11 ")
    assert clear.ask("STARTTLS now").startswith("501 ")
    assert clear.ask("STARTTLS")[:3] == "220"
    clear.socket = any_certificate().wrap_socket(clear.socket)
    clear.file = clear.socket.makefile("rb")
    assert clear.ask(plain(place.key)).startswith("503 5.5.1 ")
    assert clear.ask("MAIL FROM:<>").startswith("530 5.7.0 ")
    assert clear.ask("EHLO x")[:3] == "250"
    assert clear.ask("STARTTLS").startswith("503 5.5.1 ")


@pytest.mark.parametrize("reset", [False, True])
def test_a_message_cut_short_is_nothing(place: Place, talk: Talk, reset: bool) -> None:
    before = len(place.relay.messages()), place.relay.credits()
    talk.begin()
    talk.socket.sendall(HEAD + b"\r\nhalf of it\r\n.")
    if reset:
        talk.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    talk.close()
    assert (len(place.relay.messages()), place.relay.credits()) == before


def test_a_message_whose_answer_was_lost_stands_and_its_retry_is_no_second(
    place: Place, talk: Talk
) -> None:
    credits, since = place.relay.credits(), len(place.recording.messages)
    octets = HEAD + b"Message-ID: <lost-answer@client.test>\r\n\r\nonce\r\n"
    talk.begin()
    talk.socket.sendall(octets + b".\r\n")
    talk.close()
    wait_until(lambda: len(place.arrived(since)) == 1, "the message whose answer was lost")
    again = Talk(place.relay.submissions, True)
    again.ask("EHLO client.test")
    again.ask(plain(place.key))
    answer = again.message(octets)
    again.close()
    assert answer.startswith("250 OK: ")
    assert ident_of(answer).encode() in place.arrived(since)[0]
    assert len(place.arrived(since)) == 1
    assert place.relay.credits() == credits - 1


@pytest.mark.parametrize(
    "garbage",
    ["!", "====", "AA", "A" * 12_000, "AHgA\x01", "eHgAAAAA", "/////w==", "AHg=", "AAAA AAAA"],
)
def test_garbage_in_auth(stranger: Talk, garbage: str) -> None:
    assert stranger.ask(f"AUTH PLAIN {garbage}")[:6] in ("501 5.", "500 5.")
    assert stranger.ask("AUTH LOGIN") == "334 VXNlcm5hbWU6"
    assert stranger.ask("*").startswith("501 5.7.0 ")
    assert stranger.ask("NOOP") == "250 OK"


def test_base64_is_read_strictly(place: Place, stranger: Talk) -> None:
    right = plain(place.key)
    for wrong in (right[:-4] + "!" + right[-4:], right[:-4] + " " + right[-4:], right + "===="):
        assert stranger.ask(wrong).startswith("501 5.5.")
    assert stranger.ask(right)[:3] == "235"


def test_speaking_ahead_of_354(place: Place, talk: Talk) -> None:
    before = len(place.recording.messages)
    body = b"Subject: x\r\n\r\nMAIL FROM:<>\r\n.\r\n"
    talk.socket.sendall(b"MAIL FROM:<>\r\nRCPT TO:<evil@example.com>\r\nDATA\r\n" + body)
    assert [talk.reply()[:9] for _ in range(3)] == ["250 OK", "250 OK", "554 5.5.0"]
    assert talk.reply() == ""
    assert len(place.recording.messages) == before


@pytest.mark.parametrize(
    "line", [b"NOOP\n", b"NOOP\rNOOP\r\n", b"NO\0OP\r\n", b"\xff\xfe\r\n", b"\x1b[2J\r\n", b"\r\n"]
)
def test_odd_octets_in_a_command(talk: Talk, line: bytes) -> None:
    talk.socket.sendall(line)
    answer = talk.reply()
    assert answer.startswith("500 5.5.2 ")
    assert re.fullmatch(r"[ -~]+", answer)
    assert talk.ask("MAIL FROM:<>") == "250 OK"


def test_an_endless_command_line_ends_the_session(talk: Talk) -> None:
    talk.socket.sendall(b"A" * 40_000)
    assert talk.reply().startswith("500 5.5.6 ")
    assert talk.reply() == ""


@pytest.mark.parametrize(
    "shape",
    [
        b"".join(b"X-%d: y\r\n" % n for n in range(20_000)),
        b"X-Long: " + b"a" * 100_000 + b"\r\n",
        b"X-Folded: a\r\n" + b" b\r\n" * 30_000,
        b"__proto__: 1\r\nconstructor: 2\r\nX-\xe9\xff: 8\r\n" + b"N" * 100_000 + b": name\r\n",
    ],
)
def test_headers_of_any_shape_pass_unchanged(place: Place, talk: Talk, shape: bytes) -> None:
    before = len(place.recording.messages)
    began = worked_s(place)
    assert talk.message(HEAD + shape + b"\r\nx\r\n").startswith("250 OK: ")
    assert worked_s(place) - began < WORK_S
    assert place.arrived(before)[0].endswith(HEAD + shape + b"\r\nx\r\n")


def test_a_size_that_was_a_lie(place: Place, talk: Talk) -> None:
    assert talk.ask(f"MAIL FROM:<> SIZE={MESSAGE_BYTES + 1}").startswith("552 5.3.4 ")
    for wrong in ("-1", "1e3", "", "9" * 30, "1 SIZE=1"):
        assert talk.ask(f"MAIL FROM:<> SIZE={wrong}")[:3] in ("501", "552")
    assert talk.ask("MAIL FROM:<> SIZE=1000") == "250 OK"
    assert talk.ask(f"RCPT TO:<{ANN}>") == "250 OK"
    assert talk.ask("DATA")[:3] == "354"
    talk.socket.sendall(HEAD + b"\r\n" + b"x" * 78 + (b"\r\n" + b"x" * 78) * 30_000 + b"\r\n.\r\n")
    assert talk.reply().startswith("550 5.3.4 ")
    assert talk.message(HEAD + b"\r\nsmall\r\n").startswith("250 OK: ")


def test_bdat_whose_payload_looks_like_commands(place: Place, talk: Talk) -> None:
    before = len(place.recording.messages)
    talk.socket.sendall(b"MAIL FROM:<>\r\nRCPT TO:<evil@example.com>\r\nBDAT 40 LAST\r\nDATA\r\n")
    assert [talk.reply()[:3] for _ in range(3)] == ["250", "250", "502"]
    assert talk.reply() == ""
    assert len(place.recording.messages) == before


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("<@relay.test:evil@example.com>", "550 5.1.3"),
        ("<evil@example.com@relay.test>", "550 5.1.3"),
        ("<evil example@example.com>", "550 5.1.3"),
        ("<evil@example.com", "501 5.5.2"),
        ("<>", "550 5.1.3"),
        ("<" + "a" * 65 + "@example.com>", "550 5.1.3"),
        ("<a@" + "b." * 130 + "test>", "550 5.1.3"),
        ("<evil@example.com> ORCPT=rfc822;+41", "555 5.5.4"),
        ("<evil@example.com>\r\nRSET".replace("\r\n", "\t"), "500 5.5.2"),
        ("<\u00e9vil@example.com>", "550 5.6.7"),
    ],
)
def test_tricks_with_rcpt(talk: Talk, path: str, code: str) -> None:
    assert talk.ask("MAIL FROM:<>") == "250 OK"
    assert talk.ask(f"RCPT TO:{path}")[:9] == code
    assert talk.ask("DATA").startswith("503 5.5.1 ")


def test_a_quoted_local_part_stays_one_address(place: Place, talk: Talk) -> None:
    odd = '"evil@outside.test x"@example.com'
    assert talk.message(f"From: {SENDER}\r\n\r\nx\r\n".encode(), odd).startswith("250 OK: ")
    assert place.recording.messages[-1].recipients == [odd]


def test_the_same_recipient_a_thousand_times(place: Place, talk: Talk) -> None:
    credits = place.relay.credits()
    many = [ANN.upper() if n % 2 else ANN for n in range(1000)]
    talk.ask(f"MAIL FROM:<{SENDER}>")
    talk.socket.sendall(b"".join(b"RCPT TO:<%s>\r\n" % a.encode() for a in many))
    assert {talk.reply() for _ in many} == {"250 OK"}
    assert talk.ask("RCPT TO:<other@example.com>").startswith("452 4.5.3 ")
    assert talk.ask("DATA")[:3] == "354"
    talk.socket.sendall(HEAD + b"\r\nx\r\n.\r\n")
    assert talk.reply().startswith("250 OK: ")
    assert place.recording.messages[-1].recipients == [ANN]
    assert place.relay.credits() == credits - 1


OPEN_RELAY_PROBES = [
    "RCPT TO:<relaytest@outside.test>",
    "RCPT TO:<relaytest%outside.test@relay.test>",
    'RCPT TO:<"relaytest@outside.test">',
    "RCPT TO:<@relay.test:relaytest@outside.test>",
    "RCPT TO:<outside.test!relaytest>",
]


def test_no_open_relay(clear: Talk, stranger: Talk) -> None:
    clear.ask("EHLO x")
    for probe in ("MAIL FROM:<antispam@relay.test>", "MAIL FROM:<>", *OPEN_RELAY_PROBES, "DATA"):
        assert clear.ask(probe) == "530 5.7.0 Must issue a STARTTLS command first"
        assert stranger.ask(probe) == "530 5.7.0 Authentication required"


@pytest.mark.parametrize("line", ["GET / HTTP/1.1", "POST / HTTP/1.0", "CONNECT a:25 HTTP/1.1"])
def test_http_on_the_wrong_port(clear: Talk, line: str) -> None:
    clear.socket.sendall(f"{line}\r\nHost: x\r\n\r\nEHLO x\r\n".encode())
    assert clear.reply().startswith("554 5.5.0 ")
    assert clear.reply() == ""


def test_an_upstream_that_is_ourselves(place: Place, talk: Talk) -> None:
    here = ("--host", "127.0.0.1", "--port", str(place.relay.submission), "--validate", "off")
    login = ("--encryption", "starttls", "--username", "x", "--password-file", "-", "--no-test")
    sender = "loop@relay.test"
    place.relay.cli(
        "upstream", "add", "loop", "--sender", sender, *here, *login, stdin=f"{place.key}\n"
    )
    credits = place.relay.credits()
    accepted = len(place.relay.messages())
    answer = talk.message(f"From: {sender}\r\n\r\nround\r\n".encode())
    assert answer.startswith("550 5.4.6 "), answer
    assert place.relay.credits() == credits
    assert len(place.relay.messages()) == accepted + 4  # those that bore at most three of our marks
    assert [x for x in place.relay.refusals() if x["reason"] == "loop"]


@pytest.mark.parametrize(
    "head",
    [
        "From: evil@outside.test\r\nFrom: {0}\r\n",
        "From: {0}\r\nfrom : evil@outside.test\r\n",
        " From: evil@outside.test\r\nFrom: {0}\r\n",
        "From: {0}, evil@outside.test\r\n",
        "From: <evil@outside.test> {0}\r\n",
        "From: evil@outside.test <{0}>\r\n",
        "From: =?utf-8?q?evil=40outside=2Etest?= <{0}>\r\n",
        "From: {0} (evil@outside.test)\r\n",
        "From: evil@outside.test,\r\n {0}\r\n",
        "From: {0}\r\nSender: evil@outside.test\r\n",
        "From: {0}\r\nResent-From: evil@outside.test\r\n",
        "From: {0}\x0bX-Y: evil\r\n",
        "From: {0}\0\r\n",
        "Subject: x\rFrom: evil@outside.test\r\n",
        "From: \u202enoreply@relay.test\r\n",
        "From: noreply@relay.test@outside.test\r\n",
    ],
)
def test_another_identity(place: Place, talk: Talk, head: str) -> None:
    before, credits = len(place.recording.messages), place.relay.credits()
    talk.ask("MAIL FROM:<evil@outside.test>")
    talk.ask(f"RCPT TO:<{ANN}>")
    talk.ask("DATA")
    talk.socket.sendall(head.format(SENDER).encode() + b"\r\nx\r\n.\r\n")
    assert talk.reply()[:9] in ("550 5.7.1", "550 5.6.0", "550 5.6.7")
    assert len(place.recording.messages) == before
    assert place.relay.credits() == credits


def test_blind_copies_stay_blind(place: Place, talk: Talk) -> None:
    hidden = b"bCc: blind1@example.com,\r\n\tblind2@example.com\r\nBcc : blind3@example.com\r\n"
    resent = b"RESENT-BCC:\r\n blind4@example.com\r\n"
    assert talk.message(HEAD + hidden + resent + b"\r\nx\r\n").startswith("250 OK: ")
    message = place.recording.messages[-1]
    assert sorted(message.recipients)[1:] == [f"blind{n}@example.com" for n in (1, 2, 3)]
    assert b"blind" not in message.octets
    assert message.octets.endswith(b"\r\n" + HEAD + b"\r\nx\r\n")


def nested(levels: int) -> bytes:
    level = b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n"
    return b"".join(level % (n, n) for n in range(levels))


BOMBS: list[Any] = [
    pytest.param(nested(5_000), "250", id="multiparts"),
    pytest.param(b"Content-Type: message/rfc822\r\n\r\n" * 4_000, "250", id="enclosed"),
    pytest.param(
        b"Content-Type: a/b" + b"".join(b";\r\n x*%d=y" % n for n in range(4_000)) + b"\r\n\r\n",
        "250",
        id="parameters",
    ),
    pytest.param(
        b"Cc: " + b",\r\n ".join(b"c%d@example.com" % n for n in range(8_000)) + b"\r\n\r\n",
        "550 5.5.3",
        id="addresses",
    ),
    pytest.param(b"Cc: " + b"(" * 50_000 + b"\r\n\r\n", "550 5.1.3", id="comments"),
    pytest.param(b"Received: by x; y\r\n" * 2_000 + b"\r\n", "550 5.4.6", id="received"),
]


@pytest.mark.parametrize(("bomb", "code"), BOMBS)
def test_bombs_are_answered_soon(place: Place, talk: Talk, bomb: bytes, code: str) -> None:
    began = worked_s(place)
    assert talk.message(HEAD + bomb)[: len(code)] == code
    assert worked_s(place) - began < WORK_S


def test_a_rotated_key_ends_the_sessions_of_the_old_one(place: Place) -> None:
    name = "rotated"
    old = place.relay.cli("key", "create", "--account", "acme", "--name", name)
    session = Talk(place.relay.submissions, True)
    session.ask("EHLO client.test")
    assert session.ask(plain(old["key"]))[:3] == "235"
    place.relay.cli("key", "rotate", str(old["id"]))
    assert session.ask("NOOP").startswith("421 4.7.0 ")
    assert session.reply() == ""
    session.close()
