"""No field of JSON ever becomes a header line of its own: hostile text in every string field."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from peers.http_client import SEND, Client
from peers.recording import Recording

BREAKS = [
    *("\r\n", "\n", "\r", "\r\n ", "\n\t", "\r\r\n", "\0", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e"),
    *("\x85", "\u2028", "\u2029", "\x07", "\x1b[2J", "\x7f", "\t", "\x9f"),
]
PAYLOADS = [
    *(f"a{mark}Bcc: evil@example.com" for mark in BREAKS),
    *(f"{mark}Evil: 1" for mark in BREAKS),
    *(f"a{mark}" for mark in BREAKS),
]
HARMLESS = [
    "%0d%0aEvil: 1",
    "\\r\\nEvil: 1",
    "=0D=0AEvil: 1",
    "=?utf-8?q?=0D=0AEvil:_1?=",
    "…",
    "\U0001f600",
]


def file(**changed: str) -> dict[str, Any]:
    return {"attachments": [{"filename": "a", "content": "eA==", **changed}]}


FIELDS: dict[str, Any] = {
    "subject": lambda text: {"subject": text},
    "fromName": lambda text: {"fromName": text},
    "from": lambda text: {"from": f"{text} <noreply@relay.test>"},
    "to": lambda text: {"to": f"{text} <ann@example.com>"},
    "cc": lambda text: {"cc": ["bob@example.com", f'"{text}" <ann@example.com>']},
    "bcc": lambda text: {"bcc": f"ann@example.com{text}"},
    "replyTo": lambda text: {"replyTo": f"{text} <a@b.test>"},
    "headers": lambda text: {"headers": {"X-Own": text}},
    "header name": lambda text: {"headers": {f"X-Own{text}": "x"}},
    "filename": lambda text: file(filename=text),
    "contentType": lambda text: file(contentType=f"text/plain{text}"),
    "contentId": lambda text: file(contentId=text),
    "inline contentId": lambda text: {**file(contentId=text), "html": "<p>"},
}
OUTSIDE = {
    "header name": "headers",
    **dict.fromkeys(("filename", "contentType", "contentId", "inline contentId"), "attachments"),
}


def lines(octets: bytes) -> set[bytes]:
    """The names of all header lines, however a reader may split them."""
    text = octets.decode("utf-8", "replace")
    return {line.split(":")[0].strip().lower().encode() for line in text.splitlines()}


@pytest.mark.parametrize("place", FIELDS)
def test_no_new_line(shared: Client, book: Recording, place: str) -> None:
    assert len(PAYLOADS) == 60
    for payload in PAYLOADS:
        answer = shared.send(**FIELDS[place](payload))
        assert (answer.status, answer.told.get("field")) == (400, OUTSIDE.get(place, place)), (
            payload
        )
    for payload in HARMLESS:
        assert shared.send(**FIELDS[place](payload)).status in (200, 400), payload
    for message in book.messages:
        assert not lines(message.octets) & {b"evil", b"bcc"}


def test_a_field_left_empty_is_not_said(shared: Client, book: Recording) -> None:
    empty: dict[str, Any] = {"cc": "", "bcc": " ", "replyTo": "", "attachments": [], "headers": {}}
    assert shared.send(**empty).status == 200
    assert book.messages[-1].recipients == ["ann@example.com"]
    assert b"Cc:" not in book.messages[-1].octets
    told = shared.send(to="")
    assert (told.status, told.told["field"]) == (400, "to")


def test_unpaired_surrogates(shared: Client, book: Recording) -> None:
    for place, half in itertools.product(FIELDS, ("\ud800", "\udfff", "a\udc00\ud800b")):
        body = {"to": "ann@example.com", "text": "x", **FIELDS[place](f"x{half}y")}
        answer = shared.call("POST", SEND, json.dumps(body).encode())
        assert (answer.status, answer.code) == (400, "INVALID_REQUEST")
        assert answer.told["field"] == OUTSIDE.get(place, place)
    assert book.messages == []


def test_text_may_hold_them(shared: Client, book: Recording) -> None:
    text = "".join(BREAKS) + "\r\nBcc: evil@example.com"
    assert shared.send(text=text, html=text).status == 200
    head = book.messages[0].octets.split(b"\r\n\r\n")[0]
    assert not lines(head) & {b"evil", b"bcc"}
