"""The header section: where it ends, which fields it has, what is refused, and that shapes cost no
more.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.core.verdict import Reason, Refusal
from waypost.policy import header
from waypost.policy.header import HEAD_OCTETS, Fields, head_end, scan, split, unfolded

OK = b"From: a@b\r\nTo: c@d\r\n\r\n"


def fields(head: bytes) -> Fields:
    got = scan(head)
    assert isinstance(got, Fields), got
    return got


@pytest.mark.parametrize(
    ("data", "head"),
    [
        (OK + b"body\r\n", OK),
        (OK, OK),
        (b"From: a@b\r\n", b"From: a@b\r\n"),
        (b"", b""),
        (b"\r\nbody\r\n\r\nmore\r\n", b"\r\n"),
        (b"\r\n", b"\r\n"),
    ],
)
def test_split(data: bytes, head: bytes) -> None:
    assert split(data) == (head, data[len(head) :])
    assert isinstance(scan(head), Fields)


@given(st.integers(1, 30))
def test_the_end_is_found_across_chunks(step: int) -> None:
    data = OK + b"body\r\n\r\n"
    seen = bytearray()
    for at in range(0, len(data), step):
        before = len(seen)
        seen += data[at : at + step]
        end = head_end(seen, before)
        assert end == (len(OK) if len(seen) >= len(OK) else -1)
        if end >= 0:
            break


@pytest.mark.parametrize(
    "head",
    [
        *(b"Subject: a" + bytes([c]) + b"Bcc: x@y\r\n\r\n" for c in b"\x0b\x0c\x1c\x1d\x1e"),
        b" From: a@b\r\n\r\n",
        b"\tFrom: a@b\r\n\r\n",
        b"From: a@b\r\nno colon here\r\n\r\n",
        b"hello world\r\n",
        b"From: a@b\r\n: no name\r\n\r\n",
        b"From\r\n : a@b\r\n\r\n",
        b"To: a@b\r\n" * (header.READ_FIELDS + 1) + b"\r\n",
    ],
)
def test_malformed(head: bytes) -> None:
    got = scan(head)
    assert isinstance(got, Refusal)
    assert got.reason is Reason.MALFORMED
    assert got.smtp_line.startswith("550 5.6.0 ")


def test_the_line_without_a_colon_is_named() -> None:
    got = scan(b"From: a@b\r\nTo: a@b\r\n (folded)\r\noops\r\n\r\n")
    assert isinstance(got, Refusal)
    assert "Line 4 " in got.text


@pytest.mark.parametrize(
    "line", [b"From :", b"from\t \t:", b"FROM:", b"fRoM   :", b"From:\r\n", b"From :\r\n\r"]
)
def test_a_from_in_any_dress_is_a_from(line: bytes) -> None:
    head = line.rstrip(b"\r\n") + b" a@b\r\n\r\n"
    assert [f.name for f in fields(head).read] == [b"from"]


def test_values_are_unfolded_and_fields_keep_their_place() -> None:
    head = b"X-A: 1\r\nTo: a@b,\r\n\tc@d\r\n  \r\n e@f\r\nBcc : x@y\r\n\r\n"
    got = fields(head)
    to, bcc = got.read
    assert unfolded(head[to.value : to.end]) == " a@b,\tc@d   e@f"
    assert head[to.start : to.end] == b"To: a@b,\r\n\tc@d\r\n  \r\n e@f\r\n"
    assert head[bcc.start : bcc.end] == b"Bcc : x@y\r\n"
    assert head[got.end :] == b"\r\n"


@pytest.mark.parametrize(
    "name", [b"__proto__", b"constructor", b"__class__", b"\xff\xfe", b"x" * 900_000, b"From joe"]
)
def test_odd_names_are_data(name: bytes) -> None:
    assert fields(name + b": x\r\n\r\n").read == ()


def test_a_head_past_a_megabyte() -> None:
    assert isinstance(scan(b"X: " + b"x" * (HEAD_OCTETS - 7) + b"\r\n\r\n"), Fields)
    got = scan(b"X: " + b"x" * (HEAD_OCTETS - 6) + b"\r\n\r\n")
    assert isinstance(got, Refusal)
    assert got.smtp_line.startswith("550 5.3.4 ")


def test_a_megabyte_of_odd_fields_leaves_nothing_in_memory() -> None:
    assert fields(b"a:\r\n" * (HEAD_OCTETS // 4)).read == ()


RECEIVED = b"Received: from x by %s with ESMTP id 1; Mon, 1 Jan 2024 00:00:00 +0000\r\n"


@pytest.mark.parametrize(
    ("foreign", "own", "loops"),
    [(50, 0, False), (51, 0, True), (0, 3, False), (0, 4, True), (46, 4, True), (47, 3, False)],
)
def test_loops(foreign: int, own: int, loops: bool) -> None:
    head = RECEIVED % b"mx.example" * foreign + RECEIVED % b"Relay.Example.com" * own
    got = header.loop(fields(head), "relay.example.com")
    assert (got is not None) == loops
    if got:
        assert got.smtp_line.startswith("550 5.4.6 ")


def test_a_host_that_only_ends_like_ours_is_not_ours() -> None:
    head = RECEIVED % b"relay.example.com.evil" * 9 + RECEIVED % b"xrelay.example.com" * 9
    assert header.loop(fields(head), "relay.example.com") is None


@given(st.binary(max_size=200))
def test_any_octets_are_fields_or_a_refusal(head: bytes) -> None:
    got = scan(head.replace(b"\r", b"").replace(b"\n", b"\r\n"))
    if isinstance(got, Fields):
        assert all(f.start < f.value <= f.end for f in got.read)
