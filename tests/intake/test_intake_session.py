"""Sessions over real sockets: keys, pipelining, TLS, line ends, refusals and their log."""

from __future__ import annotations

import base64
import contextlib
import smtplib
import socket
import time
from typing import Any

import pytest

from waypost.core.verdict import Settled
from waypost.intake.session import NOTED_RECIPIENTS

SECRET = "hyd-mail-" + "a" * 40
ENVELOPE_SECRET = "hyd-mail-" + "e" * 40
DISABLED_SECRET = "hyd-mail-" + "d" * 40
MESSAGE = (
    b"From: app@example.com\r\nTo: to@example.net\r\nSubject: hello\r\n"
    b"Message-ID: <m@example.com>\r\nDate: Sat, 21 Nov 2026 08:00:00 +0000\r\n\r\nbody\r\n"
)
PLAIN = base64.b64encode(f"\0x\0{SECRET}".encode()).decode()
USER, PASSWORD = base64.b64encode(b"x").decode(), base64.b64encode(SECRET.encode()).decode()


def sent(front: Any) -> bytes:
    """The octets of the last accepted message, below our Received field."""
    body: bytes = front.store.bodies[front.store.commits[-1].id]
    return body[body.index(b"From:") :]


def test_a_message_over_starttls_and_over_tls(front: Any) -> None:
    with front.smtp() as client:
        assert client.sendmail("app@example.com", ["to@example.net"], MESSAGE) == {}
    assert sent(front) == MESSAGE
    with smtplib.SMTP_SSL("127.0.0.1", front.ports[1], context=front.trusting()) as secured:
        secured.login("x", SECRET)
        secured.sendmail("app@example.com", ["to@example.net"], MESSAGE)
    assert len(front.store.commits) == 2
    assert front.store.used_keys == [1, 1]


@pytest.mark.parametrize(
    "dialogue",
    [
        [f"AUTH PLAIN {PLAIN}"],
        ["AUTH PLAIN", PLAIN],
        ["AUTH LOGIN", USER, PASSWORD],
        [f"AUTH LOGIN {USER}", PASSWORD],
    ],
)
def test_each_form_of_auth(front: Any, dialogue: list[str]) -> None:
    raw = front.raw(None)
    raw.ask("EHLO client.test")
    for line in dialogue[:-1]:
        assert raw.ask(line).startswith("334")
    assert raw.ask(dialogue[-1]).startswith("235")
    assert raw.ask("MAIL FROM:<app@example.com>").startswith("250")


def test_auth_before_tls_is_538_and_everything_else_530(front: Any) -> None:
    raw = front.plain()
    assert raw.reply().startswith("220")
    raw.ask("EHLO client.test")
    assert raw.ask(f"AUTH PLAIN {PLAIN}").startswith("538 5.7.11")
    assert raw.ask("MAIL FROM:<app@example.com>").startswith("530 5.7.0 Must issue a STARTTLS")
    assert {note.reason for note in front.store.refusals} == {"key_unknown"}


def test_no_relay_without_a_key(front: Any) -> None:
    raw = front.raw(None)
    raw.ask("EHLO client.test")
    assert raw.ask("MAIL FROM:<app@example.com>").startswith("530 5.7.0 Authentication required")
    assert raw.ask("RCPT TO:<to@example.net>").startswith("530")
    assert raw.ask("DATA").startswith("530")


def test_a_wrong_key_is_answered_later_a_right_one_at_once(
    front: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = front.raw(None)
    raw.ask("EHLO client.test")
    began = time.monotonic()
    assert raw.login("wrong").startswith("535 5.7.8")
    assert time.monotonic() - began > 0.9
    monkeypatch.setattr("waypost.intake.auth.DELAY_FIRST_S", 50.0)
    monkeypatch.setattr("waypost.intake.auth.DELAY_MOST_S", 50.0)
    began = time.monotonic()
    assert raw.login(SECRET).startswith("235")
    assert time.monotonic() - began < 25


def test_three_wrong_keys_end_the_session_and_are_logged(
    front: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("waypost.intake.auth.DELAY_FIRST_S", 0.01)
    monkeypatch.setattr("waypost.intake.auth.DELAY_MOST_S", 0.01)
    raw = front.raw(None)
    raw.ask("EHLO client.test")
    for secret in ("wrong", DISABLED_SECRET, ""):
        assert raw.login(secret or "wrong").startswith("535 5.7.8")
    assert raw.reply().startswith("421 4.7.0")
    assert raw.ended()
    notes = [(note.reason, note.key_id, note.account_id) for note in front.store.refusals]
    assert notes[:2] == [("key_unknown", None, None), ("key_disabled", 3, 1)]
    assert all(SECRET not in repr(note) for note in front.store.refusals)


def test_the_store_being_away_is_454_never_535(front: Any) -> None:
    raw = front.raw(None)
    raw.ask("EHLO client.test")
    front.store.away = True
    assert raw.login(SECRET).startswith("454 4.7.0")
    front.store.away = False
    assert raw.login(SECRET).startswith("235")


@pytest.mark.parametrize("command", ["NOOP", "MAIL FROM:<app@example.com>", "RSET"])
def test_a_key_that_was_disabled_is_dead_at_the_next_command(
    front: Any, directory: Any, command: str
) -> None:
    raw = front.raw()
    front.store.facts = directory(2)
    assert raw.ask("NOOP").startswith("250")
    front.store.facts = directory(3, enabled=False)
    assert raw.ask(command).startswith("421 4.7.0")
    assert raw.ended()


def test_a_disabled_account_is_dead_in_a_transaction_too(front: Any, directory: Any) -> None:
    raw = front.raw()
    raw.begin()
    front.store.facts = directory(2, account=False)
    raw.send(MESSAGE + b".\r\n")
    assert raw.reply().startswith("421 4.7.0")
    assert raw.ended()
    assert front.store.commits == []


def test_a_message_is_not_accepted_from_who_showed_a_key_that_was_rotated(
    front: Any, directory: Any
) -> None:
    raw = front.raw()
    raw.begin()
    front.store.facts = directory(2, first="hyd-mail-" + "n" * 40)
    raw.send(MESSAGE + b".\r\n")
    assert raw.reply().startswith("421 4.7.0")
    assert raw.ended()
    assert front.store.commits == []
    assert front.memory.used_octets == 0
    assert front.store.refusals[-1].recipients == ("to@example.net",)


def test_pipelined_transactions_in_one_write(front: Any) -> None:
    raw = front.raw()
    raw.send(b"MAIL FROM:<app@example.com>\r\nRCPT TO:<to@example.net>\r\nDATA\r\n")
    assert [raw.reply()[:3] for _ in range(3)] == ["250", "250", "354"]
    raw.send(MESSAGE + b".\r\nMAIL FROM:<app@example.com>\r\nRCPT TO:<a@example.net>\r\nDATA\r\n")
    assert [raw.reply()[:3] for _ in range(4)] == ["250", "250", "250", "354"]
    raw.send(MESSAGE + b".\r\nQUIT\r\n")
    assert [raw.reply()[:3] for _ in range(2)] == ["250", "221"]
    assert raw.ended()
    assert len(front.store.commits) == 2


def test_starttls_with_anything_behind_it_is_554_and_the_end(front: Any) -> None:
    raw = front.plain()
    raw.reply()
    raw.ask("EHLO client.test")
    raw.send(b"STARTTLS\r\nNOOP\r\n")
    assert raw.reply().startswith("554 5.5.1")
    assert raw.ended()


def test_commands_in_the_clear_behind_starttls_never_run(front: Any) -> None:
    raw = front.plain()
    raw.reply()
    raw.ask("EHLO client.test")
    assert raw.ask("STARTTLS").startswith("220")
    raw.send(b"EHLO evil.test\r\nMAIL FROM:<app@example.com>\r\n")
    try:
        answered = raw.socket.recv(1000)
    except OSError:
        answered = b""
    assert b"250" not in answered


def test_the_session_starts_anew_after_the_handshake(front: Any) -> None:
    client = front.smtp(None)
    client.helo_resp = client.ehlo_resp = None
    code, _ = client.docmd("MAIL FROM:<app@example.com>")
    assert code == 530
    client.ehlo("client.test")
    assert "auth" in client.esmtp_features
    assert "starttls" not in client.esmtp_features
    assert client.docmd("STARTTLS")[0] == 503
    client.close()


SMUGGLED = (
    b"\n.\n", b"\r.\r", b"\r.\n", b"\n.\r", b"\n.\r\n", b"\r\n.\n", b"\r.\r\n", b"\r\n.\r",
    b"\r\n.\r\r\n", b"\r\r\n.\r\r\n", b"\r\n. \r\n", b"\r\n..\r\n",
)  # fmt: skip


@pytest.mark.parametrize("end", SMUGGLED)
def test_only_crlf_dot_crlf_ends_the_data(front: Any, end: bytes) -> None:
    raw = front.raw()
    raw.begin()
    evil = b"MAIL FROM:<evil@example.com>\r\nRCPT TO:<victim@example.net>\r\nDATA\r\n"
    raw.send(MESSAGE + end + evil + b"\r\n.\r\n")
    assert raw.reply().startswith("250")
    assert raw.ask("NOOP").startswith("250")
    (acceptance,) = front.store.commits
    assert [str(to.address) for to in acceptance.addressees] == ["to@example.net"]
    body = sent(front)
    assert b"MAIL FROM:<evil@example.com>\r\n" in body
    assert body.count(b"\n") == body.count(b"\r") == body.count(b"\r\n")


def test_a_bare_line_end_is_refused_by_configuration(make_front: Any) -> None:
    front = make_front({"bare_newline": "refuse"})
    raw = front.raw()
    raw.begin()
    raw.send(MESSAGE + b"one\ntwo\r\n.\r\n")
    assert raw.reply().startswith("550 5.6.11")
    assert front.store.refusals[-1].reason == "bare_newline"


@pytest.mark.parametrize(
    ("message", "code", "reason"),
    [
        (MESSAGE + b"\0\r\n", "550 5.6.0", "malformed"),
        (b" " + MESSAGE, "550 5.6.0", "malformed"),
        (b"no colon\r\n" + MESSAGE, "550 5.6.0", "malformed"),
        (MESSAGE.replace(b"app@", b"other@"), "550 5.7.1", "sender_not_allowed"),
        (MESSAGE.replace(b"To: to@example.net", b"To: <@>"), "550 5.1.3", "address"),
        (b"Received: x\r\n" * 51 + MESSAGE, "550 5.4.6", "loop"),
    ],
)
def test_refusals_after_the_data_keep_the_session_and_are_logged(
    front: Any, message: bytes, code: str, reason: str
) -> None:
    raw = front.raw()
    raw.begin()
    raw.send(message + b".\r\n")
    assert raw.reply().startswith(code)
    assert front.store.commits == []
    note = front.store.refusals[-1]
    assert (note.reason, note.channel, note.peer) == (reason, "smtp", "127.0.0.1")
    assert (note.account_id, note.key_id, note.from_address) == (1, 1, "app@example.com")
    assert front.memory.used_octets == 0
    raw.begin()
    raw.send(MESSAGE + b".\r\n")
    assert raw.reply().startswith("250 OK")


def test_refusals_at_mail(front: Any) -> None:
    raw = front.raw()
    assert raw.ask("MAIL FROM:<app@example.com> SIZE=31457281").startswith("552 5.3.4")
    front.store.credits = 0
    assert raw.ask("MAIL FROM:<app@example.com>").startswith("451 4.7.1")
    front.store.credits = 100
    front.free = (0, 10**12)
    front.clock.later_s += 2
    assert raw.ask("MAIL FROM:<app@example.com>").startswith("452 4.3.1")
    front.free = (10**12, 10**12)
    front.clock.later_s += 2
    assert raw.ask("MAIL FROM:<app@example.com> FOO=1").startswith("555 5.5.4")
    assert raw.ask("MAIL FROM:<app@example.com> SIZE=31457280").startswith("250")
    reasons = [note.reason for note in front.store.refusals]
    assert reasons[:3] == ["too_large_declared", "no_credits", "disk_or_memory_full"]


def test_a_refusal_is_never_noted_as_one_of_the_message_before(front: Any) -> None:
    raw = front.raw()
    raw.begin("before@example.net")
    raw.send(MESSAGE + b".\r\n")
    assert raw.reply().startswith("250 OK")
    assert raw.ask("MAIL FROM:<big@example.org> SIZE=31457281").startswith("552 5.3.4")
    assert raw.ask("RCPT TO:<x@example.net>").startswith("503 5.5.1")
    front.store.credits = 0
    assert raw.ask("MAIL FROM:<app@example.com>").startswith("451 4.7.1")
    front.store.credits = 100
    assert raw.ask("DATA").startswith("503 5.5.1")
    assert raw.ask("MAIL FROM:<app@example.com>").startswith("250")
    assert raw.ask("RCPT TO:<good@example.net>").startswith("250")
    assert raw.ask("RCPT TO:<bad>").startswith("550 5.1.3")
    assert [(note.from_address, note.recipients) for note in front.store.refusals] == [
        ("big@example.org", ()),
        ("", ()),
        ("app@example.com", ()),
        ("", ()),
        ("app@example.com", ("bad", "good@example.net")),
    ]


def test_a_refusal_notes_a_hundred_recipients_at_most(front: Any) -> None:
    raw = front.raw()
    assert raw.ask("MAIL FROM:<app@example.com>").startswith("250")
    many = [f"to{number}@example.net" for number in range(150)]
    for address in many:
        assert raw.ask(f"RCPT TO:<{address}>").startswith("250")
    assert raw.ask("RCPT TO:<bad>").startswith("550 5.1.3")
    assert front.store.refusals[-1].recipients == ("bad", *many[:NOTED_RECIPIENTS])


def test_the_rate_limit_ends_the_session_at_mail(make_front: Any) -> None:
    front = make_front(rate=1)
    raw = front.raw()
    front.store.room = 0
    assert raw.ask("MAIL FROM:<app@example.com>").startswith("421 4.7.0")
    assert raw.ended()
    assert front.store.refusals[-1].reason == "rate_limit"


def test_an_envelope_key_is_told_to_split_and_a_program_is_not(front: Any) -> None:
    for secret, code in ((ENVELOPE_SECRET, "452 4.5.3"), (SECRET, "250")):
        raw = front.raw(secret)
        raw.ask("MAIL FROM:<app@example.com>")
        for number in range(100):
            assert raw.ask(f"RCPT TO:<r{number}@example.net>").startswith("250")
        assert raw.ask("RCPT TO:<R1@EXAMPLE.NET>").startswith("250")
        assert raw.ask("RCPT TO:<r100@example.net>").startswith(code)
        raw.ask("DATA")
        raw.send(MESSAGE + b".\r\n")
        answer = raw.reply()
        assert answer.startswith("250 OK" if secret == ENVELOPE_SECRET else "550 5.5.3")


@pytest.mark.parametrize(
    ("outcome", "line"),
    [
        (Settled(0, 0, 1, 0), "250 OK: "),
        (Settled(0, 1, 0, 0), "250 queued: "),
        (Settled(0, 0, 0, 1, 0, 550, "5.1.1", "5.1.1 No such user"), "550 5.1.1 No such user (0"),
    ],
)
def test_the_answer_to_the_dot(front: Any, outcome: Settled, line: str) -> None:
    front.store.outcome = lambda _: outcome
    raw = front.raw()
    raw.begin()
    raw.send(MESSAGE + b".\r\n")
    assert raw.reply().startswith(line)
    assert raw.ask("NOOP").startswith("250")


def test_a_connection_that_ends_in_data_leaves_nothing(front: Any) -> None:
    raw = front.raw()
    raw.begin()
    raw.send(MESSAGE + b"x" * 400_000)
    raw.socket.shutdown(socket.SHUT_RDWR)
    raw.close()
    front.until(lambda: len(front.house) == 0)
    assert front.store.commits == []
    assert front.memory.used_octets == 0
    assert list((front.data / "incoming").iterdir()) == []


def test_a_tls_end_in_data_ends_the_message_and_plaintext_behind_it_is_not_read(
    front: Any,
) -> None:
    raw = front.raw()
    raw.begin()
    raw.send(MESSAGE)
    plain = raw.unwrapped()
    with plain, contextlib.suppress(OSError):  # closed already: that is right
        plain.sendall(b".\r\n")
    front.until(lambda: len(front.house) == 0)
    assert front.store.commits == []


def test_a_message_stands_when_the_client_is_gone_after_the_dot(front: Any) -> None:
    front.close_gate()
    raw = front.raw()
    raw.begin()
    raw.send(MESSAGE + b".\r\n")
    front.until(lambda: front.store.waiting == 1)
    raw.close()
    raw.socket.close()
    front.until(lambda: len(front.house) == 0)
    front.open_gate()
    front.until(lambda: len(front.store.commits) == 1)


def test_twenty_refusals_end_the_session(front: Any) -> None:
    raw = front.raw()
    for _ in range(20):
        assert raw.ask("NONSENSE").startswith("5")
    assert raw.reply().startswith("421")
    assert raw.ended()


@pytest.mark.parametrize("line", ["BDAT 5 LAST", "GET / HTTP/1.1"])
def test_what_is_not_offered_and_would_be_misread_ends_the_session(front: Any, line: str) -> None:
    raw = front.raw()
    assert raw.ask(line)[:1] == "5"
    assert raw.ended()


def test_reading_stops_while_a_message_is_decided(front: Any) -> None:
    front.close_gate()
    raw = front.raw()
    raw.begin()
    raw.send(MESSAGE + b".\r\n")
    front.until(lambda: front.store.waiting == 1)
    raw.socket.settimeout(1)
    octets = 0
    with pytest.raises(TimeoutError):
        while octets < 50_000_000:
            octets += raw.socket.send(b"NOOP\r\n" * 10_000)
    assert octets < 20_000_000
    raw.close()
    front.open_gate()
