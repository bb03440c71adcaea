"""The size of the text that people read, and that no shape of MIME breaks or evades the walk."""

from __future__ import annotations

import base64
import mmap
import quopri
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.policy.size import DEPTH, LOOKALIKES, PARTS, text_octets

LOTS = 1 << 40


def head(kind: str, encoding: str = "7bit", disposition: str = "") -> bytes:
    lines = f"Content-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n"
    if disposition:
        lines += f"Content-Disposition: {disposition}\r\n"
    return lines.encode() + b"\r\n"


def multipart(boundary: str, *parts: bytes) -> bytes:
    b = boundary.encode()
    return b"".join(b"--" + b + b"\r\n" + part + b"\r\n" for part in parts) + b"--" + b + b"--\r\n"


def mixed(boundary: str) -> bytes:
    return head(f'multipart/mixed; boundary="{boundary}"')


def test_no_headers_is_text() -> None:
    assert text_octets(b"\r\n", b"x" * 100, 0, LOTS) == 100
    assert text_octets(b"", b"", 0, LOTS) == 0


@given(st.binary(max_size=300))
def test_encodings(data: bytes) -> None:
    encoded = base64.encodebytes(data).replace(b"\n", b"\r\n")
    assert text_octets(head("text/html", "BASE64"), encoded, 0, LOTS) == len(data)
    text = data.replace(b"\r", b"").replace(b"\n", b"")
    quoted = quopri.encodestring(text).replace(b"\n", b"\r\n")
    assert text_octets(head("text/plain", "quoted-printable"), quoted, 0, LOTS) == len(text)


def test_large_encoded_parts_are_counted_over_piece_edges() -> None:
    data = bytes(range(256)) * 16_000
    encoded = base64.encodebytes(data).replace(b"\n", b"\r\n")
    assert text_octets(head("text/plain", "base64"), encoded, 0, LOTS) == len(data)
    quoted = b"=41=\r\n" * 700_000
    assert text_octets(head("text/plain", "quoted-printable"), quoted, 0, LOTS) == 700_000


@pytest.mark.parametrize(
    ("part", "octets"),
    [
        (head("text/plain") + b"12345", 5),
        (b"\r\n12345", 5),
        (head("TEXT/HTML; charset=utf-8") + b"12345", 5),
        (head("text/plain", disposition="attachment; filename=a.txt") + b"12345", 0),
        (head("text/plain", disposition="ATTACHMENT") + b"12345", 0),
        (head("text/plain", disposition="inline") + b"12345", 5),
        (head("application/pdf") + b"12345", 0),
        (head("image/png", "base64") + b"QUJD", 0),
        (head("message/rfc822") + b"Subject: x\r\n\r\n12345", 0),
        (head("multipart/mixed") + b"12345", 5),
    ],
)
def test_which_parts_count(part: bytes, octets: int) -> None:
    other = head("application/zip", "base64", "attachment") + b"QUJD" * 50
    body = b"preamble\r\n" + multipart("b1", other, part, other) + b"epilogue"
    assert text_octets(mixed("b1"), body, 0, LOTS) == octets
    nested = multipart("b0", mixed("b1") + body, head("text/plain") + b"z")
    assert text_octets(mixed("b0"), nested, 0, LOTS) == octets + 1


def test_odd_boundaries() -> None:
    body = b"--a b\r\n\r\n123\r\n--a bc\r\n--a b  \r\n\r\n--a b--\r\nepilogue"
    assert text_octets(mixed("a b"), body, 0, LOTS) == len(b"123\r\n--a bc")
    unquoted = head("multipart/mixed;\r\n\tboundary=xy; x=y")
    assert text_octets(unquoted, multipart("xy", b"\r\n1", b"\r\n22"), 0, LOTS) == 3
    assert text_octets(unquoted, b"--xy\r\n\r\n123", 0, LOTS) == 3
    assert text_octets(unquoted, b"no boundary at all", 0, LOTS) == 18
    assert text_octets(unquoted, b"--xy\r\n--xy\r\n--xy--", 0, LOTS) == 0


def test_a_mapped_file_from_an_offset(tmp_path: Path) -> None:
    path = tmp_path / "rest"
    path.write_bytes(b"\xff" * 77 + multipart("m", head("text/plain") + b"12345"))
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert text_octets(mixed("m"), mapped, 77, LOTS) == 5


def test_depth_is_bounded_and_what_is_deeper_counts() -> None:
    text = head("text/plain", disposition="attachment") + b"x" * 1_000
    for depth in range(3_000):
        text = mixed(f"b{depth}") + multipart(f"b{depth}", text) if depth < 200 else text
    outer, _, body = text.partition(b"\r\n\r\n")
    assert text_octets(outer + b"\r\n\r\n", body, 0, LOTS) > 1_000
    shallow = head("text/plain", disposition="attachment") + b"x" * 1_000
    for depth in range(DEPTH):
        shallow = mixed(f"b{depth}") + multipart(f"b{depth}", shallow)
    outer, _, body = shallow.partition(b"\r\n\r\n")
    assert text_octets(outer + b"\r\n\r\n", body, 0, LOTS) == 0


def test_parts_past_the_bound_do_not_hide_text() -> None:
    tiny = head("image/png") + b"x"
    body = multipart("p", *[tiny] * (PARTS + 100), head("text/plain") + b"y" * 5_000)
    assert text_octets(mixed("p"), body, 0, LOTS) >= 5_000
    within = multipart("p", *[tiny] * (PARTS - 2), head("text/plain") + b"y" * 5_000)
    assert text_octets(mixed("p"), within, 0, LOTS) == 5_000


def test_lines_that_look_like_boundaries_are_bounded() -> None:
    body = b"--p\r\n\r\n" + b"--px\r\n" * (LOOKALIKES + 5) + b"--p--\r\n"
    assert text_octets(mixed("p"), body, 0, LOTS) >= 6 * LOOKALIKES


def test_counting_ends_at_the_limit() -> None:
    body = multipart("p", *[b"\r\n" + b"x" * 100] * 50)
    assert 100 < text_octets(mixed("p"), body, 0, 100) <= 300


def test_an_rfc822_chain_and_a_flood_of_parameters() -> None:
    chain = head("message/rfc822") * 2_000
    assert text_octets(head("message/rfc822"), chain, 0, LOTS) == 0
    flood = "multipart/mixed" + "; a*0*=x" * 4_000 + "; boundary=q"
    assert text_octets(head(flood), multipart("q", b"\r\n1"), 0, LOTS) == 1


PIECES = [b"--b\r\n", b"--b--\r\n", b"\r\n", b"x", b"--b"]
NESTED = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"


@given(st.lists(st.sampled_from([*PIECES, NESTED]), max_size=30))
def test_never_more_than_the_octets_themselves(pieces: list[bytes]) -> None:
    body = b"".join(pieces)
    assert 0 <= text_octets(mixed("b"), body, 0, LOTS) <= len(body)
