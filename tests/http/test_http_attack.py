"""Requests as an attacker, a proxy or another library would write them: each is answered, once, in
our form, and is never taken for something else.
"""

from __future__ import annotations

import json
import re
import socket
from typing import Any

import pytest

from peers.http_client import SEND, Client
from peers.recording import Recording
from peers.relay import SENDER, Relay

GOOD = json.dumps({"to": "ann@example.com", "text": "Hi."}).encode()
MESSAGES = "/api/v1/email/messages"
UPGRADES = {
    "h2c": "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n",
    "websocket": "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
}


def request(client: Client, path: str, body: bytes | None, *more: str) -> bytes:
    """The octets of a request; `more` are lines of its header. Without a body it is a GET."""
    lines = [f"{'GET' if body is None else 'POST'} {path} HTTP/1.1", "Host: x"]
    lines += [f"Authorization: Bearer {client.key}", *more]
    framed = any(line.lower().startswith(("content-length", "transfer-enc")) for line in more)
    if body is not None and not framed:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def answers(port: int, *pieces: bytes, count: int = 1) -> list[tuple[int, dict[str, str], Any]]:
    """(status, header, JSON) of so many answers to these octets on one connection."""
    found: list[tuple[int, dict[str, str], Any]] = []
    got = b""
    with socket.create_connection(("127.0.0.1", port), timeout=120) as link:
        for piece in pieces:
            link.sendall(piece)
        while len(found) < count:
            head, end, rest = got.partition(b"\r\n\r\n")
            if end and head.startswith(b"HTTP/1.1 100"):
                got = rest
                continue
            length = re.search(rb"\r\ncontent-length: (\d+)", head) if end else None
            if length and len(rest) >= int(length[1]):
                lines = head.decode("latin-1").split("\r\n")
                fields = dict(line.split(": ", 1) for line in lines[1:])
                told = json.loads(rest[: int(length[1])])
                found.append((int(lines[0].split()[1]), fields, told))
                got = rest[int(length[1]) :]
                continue
            more = link.recv(65_536)
            assert more, got
            got += more
    return found


def chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"


@pytest.mark.parametrize("offered", UPGRADES)
@pytest.mark.parametrize("shape", ["length", "chunked", "in pieces"])
def test_another_protocol_is_declined_and_the_call_is_done(
    shared: Client, book: Recording, offered: str, shape: str
) -> None:
    """Java's client offers HTTP/2 with every call over http, and goes on with HTTP/1.1."""
    more = UPGRADES[offered].strip().split("\r\n")
    if shape == "chunked":
        octets = request(shared, SEND, b"", *more, "Transfer-Encoding: chunked")
        octets += chunked(GOOD[:7], GOOD[7:])
    else:
        octets = request(shared, SEND, GOOD, *more)
    look = request(shared, "/api/v1/account", None, *more)
    pieces = [octets[:-9], octets[-9:], look] if shape == "in pieces" else [octets + look]
    sent, shown, last = answers(shared.port, *pieces, look * 2 + octets, count=5)[::2]
    assert (sent[0], shown[0], last[0]) == (200, 200, 200)
    assert sent[2]["data"]["status"] == "sent"
    assert [m.recipients for m in book.messages] == [["ann@example.com"]] * 2


def test_many_offers_on_one_connection(shared: Client) -> None:
    octets = request(shared, "/livez", None, *UPGRADES["h2c"].strip().split("\r\n"))
    octets = octets.replace(b"Authorization", b"X")
    with socket.create_connection(("127.0.0.1", shared.port), timeout=120) as link:
        link.sendall(octets * 300)
        got = b""
        while got.count(b"HTTP/1.1 200 ") < 300:
            more = link.recv(65_536)
            assert more, got[-500:]
            got += more


@pytest.mark.parametrize("name", ["Authorization", "Idempotency-Key", "Content-Encoding"])
def test_a_header_twice(shared: Client, book: Recording, name: str) -> None:
    """Each reader on the way may take another of them."""
    more = [f"{name}: identity", f"{name}: other"]
    ((status, _, told),) = answers(shared.port, request(shared, SEND, GOOD, *more))
    assert (status, told["code"]) == (400, "INVALID_REQUEST")
    assert name.lower() in told["error"]
    assert book.messages == []


def test_a_word_before_the_body(shared: Client, book: Recording) -> None:
    """What would be refused is refused before it is sent, where the client waits for a word."""
    wait = "Expect: 100-continue"
    head = request(shared, SEND, b"", wait, f"Content-Length: {26_214_401}")
    for octets in (head, head.replace(b"26214401", b"9" * 15).replace(wait.encode(), b"X: y")):
        ((status, fields, told),) = answers(shared.port, octets)
        assert (status, told["code"], fields["connection"]) == (413, "TOO_LARGE", "close")
    ((status, _, told),) = answers(shared.port, request(shared, SEND, GOOD, wait))
    assert (status, told["data"]["status"]) == (200, "sent")
    assert len(book.messages) == 1


@pytest.mark.parametrize(
    "query",
    [
        *("before=9999-12-31T23:59:59-23:59", "after=9999-12-31", "after=0001-01-01"),
        *("cursor=ffffffffffffffff", "cursor=8000000000000000", "cursor=7fffffffffffffff"),
        *("before=0001-01-01T00:00:00+23:59", "limit=99999999999999999999", "from=%00@%ff"),
        *("to=" + "a" * 30_000, "status=" + "%F0%9F%98%80" * 1_000, "cursor=%00"),
    ],
)
def test_the_ends_of_time_and_of_numbers(shared: Client, query: str) -> None:
    assert shared.get(f"{MESSAGES}?{query}").status in (200, 400)
    assert shared.get(f"/api/v1/refusals?{query}").status in (200, 400)


@pytest.mark.parametrize(
    "ident", ["f" * 16, "8" + "0" * 15, "%00", "%ff", "-1", "0" * 17, "１" * 16]
)
def test_ids_that_nothing_has(shared: Client, ident: str) -> None:
    from urllib.parse import quote

    for path in (f"{MESSAGES}/{quote(ident, safe='%')}",):
        assert shared.get(path).status == 404
        for deed in ("cancel", "retry", "resend"):
            assert shared.post(f"{path}/{deed}").status == 404


def test_a_parameter_that_is_not_there(shared: Client, book: Recording) -> None:
    """A mistyped envelope-to would send to those of the header instead."""
    octets = f"From: {SENDER}\r\nTo: ann@example.com\r\n\r\nHi.\r\n".encode()
    kind = {"Content-Type": "message/rfc822"}
    answer = shared.call("POST", "/api/v1/email/raw?envelope_to=a@b.test", octets, kind)
    assert (answer.status, answer.code) == (400, "INVALID_REQUEST")
    assert book.messages == []


@pytest.mark.parametrize(
    "body",
    [
        *(
            b'{"to":"a@b.test","text":NaN}',
            b'{"to":"a@b.test","text":1e999}',
            b"\xef\xbb\xbf" + GOOD,
        ),
        *(b'{"to":' + b"9" * 5_000 + b',"text":"x"}', GOOD.decode().encode("utf-16"), b"   "),
        *(GOOD[:-1] + b",}", GOOD + b"x", b"null", b'{"\\ud800":1,"to":"a@b.test","text":"x"}'),
        b'{"to":"a@b.test","text":"x","sendAt":"9999-12-31T23:59:59-23:59"}',
        *(json.dumps({"to": mark * 100_000, "text": "x"}).encode() for mark in '",(<:;@'),
    ],
    ids=lambda body: repr(body[:28]),
)
def test_a_body_that_is_not_meant_well(shared: Client, book: Recording, body: bytes) -> None:
    answer = shared.call("POST", SEND, body)
    assert (answer.status, book.messages) == (400, [])
    assert answer.code in ("INVALID_REQUEST", "INVALID_ADDRESS")


def test_half_a_character_in_a_batch_is_named(shared: Client, book: Recording) -> None:
    body = b'[{"to":"a@b.test","text":"x"},{"to":"a@b.test","text":"\\ud800"}]'
    answer = shared.call("POST", "/api/v1/email/batch", body)
    assert (answer.status, answer.told["field"], book.messages) == (400, "messages", [])


@pytest.mark.parametrize(("fields", "status"), [(640, 200), (700, 431)])
def test_a_header_section_of_many_fields(shared: Client, fields: int, status: int) -> None:
    """Each of 100 octets, and all of it in one piece: 65,536 are taken."""
    lines = "".join(f"X-{n:05}: {'x' * 91}\r\n" for n in range(fields))
    octets = f"GET /livez HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode()
    ((got, _, told),) = answers(shared.port, octets)
    assert got == status
    assert status == 200 or told["code"] == "INVALID_REQUEST"


def test_the_log_is_quiet_about_them(house: Relay) -> None:
    assert "request_broke" not in house.log.read_text()
