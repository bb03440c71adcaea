"""Every command in every state of a submission session, by the protocol alone."""

from __future__ import annotations

import pytest

from waypost.wire.events import Auth, DataStart, Mail, Rcpt
from waypost.wire.server import ServerSession
from waypost.wire.table import ENDING, HTTP, NOT_IMPLEMENTED, OTHER, TABLE, Do, State

LOGIN = b"EHLO me\r\n", b"AUTH PLAIN AGEAYg==\r\n"
MAIL = b"MAIL FROM:<a@example.com>\r\n"
RCPT = b"RCPT TO:<b@example.com>\r\n"
WAY: dict[State, tuple[bytes, ...]] = {
    State.CLEAR: (),
    State.STRANGER: (),
    State.GREETED: LOGIN[:1],
    State.READY: LOGIN,
    State.MAIL: (*LOGIN, MAIL),
    State.RCPT: (*LOGIN, MAIL, RCPT),
}

# CLEAR STRANGER GREETED READY MAIL RCPT
CODES = {
    "EHLO me": (250, 250, 250, 250, 250, 250),
    "HELO me": (250, 250, 250, 250, 250, 250),
    "STARTTLS": (220, 503, 503, 503, 503, 503),
    "AUTH PLAIN AGEAYg==": (538, 503, 235, 503, 503, 503),
    "MAIL FROM:<a@example.com>": (530, 530, 530, 250, 503, 503),
    "RCPT TO:<b@example.com>": (530, 530, 530, 503, 250, 250),
    "DATA": (530, 530, 530, 503, 503, 354),
    "RSET": (250, 250, 250, 250, 250, 250),
    "NOOP": (250, 250, 250, 250, 250, 250),
    "HELP": (214, 214, 214, 214, 214, 214),
    "VRFY a": (530, 252, 252, 252, 252, 252),
    "QUIT": (221, 221, 221, 221, 221, 221),
    "XYZZY": (530, 500, 500, 500, 500, 500),
    **dict.fromkeys(NOT_IMPLEMENTED, (530, 502, 502, 502, 502, 502)),
    "BDAT 5 LAST": (502,) * 6,
    **dict.fromkeys(HTTP, (554,) * 6),
}
AFTER = {
    "EHLO me": (State.CLEAR, State.GREETED, State.GREETED, State.READY, State.READY, State.READY),
    "AUTH PLAIN AGEAYg==": (
        State.CLEAR,
        State.STRANGER,
        State.READY,
        State.READY,
        State.MAIL,
        State.RCPT,
    ),
    "MAIL FROM:<a@example.com>": (*list(State)[:3], State.MAIL, State.MAIL, State.RCPT),
    "RCPT TO:<b@example.com>": (*list(State)[:4], State.RCPT, State.RCPT),
    "RSET": (*list(State)[:4], State.READY, State.READY),
}
AFTER["HELO me"] = AFTER["EHLO me"]


def say(session: ServerSession, octets: bytes) -> str:
    session.receive(octets)
    while (event := session.next_event()) is not None:
        if isinstance(event, Auth | Mail | Rcpt | DataStart):
            session.accept()
    return session.take_output().decode()


def brought_to(state: State) -> ServerSession:
    session = ServerSession("relay.example", tls=state is not State.CLEAR)
    session.greet()
    for octets in WAY[state]:
        assert say(session, octets)[0] == "2" or octets in LOGIN
    session.take_output()
    return session


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("line", CODES)
def test_every_pair(state: State, line: str) -> None:
    session = brought_to(state)
    assert session.authenticated == (state >= State.READY)
    answer = say(session, f"{line}\r\n".encode())
    assert answer[:3] == str(CODES[line][state])
    verb = line.split()[0]
    assert session.ended == (verb == "QUIT" or verb in ENDING)
    if line in AFTER:
        after = AFTER[line][state]
        assert session.authenticated == (after >= State.READY)
        assert session.transaction == (after >= State.MAIL)


def test_the_walk_is_the_whole_table() -> None:
    walked = {line.split()[0] for line in CODES} - {"XYZZY"} | {OTHER}
    assert {(state, verb) for state in State for verb in walked} == set(TABLE)
    assert {entry for entry in TABLE.values() if isinstance(entry, Do)} == set(Do)


@pytest.mark.parametrize("verb", ["ehlo me", "EhLo me", "noop", "Rset"])
def test_case_does_not_matter(verb: str) -> None:
    assert say(brought_to(State.READY), f"{verb}\r\n".encode()).startswith("250")


def test_tls_forgets_everything() -> None:
    session = brought_to(State.CLEAR)
    say(session, b"EHLO me\r\n")
    assert say(session, b"STARTTLS\r\n").startswith("220")
    session.tls_started()
    assert session.tls
    assert say(session, b"AUTH PLAIN AGEAYg==\r\n").startswith("503 5.5.1")
    assert "STARTTLS" not in say(session, b"EHLO me\r\n")
    assert say(session, b"STARTTLS\r\n").startswith("503")


def test_starttls_is_not_for_those_who_have_it_or_speak_on() -> None:
    session = brought_to(State.CLEAR)
    assert say(session, b"STARTTLS now\r\n").startswith("501")
    session.receive(b"STARTTLS\r\nEHLO injected\r\n")
    assert session.next_event() is not None
    assert session.take_output().startswith(b"554 5.5.1")
    assert session.ended
    assert say(session, b"NOOP\r\n") == ""


def test_a_step_that_does_not_fit_is_the_callers_error() -> None:
    session = brought_to(State.READY)
    for deed in (session.accept, session.tls_started, lambda: session.answer("250 OK")):
        with pytest.raises(ValueError, match=r"\w"):
            deed()
