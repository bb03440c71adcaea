"""The composer, by reading back what it wrote: any letter comes out of the standard library's
parser as it went in, in lines of ASCII that no server cuts.
"""

from __future__ import annotations

import email
import email.header
import email.policy
import re
from email.message import EmailMessage
from urllib.parse import unquote

import pytest
from hypothesis import given

from peers.letters import LETTERS, LINE, lines_of, written
from waypost.intake.http.encode import parameter, text_field
from waypost.intake.http.letter import Letter


def payload(part: EmailMessage) -> bytes:
    octets = part.get_payload(decode=True)
    assert isinstance(octets, bytes)
    return octets


def decoded(value: object) -> str:
    return str(email.header.make_header(email.header.decode_header(re.sub("\r\n", "", str(value)))))


@given(LETTERS)
def test_read_back(letter: Letter) -> None:
    octets = written(letter)
    assert octets.isascii()
    rows = octets.split(b"\r\n")
    assert b"\r" not in b"".join(rows)
    assert b"\n" not in b"".join(rows)
    assert max(map(len, rows)) <= 998
    message = email.message_from_bytes(octets, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    parts = [part for part in message.walk() if not part.is_multipart()]
    assert not any(part.defects for part in message.walk())
    texts = [t for t in (letter.text, letter.html) if t is not None]
    for part, text in zip(parts, texts, strict=False):
        assert lines_of(payload(part).decode()) == lines_of(text)
    shown = [file for file in letter.files if file.content_id]
    apart = [file for file in letter.files if not file.content_id]
    assert len(parts) == len(texts) + len(letter.files)
    for part, file in zip(parts[len(texts) :], [*shown, *apart], strict=True):
        assert payload(part) == file.content
        assert part.get_content_type() == file.content_type.partition(";")[0]
        assert part["Content-ID"] == (f"<{file.content_id}>" if file.content_id else None)


@given(LINE)
def test_an_unstructured_field(text: str) -> None:
    field = text_field("Subject", text)
    raw = email.message_from_string(field + "\r\n", policy=email.policy.compat32)
    assert raw.keys() == ["Subject"]
    assert decoded(raw["Subject"]).strip() == text.strip()
    for row in field.split("\r\n")[1:-1]:
        assert row.startswith(" ") and row.strip()


@pytest.mark.parametrize("text", ["a" * 5000, "a" + " " * 5000 + "b", "a " * 2000 + "b" * 899])
def test_no_line_of_a_field_is_too_long(text: str) -> None:
    field = text_field("X" * 76, text)
    assert max(map(len, field.split("\r\n"))) <= 998
    assert decoded(field.partition(":")[2]).strip() == text


def bracketed(name: str) -> bool:
    """What the reader of these tests takes off, though it belongs to the name."""
    return name.startswith("<") and name.endswith(">")


@given(LINE.map(str.strip).filter(lambda name: bool(name) and not bracketed(name)))
def test_a_parameter(name: str) -> None:
    field = f"Content-Disposition: attachment{parameter('filename', name)}\r\n\r\n"
    assert max(map(len, field.split("\r\n"))) <= 100
    read = email.message_from_string(field, policy=email.policy.compat32)
    assert read.get_filename() == name
    for _, piece in re.findall(r"filename\*(\d+\*)?=(?:utf-8'')?([^;\r]+)", field):
        unquote(piece, errors="strict")  # some readers decode each piece alone
