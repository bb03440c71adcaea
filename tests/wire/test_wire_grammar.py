"""Logins, addresses and parameters, as the server reads them: tables of lines and answers."""

from __future__ import annotations

import base64

import pytest

from waypost.core.address import Address
from waypost.core.errors import Secret
from waypost.wire.events import Auth, Hello, Mail, Rcpt, Refused, ServerEvent
from waypost.wire.server import ServerSession


def said(session: ServerSession, line: bytes) -> tuple[list[ServerEvent], list[str]]:
    """The events of one line, all accepted, and the answers."""
    events: list[ServerEvent] = []
    session.receive(line + b"\r\n")
    while (event := session.next_event()) is not None:
        events.append(event)
        if isinstance(event, Auth | Mail | Rcpt):
            session.accept()
    return events, session.take_output().decode("ascii").split("\r\n")[:-1]


def logged_in() -> ServerSession:
    session = ServerSession("relay.example", tls=True)
    session.greet()
    said(session, b"EHLO me")
    said(session, b"AUTH PLAIN AGEAYg==")
    return session


def b64(octets: bytes) -> bytes:
    return base64.b64encode(octets)


GOOD = "hyd-mail-key"
LOGINS = [
    ([b"AUTH PLAIN " + b64(b"\0x\0hyd-mail-key")], "235"),
    ([b"auth plain " + b64(b"\0x\0hyd-mail-key")], "235"),
    ([b"AUTH PLAIN", b64(b"\0x\0hyd-mail-key")], "235"),
    ([b"AUTH PLAIN " + b64(b"other\0x\0hyd-mail-key")], "235"),
    ([b"AUTH PLAIN " + b64(b"\0\0hyd-mail-key")], "235"),
    ([b"AUTH LOGIN", b64(b"x"), b64(b"hyd-mail-key")], "235"),
    ([b"AUTH LOGIN " + b64(b"x"), b64(b"hyd-mail-key")], "235"),
    ([b"AUTH LOGIN =", b64(b"hyd-mail-key")], "235"),
    ([b"AUTH LOGIN", b"", b64(b"hyd-mail-key")], "235"),
    ([b"AUTH PLAIN " + b64(b"\0x\0y")], "535"),
    ([b"AUTH LOGIN", b64(b"x"), b64(b"y")], "535"),
    ([b"AUTH PLAIN", b"*"], "501 5.7.0"),
    ([b"AUTH LOGIN", b"*"], "501 5.7.0"),
    ([b"AUTH LOGIN", b64(b"x"), b"*"], "501 5.7.0"),
    ([b"AUTH PLAIN =", b"NOOP"], "501 5.5.2"),
    ([b"AUTH PLAIN !!!"], "501 5.5.2"),
    ([b"AUTH PLAIN AGEAYg"], "501 5.5.2"),
    ([b"AUTH PLAIN AGEAYg==x"], "501 5.5.2"),
    ([b"AUTH PLAIN", b"AGEA Yg=="], "501 5.5.2"),
    ([b"AUTH PLAIN", b"AGEA\xe4g=="], "501 5.5.2"),
    ([b"AUTH PLAIN", b"AGEA\0Yg=="], "501 5.5.2"),
    ([b"AUTH PLAIN " + b64(b"x")], "501 5.5.2"),
    ([b"AUTH PLAIN " + b64(b"a\0b")], "501 5.5.2"),
    ([b"AUTH PLAIN " + b64(b"a\0b\0c\0d")], "501 5.5.2"),
    ([b"AUTH PLAIN " + b64(b"\0x\0\xff\xfe")], "501 5.5.2"),
    ([b"AUTH LOGIN " + b64(b"\xff")], "501 5.5.2"),
    ([b"AUTH LOGIN " + b64(b"a\0b")], "501 5.5.2"),
    ([b"AUTH PLAIN " + b"A" * 12_300], "500 5.5.6"),
    ([b"AUTH PLAIN", b"A" * 12_300], "500 5.5.6"),
    ([b"AUTH PLAIN " + b64(b"\0" + b"u" * 8000 + b"\0hyd-mail-key")], "235"),
    ([b"AUTH"], "501 5.5.4"),
    ([b"AUTH PLAIN a b"], "501 5.5.4"),
    ([b"AUTH CRAM-MD5"], "504 5.5.4"),
]


@pytest.mark.parametrize(("lines", "answer"), LOGINS)
def test_logins(lines: list[bytes], answer: str) -> None:
    session = ServerSession("relay.example", tls=True)
    session.greet()
    session.receive(b"EHLO me\r\n")
    assert session.next_event() == Hello("me", True)
    for line in lines:
        session.take_output()
        session.receive(line + b"\r\n")
        while (event := session.next_event()) is not None:
            if isinstance(event, Auth):
                assert "key" not in repr(event)
                good = event.password == Secret(GOOD)
                session.accept() if good else session.answer("535 5.7.8 Unknown key")
    out = session.take_output()
    if lines[-1] == b"NOOP":  # the empty response was refused at once: NOOP is a command again
        assert out == b"250 OK\r\n"
        return
    assert out.decode().startswith(answer)
    assert session.authenticated == (answer == "235")
    session.receive(b"NOOP\r\n")
    assert session.next_event() is None
    assert session.take_output() == b"250 OK\r\n"


PATHS = [
    (b"MAIL FROM:<>", Mail(None, None, False)),
    (b"mail from:<a@Example.COM>", Mail(Address("a", "example.com"), None, False)),
    (
        b"MAIL FROM: <a@example.com>  SIZE=5  BODY=8BITMIME ",
        Mail(Address("a", "example.com"), 5, True),
    ),
    (
        b"MAIL FROM:<a@example.com> BODY=7bit AUTH=<>",
        Mail(Address("a", "example.com"), None, False),
    ),
    (b"MAIL FROM:<a@example.com> AUTH=e+3Dmc2", Mail(Address("a", "example.com"), None, False)),
    (b'MAIL FROM:<"a@b x>"@example.com>', Mail(Address('"a@b x>"', "example.com"), None, False)),
    (b"MAIL FROM:<a@[192.0.2.1]>", Mail(Address("a", "[192.0.2.1]"), None, False)),
    ("MAIL FROM:<a@büro.example>".encode(), Mail(Address("a", "xn--bro-hoa.example"), None, False)),
    (
        b"MAIL FROM:<a@example.com> SIZE=31457280",
        Mail(Address("a", "example.com"), 31457280, False),
    ),
    (b"MAIL FROM:<a@example.com> SIZE=31457281", "552 5.3.4"),
    (b"MAIL FROM:<a@example.com> SIZE=-1", "501"),
    (b"MAIL FROM:<a@example.com> SIZE=1" + b"0" * 30, "501"),
    (b"MAIL FROM:<a@example.com> SIZE=1 SIZE=2", "501"),
    (b"MAIL FROM:<a@example.com> SIZE", "501"),
    (b"MAIL FROM:<a@example.com> BODY=BINARYMIME", "501"),
    (b"MAIL FROM:<a@example.com> BODY=7BIT BODY=7BIT", "501"),
    (b"MAIL FROM:<a@example.com> AUTH=a=b", "501"),
    (b"MAIL FROM:<a@example.com> SMTPUTF8", "555 5.5.4"),
    (b"MAIL FROM:<a@example.com> RET=HDRS", "555 5.5.4"),
    (b"MAIL FROM:<a@example.com>SIZE=1", "501 5.5.2"),
    (b"MAIL FROM:a@example.com", "501 5.5.2"),
    (b"MAIL a@example.com", "501 5.5.2"),
    (b"MAIL FROM:<a@example.com", "501 5.5.2"),
    (b"MAIL FROM", "501 5.5.2"),
    (b"MAIL", "501 5.5.2"),
    (b"MAIL FROM:<@relay.example:a@example.com>", "550 5.1.3 Source routes"),
    (b"MAIL FROM:<a b@example.com>", "550 5.1.3"),
    (b"MAIL FROM:<a@b@example.com>", "550 5.1.3"),
    (b"MAIL FROM:<nobody>", "550 5.1.3"),
    (b"MAIL FROM:<a@-.example>", "550 5.1.3"),
    (b"MAIL FROM:<" + b"a" * 65 + b"@example.com>", "550 5.1.3"),
    ("MAIL FROM:<jürgen@example.com>".encode(), "550 5.6.7"),
    (b"MAIL FROM:<j\xfcrgen@example.com>", "550 5.6.7"),
    (b"MAIL FROM:<a@b\xfc.example>", "550 5.1.3"),
    ("MAIL FROM:<a@example.com> X=ü".encode(), "501 5.5.2"),
]


@pytest.mark.parametrize(("line", "expected"), PATHS)
def test_mail(line: bytes, expected: Mail | str) -> None:
    session = logged_in()
    events, answers = said(session, line)
    if isinstance(expected, Mail):
        assert events == [expected]
        assert answers == ["250 OK"]
    else:
        assert len(answers) == 1
        assert answers[0].startswith(expected)
        (refused,) = events
        assert isinstance(refused, Refused)
        assert (refused.verb, refused.line) == ("MAIL", answers[0])


def test_what_a_refused_command_named_is_told() -> None:
    session = logged_in()
    told = {
        "MAIL FROM:<a@example.com> SIZE=99999999999": "a@example.com",
        "MAIL FROM:<nobody>": "nobody",
        "MAIL FROM:nobody": "nobody",
        "MAIL FROM:<ü@example.com>": "\\xfc@example.com",
        "MAIL FROM:<" + "a" * 700: "a" * 320,
        "MAIL FROM": "",
    }
    for line, mail_from in told.items():
        (refused,), _ = said(session, line.encode())
        assert isinstance(refused, Refused)
        assert (refused.mail_from, refused.rcpt_to) == (mail_from, "")
    said(session, b"MAIL FROM:<a@example.com>")
    (refused,), _ = said(session, b"RCPT TO:<b@-.example>")
    assert isinstance(refused, Refused)
    assert (refused.mail_from, refused.rcpt_to) == ("", "b@-.example")


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        (b"RCPT TO:<b@example.com>", "250"),
        (b"rcpt to: <b@example.com>", "250"),
        (b"RCPT TO:<>", "550 5.1.3"),
        (b"RCPT FROM:<b@example.com>", "501 5.5.2"),
        (b"RCPT TO:<b@example.com> NOTIFY=NEVER", "555 5.5.4"),
        (b"RCPT TO:<@r.example:b@example.com>", "550 5.1.3"),
        (b"RCPT TO:<postmaster>", "550 5.1.3"),
        ("RCPT TO:<jürgen@example.com>".encode(), "550 5.6.7"),
        (b"RCPT TO:<" + b'"' * 400 + b"@example.com>", "550 5.1.3"),
    ],
)
def test_rcpt(line: bytes, answer: str) -> None:
    session = logged_in()
    said(session, b"MAIL FROM:<>")
    assert said(session, line)[1][0].startswith(answer)


@pytest.mark.parametrize(
    ("line", "event"),
    [
        (b"EHLO [192.0.2.1]", Hello("[192.0.2.1]", True)),
        (b"HELO a(b)<c>;d e", Hello("a?b??c??d", False)),
        (b"EHLO " + b"x" * 300, Hello("x" * 255, True)),
    ],
)
def test_the_name_is_made_harmless(line: bytes, event: Hello) -> None:
    assert said(logged_in(), line)[0] == [event]


def test_a_name_is_needed() -> None:
    assert said(logged_in(), b"EHLO ")[1][0].startswith("501 5.5.4")
