"""Encoded words: read like Python's reader where the word is sound, and without harm where it is
not.
"""

from __future__ import annotations

from email.header import decode_header, make_header

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.policy import words

TABLE = {
    "plain": "plain",
    "=?utf-8?q?J=C3=BCrgen?=": "Jürgen",
    "=?UTF-8?B?SsO8cmdlbg==?=": "Jürgen",
    "=?UTF-8?B?SsO8cmdlbg?=": "Jürgen",
    "=?iso-8859-1?Q?J=FCrgen_M?=": "Jürgen M",
    "=?iso-8859-1*de?Q?J=FCrgen?=": "Jürgen",
    "a =?utf-8?q?b?= c": "a b c",
    "=?utf-8?q?a?= =?utf-8?q?b?=": "ab",
    "=?utf-8?q?a?=\t =?iso-8859-1?q?=FC?=": "aü",
    "=?utf-8?q?=C3?= =?utf-8?q?=BC?=": "ü",  # cut inside a character
    "=?utf-8?q?a?=x=?utf-8?q?b?=": "axb",
    "=?utf-7?q?+AEA-?=": "@",
    "=?utf-16?b?/v8AQABh?=": "@a",
    "=?utf-16?b?AEAAYQ==?=": "\0@\0a",  # in which order nobody can know
    "=?no-such?q?a=40b?=": "a@b",
    "=?idna?q?xn--a?=": "xn--a",
    "=?utf-8?b?!!!?=": "",
    "=?utf-8?q?a": "=?utf-8?q?a",
    "=?utf-8?x?a?=": "=?utf-8?x?a?=",
}


@pytest.mark.parametrize(("text", "read"), TABLE.items())
def test_reading(text: str, read: str) -> None:
    assert words.decode(text) == read


@given(st.text(min_size=1, max_size=120).filter(lambda t: t.isprintable()))
def test_what_is_written_is_read_by_us_and_by_python(text: str) -> None:
    written = words.encode(text)
    assert written.isascii()
    assert all(len(line) <= 76 for line in written.split("\r\n"))
    unfolded = written.replace("\r\n", "")
    assert words.decode(unfolded) == text
    assert str(make_header(decode_header(unfolded))) == text


@given(st.text(alphabet="=?qQbB_utf-8AEé ", max_size=60) | st.text(max_size=60))
def test_nothing_is_raised(text: str) -> None:
    words.decode(text)
    words.decode(f"=?utf-8?b?{text}?=")
    words.decode(f"=?{text}?q?{text}?=")
