"""How a notice reads, whatever clients and upstreams said."""

from __future__ import annotations

import email
import email.policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.core.address import parse
from waypost.policy.header import Fields, scan, split
from waypost.store.read.owed import Failed, Owed
from waypost.watch.tell.wording import Facts, advice, compose

GONE = Failed("bob@example.com", 550, "5.1.1 no such user")
FIELDS = [
    "From",
    "To",
    "Subject",
    "Auto-Submitted",
    "X-Auto-Response-Suppress",
    "In-Reply-To",
    "References",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
]


def facts(owed: Owed, *failed: Failed, upstream: str = "main", host: str = "r.test") -> Facts:
    to = parse("owner@example.org")
    return Facts(owed, failed or (GONE,), upstream, host, parse("a@relay.test"), to)


@pytest.mark.parametrize(
    ("code", "text", "word"),
    [
        (550, "5.1.1 gone", "Check the address"),
        (550, "No such user here", "Check the address"),
        (552, "5.2.2 full", "mailbox is full"),
        (552, "5.3.4 big", "smaller message"),
        (554, "5.7.1 looks like spam", "did not want it"),
        (0, "queued for too long: 451 later", "for days"),
        (0, "tried for too long: 451 later", "for days"),
        (0, "uncertain: the connection was lost", "may have arrived"),
        (554, "no", "words above"),
    ],
)
def test_what_to_do_about_it(code: int, text: str, word: str) -> None:
    assert word in advice(Failed("b@x.org", code, text))


def test_many_recipients_are_counted_not_listed() -> None:
    owed = Owed(1, 1, "acme", True, "a@x.org", "s", "m@x", 100, 90)
    head, body = compose(facts(owed, *[GONE] * 30))
    assert body.decode().count("Not delivered to bob@") == 20
    assert "and 70 more" in body.decode()
    assert len(head + body) < 20_000


said = st.text(max_size=400)


@given(said, said, said, said, said, st.integers(0, 599))
def test_whatever_was_said_the_fields_are_ours_and_the_lines_end_well(
    subject: str, message_id: str, words: str, upstream: str, host: str, code: int
) -> None:
    owed = Owed(1, 1, "acme", True, "a@x.org", subject, message_id, 3, 1)
    failed = Failed("bob@example.com", code, words)
    head, body = compose(facts(owed, failed, upstream=upstream, host=host))
    assert isinstance(scan(head), Fields)
    assert split(head + body) == (head, body)
    message = email.message_from_bytes(head + body, policy=email.policy.SMTP)
    assert [name for name in message if name not in ("In-Reply-To", "References")] == [
        name for name in FIELDS if name not in ("In-Reply-To", "References")
    ]
    assert message["To"] in ("<owner@example.org>", "owner@example.org")
    for line in (head + body).split(b"\r\n"):
        assert len(line) <= 998
        assert b"\r" not in line and b"\n" not in line and b"\0" not in line
    assert (head + body).isascii()
    assert message["Subject"].startswith("Not delivered: ")
