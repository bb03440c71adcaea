"""What of a message can be shown: right parts of usual mail, and nothing raised for any octets."""

from __future__ import annotations

import base64
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.intake.anew import end_of_first_received
from waypost.policy.preview import fields, shown

HTML = "<p>Grüße</p>"


def mail(*head: str, body: bytes = b"") -> bytes:
    return "".join(f"{line}\r\n" for line in head).encode() + b"\r\n" + body


@pytest.mark.parametrize(
    ("octets", "text", "html", "names"),
    [
        (mail("Subject: x", body=b"Hi\r\n"), "Hi\r\n", None, ()),
        (b"no header at all", "no header at all", None, ()),
        (
            mail("Content-Type: text/html; charset=iso-8859-1", body=HTML.encode("latin-1")),
            None, HTML, (),
        ),
        (
            mail(
                'Content-Type: text/html; charset="utf-8"', "Content-Transfer-Encoding: base64",
                body=base64.encodebytes(HTML.encode()),
            ),
            None, HTML, (),
        ),
        (
            mail(
                "Content-Type: text/html;\r\n charset=UTF-8",
                "Content-Transfer-Encoding: Quoted-Printable", body=b"<p>Gr=C3=BC=C3=\r\n=9Fe</p>",
            ),
            None, HTML, (),
        ),
        (mail("Content-Type: text/plain; charset=x-none", body=b"\xfc"), "ü", None, ()),
        (
            mail(
                'Content-Type: multipart/mixed; boundary="a"',
                body=b"--a\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n"
                b"--b\r\n\r\nplain\r\n--b\r\nContent-Type: text/html\r\n\r\n<b>x</b>\r\n--b--\r\n"
                b"--a\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment;"
                b' filename="in voice.pdf"\r\n\r\nxx\r\n'
                b"--a\r\nContent-Type: text/html; name=second.html\r\n"
                b"Content-Disposition: attachment\r\n\r\nno\r\n"
                b"--a\r\nContent-Type: image/png\r\n\r\nxx\r\n--a--\r\n",
            ),
            "plain", "<b>x</b>", ("in voice.pdf", "second.html", "image/png"),
        ),
    ],
)  # fmt: skip
def test_the_parts(
    octets: bytes, text: str | None, html: str | None, names: tuple[str, ...]
) -> None:
    found = shown(octets)
    assert (found.text, found.html, found.names) == (text, html, names)


def test_the_fields() -> None:
    octets = mail("Subject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=", "X-A : b\r\n\tc", "To: a@b.example")
    assert fields(octets) == [("Subject", "Grüße"), ("X-A", "b\tc"), ("To", "a@b.example")]
    assert len(fields(mail(*["A: b"] * 5_000))) == 200


@given(st.binary(max_size=3_000))
def test_any_octets_are_shown(octets: bytes) -> None:
    shown(octets)
    fields(octets)


@given(st.text(alphabet='-ab\r\n:;= "Content-Type: multipart/mixed; boundary=', max_size=2_000))
def test_what_looks_like_mail_is_shown(text: str) -> None:
    shown(text.encode())


def test_bombs_cost_little() -> None:
    deep = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n)
        for n in range(3_000)
    )
    wide = mail("Content-Type: multipart/mixed; boundary=a", body=b"--a\r\n\r\nx\r\n" * 100_000)
    long = mail("Content-Type: text/plain" + "; a=b" * 20_000, body=b"x")
    began = time.process_time()
    for octets in (deep, wide, long):
        shown(octets)
        fields(octets)
    assert time.process_time() - began < 2.0


@pytest.mark.parametrize(
    ("octets", "left"),
    [
        (b"Received: a\r\n b\r\n\tc\r\nFrom: x\r\n\r\n", b"From: x\r\n\r\n"),
        (b"RECEIVED: a\r\nReceived: b\r\n\r\n", b"Received: b\r\n\r\n"),
        (b"From: x\r\nReceived: b\r\n\r\n", b"From: x\r\nReceived: b\r\n\r\n"),
        (b"Received: a", b"Received: a"),
        (b"", b""),
    ],
)
def test_the_first_received_is_ours(octets: bytes, left: bytes) -> None:
    assert octets[end_of_first_received(octets) :] == left
