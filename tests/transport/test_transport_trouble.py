"""What failures mean: real replies, exceptions, and that what is unknown is temporary."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.core.reply import Reply, Stage
from waypost.transport import trouble
from waypost.transport.trouble import (
    LOGIN_STAGES,
    CertificateRefused,
    LoginImpossible,
    Lost,
    Refused,
    Scope,
)
from waypost.transport.trouble_table import ROWS

SCOPES = {
    "paused": (Scope.UPSTREAM_PAUSED, False),
    "failing": (Scope.UPSTREAM_FAILING, False),
    "held": (Scope.SENDER_HELD, False),
    "recipient": (Scope.RECIPIENT, True),
    "recipient-temporary": (Scope.RECIPIENT, False),
    "message": (Scope.MESSAGE, True),
    "message-temporary": (Scope.MESSAGE, False),
}
LINES = [
    tuple(part.strip() for part in line.split(" | "))
    for line in (Path(__file__).parent / "replies.txt").read_text().splitlines()
    if line and not line.startswith("#")
]


def test_there_are_enough_replies_each_with_a_source() -> None:
    assert len(LINES) >= 120
    assert all(len(line) == 4 and line[3] for line in LINES)
    assert all(row.source and row.says for row in ROWS)


@pytest.mark.parametrize(("stage", "words", "scope", "source"), LINES)
def test_real_replies(stage: str, words: str, scope: str, source: str) -> None:
    reply = Reply(int(words[:3]), (words[4:],))
    known = trouble.of_reply(Stage(stage), reply)
    assert (known.scope, known.permanent) == SCOPES[scope]
    assert words[:3] in known.reason


@given(st.sampled_from(list(Stage)), st.integers(200, 599), st.text(max_size=80))
def test_only_5yz_is_ever_permanent_and_never_about_the_upstream(
    stage: Stage, code: int, text: str
) -> None:
    known = trouble.of_reply(stage, Reply(code, (text,)))
    if known.permanent:
        assert 500 <= code < 600
        assert known.scope in (Scope.RECIPIENT, Scope.MESSAGE)
    if stage in LOGIN_STAGES:
        assert known.upstream
    assert known.reason.isprintable()


@pytest.mark.parametrize("number", [errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH])
def test_a_connection_that_fails_is_told_in_the_words_of_the_system(number: int) -> None:
    error = OSError(number, "Connect call failed ('192.0.2.1', 25)")
    assert trouble.of_exception(Stage.CONNECT, error).reason == os.strerror(number)


ERRORS: list[tuple[Stage, BaseException, Scope]] = [
    (Stage.CONNECT, ConnectionRefusedError(111, "Connection refused"), Scope.UPSTREAM_FAILING),
    (Stage.CONNECT, TimeoutError(), Scope.UPSTREAM_FAILING),
    (Stage.CONNECT, socket.gaierror(-2, "Name or service not known"), Scope.UPSTREAM_FAILING),
    (Stage.HANDSHAKE, ssl.SSLCertVerificationError("bad"), Scope.UPSTREAM_PAUSED),
    (Stage.HANDSHAKE, ssl.SSLError(1, "no shared cipher"), Scope.UPSTREAM_PAUSED),
    (Stage.HANDSHAKE, ssl.SSLEOFError(8, "EOF"), Scope.UPSTREAM_FAILING),
    (Stage.HANDSHAKE, ConnectionResetError(104, "reset"), Scope.UPSTREAM_FAILING),
    (Stage.HANDSHAKE, CertificateRefused(Stage.HANDSHAKE, "changed"), Scope.UPSTREAM_PAUSED),
    (Stage.STARTTLS, LoginImpossible(Stage.STARTTLS, "not offered"), Scope.UPSTREAM_PAUSED),
    (Stage.AUTH, Refused(Stage.AUTH, Reply(535, ("no",))), Scope.UPSTREAM_PAUSED),
    (Stage.MAIL, Lost(Stage.MAIL, "gone"), Scope.MESSAGE),
    (Stage.DOT, Lost(Stage.DOT, "gone"), Scope.MESSAGE),
    (Stage.DATA, ZeroDivisionError(), Scope.MESSAGE),
    (Stage.GREETING, asyncio.IncompleteReadError(b"", 1), Scope.UPSTREAM_FAILING),
]


@pytest.mark.parametrize(("stage", "error", "scope"), ERRORS, ids=lambda value: str(value)[:40])
def test_no_exception_is_permanent(stage: Stage, error: BaseException, scope: Scope) -> None:
    known = trouble.of_exception(stage, error)
    assert (known.scope, known.permanent) == (scope, False)
    assert known.reason
