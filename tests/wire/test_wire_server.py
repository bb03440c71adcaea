"""The submission server's edges: data to the octet, lines, lengths, limits, turns."""

from __future__ import annotations

import random

import pytest

from waypost.wire.events import (
    Auth,
    DataChunk,
    DataEnd,
    DataStart,
    Mail,
    Quit,
    Rcpt,
    Refused,
    Reset,
    ServerEvent,
    ServerLimits,
    Violation,
)
from waypost.wire.server import ServerSession

ENVELOPE = b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n"


class Doer:
    """Says yes to all, and keeps what it was told."""

    def __init__(self, limits: ServerLimits | None = None) -> None:
        self.session = ServerSession("relay.example", limits or ServerLimits(), tls=True)
        self.session.greet()
        self.events: list[ServerEvent] = []
        self.messages: list[bytes] = []
        self._parts: list[bytes] = []
        self.say(b"EHLO me\r\n")
        self.say(b"AUTH PLAIN AGEAYg==\r\n")
        self.events.clear()

    def say(self, *pieces: bytes) -> list[str]:
        for piece in pieces:
            self.session.receive(piece)
            self.pump()
        return self.session.take_output().decode("ascii").split("\r\n")[:-1]

    def pump(self) -> None:
        while (event := self.session.next_event()) is not None:
            if isinstance(event, DataChunk):
                assert event.data
                self._parts.append(event.data)
                continue
            self.events.append(event)
            if isinstance(event, Auth | Mail | Rcpt | DataStart):
                self.session.accept()
            elif isinstance(event, DataEnd):
                message = b"".join(self._parts)
                assert event.octets == len(message) == self.session.data_octets
                self.messages.append(message)
                self._parts.clear()
                self.session.answer(f"250 OK: {len(message)}")


def cuts(octets: bytes, seed: int) -> list[bytes]:
    chance = random.Random(seed)
    pieces = []
    while octets:
        size = chance.choice((1, 1, 2, 3, 5, 8, 4096))
        pieces.append(octets[:size])
        octets = octets[size:]
    return pieces


def undotted(wire: bytes) -> bytes:
    """The slow and plain way: RFC 5321 4.5.2, line by line."""
    lines = wire.split(b"\r\n")
    return b"\r\n".join(line[1:] if line[:1] == b"." else line for line in lines)


BODIES = [
    b"",
    b".\r\n",
    b"a\r\n",
    b"..\r\n",
    b"...\r\n..\r\n",
    b"\r\n\r\n",
    b"..a\r\n.b\r\n\r\n..\r\nc\r\n",
    b"x" * 5000 + b"\r\n.." + b"y" * 5000 + b"\r\n",
    b"\x00\xff\r\n..\x80\r\n",
    b"a\r\r\n",
]


@pytest.mark.parametrize("wire", [b for b in BODIES if b != b".\r\n"])
@pytest.mark.parametrize("seed", [-2, -1, *range(8)])
def test_data_to_the_octet(wire: bytes, seed: int) -> None:
    doer = Doer()
    assert doer.say(ENVELOPE)[-1].startswith("354")
    octets = wire + b".\r\nMAIL FROM:<>\r\n"
    pieces = (
        [octets]
        if seed == -2
        else [octets[i : i + 1] for i in range(len(octets))]
        if seed == -1
        else cuts(octets, seed)
    )
    assert doer.say(*pieces) == [f"250 OK: {len(undotted(wire))}", "250 OK"]
    assert doer.messages == [undotted(wire)]


NO_END = [
    b"\n.\n", b"\r.\r", b"\r.\n", b"\n.\r", b"\n.\r\n", b"\r\n.\n", b"\r.\r\n", b"\r\n.\r",
    b"\r\n\0.\r\n", b"\r\n.\0\r\n", b"\r\n.\r\r\n", b"\r\r\n.\r\r\n", b"\r\n. \r\n", b"\r\n..\r\n",
]  # fmt: skip


@pytest.mark.parametrize("trick", NO_END)
@pytest.mark.parametrize("whole", [True, False])
def test_nothing_else_ends_the_data(trick: bytes, whole: bool) -> None:
    doer = Doer()
    doer.say(ENVELOPE)
    smuggled = (
        b"a: b\r\n\r\nhi" + trick + b"MAIL FROM:<evil@example.com>\r\nRCPT TO:<v@example.com>\r\n"
    )
    octets = smuggled + b".\r\n"
    pieces = [octets] if whole else [octets[i : i + 1] for i in range(len(octets))]
    assert doer.say(*pieces) == [f"250 OK: {len(undotted(smuggled))}"]
    assert doer.messages == [undotted(smuggled)]
    assert sum(isinstance(event, Mail) for event in doer.events) == 1


def test_a_message_is_discarded_but_counted() -> None:
    doer = Doer()
    doer.say(ENVELOPE)
    session = doer.session
    session.discard()
    session.receive(b"x" * 1000 + b"\r\n..\r\n.\r\n")
    assert session.next_event() == DataEnd(1005)
    session.answer("550 5.3.4 Too large")
    assert doer.say(b"NOOP\r\n") == ["550 5.3.4 Too large", "250 OK"]
    doer.say(ENVELOPE, b"kept\r\n.\r\n")
    assert doer.messages == [b"kept\r\n"]


def test_a_message_without_end_is_cut() -> None:
    doer = Doer(ServerLimits(message_octets=100))
    doer.say(ENVELOPE)
    assert doer.say(b"x" * 150) == []
    assert doer.say(b"x" * 60)[0].startswith("550 5.3.4")
    assert doer.session.ended


def test_pipelining_is_answered_in_one_write() -> None:
    doer = Doer()
    answers = doer.say(b"RSET\r\n" + ENVELOPE)
    assert [a[:3] for a in answers] == ["250", "250", "250", "354"]
    answers = doer.say(b"hi\r\n.\r\n" + ENVELOPE)
    assert [a[:3] for a in answers] == ["250", "250", "250", "354"]
    answers = doer.say(b"ho\r\n.\r\nQUIT\r\n")
    assert [a[:3] for a in answers] == ["250", "221"]
    assert doer.messages == [b"hi\r\n", b"ho\r\n"]
    assert isinstance(doer.events[-1], Quit)


def test_what_follows_waits_for_a_late_answer() -> None:
    doer = Doer()
    session = doer.session
    session.receive(b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\n")
    assert isinstance(session.next_event(), Mail)
    assert session.next_event() is None
    assert session.waiting
    assert session.buffered == len(b"RCPT TO:<b@example.com>\r\n")
    session.answer("451 4.3.0 Try again")
    assert isinstance(session.next_event(), Refused)
    assert not session.transaction
    assert session.take_output().startswith(b"451 4.3.0 Try again\r\n503 5.5.1")


@pytest.mark.parametrize("octets", [b"EHLO me\r\nNOOP\r\n", b"HELO me\r\nX", ENVELOPE + b"hi\r\n"])
def test_speaking_out_of_turn_ends_the_session(octets: bytes) -> None:
    doer = Doer()
    assert doer.say(octets)[-1].startswith("554 5.5.0")
    assert doer.session.ended
    assert isinstance(doer.events[-1], Violation)
    assert doer.messages == []


def test_speaking_before_the_greeting_or_before_354_ends_the_session() -> None:
    session = ServerSession("relay.example")
    session.receive(b"EHLO me\r\n")
    assert isinstance(session.next_event(), Violation)
    assert session.take_output().startswith(b"554 5.5.0")
    session = Doer().session
    session.receive(ENVELOPE)
    for _ in range(2):
        session.next_event()
        session.accept()
    assert isinstance(session.next_event(), DataStart)
    session.receive(b"Subject: early\r\n")
    session.accept()
    assert isinstance(session.next_event(), Violation)
    assert b"354" not in session.take_output()


def test_a_body_behind_a_refused_data_is_never_read_as_commands() -> None:
    doer = Doer()
    answers = doer.say(b"DATA\r\nMAIL FROM:<evil@example.com>\r\n")
    assert [a[:9] for a in answers] == ["554 5.5.0"]
    assert doer.session.ended
    session = Doer().session
    session.receive(ENVELOPE)
    for _ in range(2):
        session.next_event()
        session.accept()
    session.next_event()
    session.receive(b"QUIT\r\n")
    session.answer("452 4.3.1 No room")
    assert isinstance(session.next_event(), Violation)
    assert session.ended


@pytest.mark.parametrize(
    "bad",
    [
        b"NO\nOP\r\n",
        b"NOOP\n",
        b"NO\0OP\r\n",
        b"NOOP a\rb\r\n",
        b"NOOP\r\r\n",
        b"NOOP \x7f\r\n",
        b"NOOP\ta\r\n",
        b"NOOP \xe4\r\n",
        b"MAIL FROM:<a@example.com> X=\xe4\x01\r\n",
        b"\r\n",
        b" NOOP\r\n",
        b"\xff\xfe\r\n",
    ],
)
def test_a_bad_line_has_one_answer_and_no_echo(bad: bytes) -> None:
    doer = Doer()
    answers = doer.say(bad)
    assert len(answers) == 1
    assert answers[0].startswith(("500 5.5.2", "500 5.5.1"))
    assert doer.say(b"NOOP\r\n") == ["250 OK"]


@pytest.mark.parametrize(
    ("stem", "octets"),
    [(b"NOOP ", 512), (b"MAIL FROM:<a@example.com> AUTH=", 1055), (b"VRFY ", 512)],
)
def test_line_lengths(stem: bytes, octets: int) -> None:
    fits = stem + b"x" * (octets - 2 - len(stem)) + b"\r\n"
    assert len(fits) == octets
    assert Doer().say(fits)[0][0] == "2"
    doer = Doer()
    assert doer.say(stem + b"x" + fits[len(stem) :])[0].startswith("500 5.5.6")
    assert doer.say(b"NOOP\r\n") == ["250 OK"]


@pytest.mark.parametrize("size", [1, 7, 1000, 100_000])
def test_an_endless_line_costs_no_memory(size: int) -> None:
    doer = Doer()
    answers: list[str] = []
    fed = 0
    while not doer.session.ended:
        answers += doer.say(b"x" * size)
        fed += size
        assert doer.session.buffered <= 24_577 + size
    assert fed <= 24_577 + size
    assert [a[:9] for a in answers] == ["500 5.5.6"]


def test_refusals_end_the_session() -> None:
    doer = Doer()
    for _ in range(19):
        assert doer.say(b"XYZZY\r\n") == ["500 5.5.1 Command not recognized"]
    answers = doer.say(b"XYZZY\r\nNOOP\r\n")
    assert [a[:3] for a in answers] == ["500", "421"]
    assert doer.session.ended
    assert isinstance(doer.events[-1], Violation)
    assert isinstance(doer.events[-2], Refused)


def test_the_doers_refusals_count_too() -> None:
    doer = Doer(ServerLimits(refusals=2))
    session = doer.session
    for _ in range(2):
        session.receive(b"MAIL FROM:<a@example.com>\r\n")
        session.next_event()
        session.answer("451 4.7.1 No credits")
    assert isinstance(session.next_event(), Violation)
    answers = session.take_output().decode().split("\r\n")
    assert [a[:9] for a in answers[:3]] == ["451 4.7.1", "451 4.7.1", "421 4.7.0"]


def test_too_many_recipients_never_end_the_transaction() -> None:
    doer = Doer(ServerLimits(recipients=5))
    doer.say(b"MAIL FROM:<a@example.com>\r\n")
    lines = b"".join(b"RCPT TO:<r%d@example.com>\r\n" % i for i in range(60))
    answers = doer.say(lines)
    assert [a[:9] for a in answers] == ["250 OK"] * 5 + ["452 4.5.3"] * 55
    assert doer.say(b"DATA\r\n", b"hi\r\n.\r\n")[-1] == "250 OK: 4"


def test_a_recipient_bomb_ends() -> None:
    doer = Doer(ServerLimits(recipients=1))
    doer.say(b"MAIL FROM:<a@example.com>\r\n")
    doer.say(b"RCPT TO:<r@example.com>\r\n" * 10_019)
    assert not doer.session.ended
    assert doer.say(b"RCPT TO:<r@example.com>\r\n")[-1].startswith("421")


def test_distinct_recipients_of_an_envelope_key() -> None:
    doer = Doer()
    doer.session.limit_distinct(3)
    doer.say(b"MAIL FROM:<a@example.com>\r\n")
    lines = b"".join(b"RCPT TO:<r%d@example.com>\r\n" % (i % 3) for i in range(9))
    assert doer.say(lines) == ["250 OK"] * 9
    assert doer.say(b"RCPT TO:<new@example.com>\r\n")[0].startswith("452 4.5.3")
    assert doer.say(b"RCPT TO:<R1@EXAMPLE.com>\r\n") == ["250 OK"]
    assert doer.say(b"RSET\r\nMAIL FROM:<>\r\nRCPT TO:<new@example.com>\r\n") == ["250 OK"] * 3


def test_ehlo_in_a_transaction_forgets_it_but_not_who_you_are() -> None:
    doer = Doer()
    doer.say(b"MAIL FROM:<>\r\n")
    doer.say(b"EHLO me\r\n")
    assert doer.session.authenticated
    assert not doer.session.transaction
    doer.say(b"MAIL FROM:<>\r\n", b"RSET\r\n")
    assert isinstance(doer.events[-1], Reset)
    assert not doer.session.transaction


def test_answers_are_one_printable_line() -> None:
    doer = Doer()
    session = doer.session
    session.receive(b"MAIL FROM:<>\r\n")
    session.next_event()
    session.answer("550 5.0.0 bad\r\n250 ü " + "x" * 600)
    out = session.take_output()
    assert out.count(b"\r\n") == 1
    assert len(out) == 512
    assert out.startswith(b"550 5.0.0 bad 250 x")


def test_shut_ends_at_any_time() -> None:
    doer = Doer()
    doer.say(ENVELOPE, b"half a mess")
    doer.session.shut("421 4.4.2 Timeout")
    assert doer.say(b"age\r\n.\r\n") == ["421 4.4.2 Timeout"]
    assert doer.session.ended
    assert doer.messages == []
