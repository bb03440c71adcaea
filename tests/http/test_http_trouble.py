"""What must be survived over HTTP: full houses, a store that is away, requests that are not meant
well, and twenty of the largest calls at once.
"""

from __future__ import annotations

import base64
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from peers.http_client import SEND, Answer, Client
from peers.recording import Recording
from peers.relay import SENDER, Relay, mail
from peers.upstreams import SmtpSink
from stories.test_story_memory import memory_kb

MIB = 1024 * 1024
PASSWD = Path("/etc/passwd")
FROM = {"from": SENDER}


def raw(port: int, octets: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the answer to these very octets."""
    with socket.create_connection(("127.0.0.1", port), timeout=120) as link:
        link.sendall(octets)
        got = http.client.HTTPResponse(link)
        got.begin()
        return got.status, {k.lower(): v for k, v in got.getheaders()}, got.read()


def head(key: str, *more: str) -> bytes:
    lines = [f"POST {SEND} HTTP/1.1", "Host: x", f"Authorization: Bearer {key}"]
    return "\r\n".join([*lines, "Content-Type: application/json", *more, "", ""]).encode()


def test_a_full_house(make_relay: Callable[..., Relay], recording: Recording) -> None:
    relay = make_relay(settings="inline_wait = 30", tables={"limits": "sessions_per_address = 2"})
    key = relay.furnish(recording.port)
    slow = [socket.create_connection(("127.0.0.1", relay.http), timeout=120) for _ in range(2)]
    for link in slow:
        link.sendall(head(key, "Content-Length: 50") + b"{")
    client = Client(relay.http, key)
    answer = _until(client, 503)
    assert (answer.code, answer.headers["retry-after"]) == ("UNAVAILABLE", "30")
    token = relay.cli("token", "create")["token"]
    managed = client.call("GET", "/api/v1/manage/audit", None, {"Authorization": f"Bearer {token}"})
    assert (managed.status, managed.code) == (503, "UNAVAILABLE")
    for link in slow:
        link.close()
    assert _until(client, 200).data["status"] == "sent"
    client.close()
    assert relay.credits() == 1000 - len(recording.messages)
    relay.audit()


def _until(client: Client, status: int) -> Answer:
    """A call beside those that come and go; the first answer of that status."""
    for _ in range(100):
        answer = client.send(None, **FROM)
        if answer.status == status:
            return answer
    raise AssertionError(answer)


@pytest.mark.slow
def test_the_store_is_away(make_relay: Callable[..., Relay], recording: Recording) -> None:
    relay = make_relay(settings="inline_wait = 30")
    client = Client(relay.http, relay.furnish(recording.port))
    assert client.send(None, **FROM).status == 200
    db = apsw.Connection(str(relay.data / "waypost.db"))
    db.execute("BEGIN IMMEDIATE")
    away = client.send(None, **FROM)
    assert (away.status, away.code) == (503, "UNAVAILABLE")
    assert int(away.headers["retry-after"]) > 0
    db.execute("ROLLBACK")
    db.close()
    assert client.send(None, **FROM).status == 200
    client.close()
    assert (relay.credits(), len(recording.messages)) == (998, 2)
    relay.audit()


@pytest.mark.parametrize(
    "more",
    [
        ["Content-Length: 5", "Content-Length: 6"],
        ["Content-Length: 5", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: chunked, identity"],
        ["Content-Length: -5"],
        ["Content-Length: 0x5"],
        ["Content-Length : 5"],
        ["X: a\r\n b"],
        ["X\0: a"],
    ],
)
def test_a_request_of_two_minds(shared: Client, book: Recording, more: list[str]) -> None:
    body = b'0\r\n\r\nPOST /api/v1/email/send HTTP/1.1\r\nHost: x\r\n\r\n{"to":"evil@example.com"}'
    status, _, answer = raw(shared.port, head(shared.key, *more) + body)
    assert status == 400
    assert json.loads(answer)["code"] == "INVALID_REQUEST"
    assert book.messages == []


def test_ranges_and_depth(house: Relay, shared: Client, book: Recording) -> None:
    many = ",".join(f"{n}-" for n in range(5_000))
    status, headers, body = raw(
        house.http,
        f"GET /openapi.json HTTP/1.1\r\nHost: x\r\nRange: bytes={many}\r\n\r\n".encode(),
    )
    assert (status, "content-range" in headers) == (200, False)
    assert json.loads(body)["openapi"]
    for body in (
        b"[" * 1_000_000,
        b'{"a":' * 1_000_000,
        b'{"to":"a@example.com","text":"x","headers":' + b'{"a":' * 500_000,
        b'{"to":' + b"[" * 500_000 + b"]" * 500_000 + b"}",
        b'{"to":"a@example.com","text":"x","cc":' + b"1" * 1_000_000 + b"}",
    ):
        answer = shared.call("POST", SEND, body)
        assert (answer.status, answer.code) == (400, "INVALID_REQUEST")
    twice = b'{"to":"evil@example.com","to":"ann@example.com","text":"x"}'
    assert shared.call("POST", SEND, twice).data["recipients"] == 1
    assert [m.recipients for m in book.messages] == [["ann@example.com"]]


@pytest.mark.parametrize(
    "file",
    [
        {"filename": "a", "path": str(PASSWD)},
        {"filename": "a", "href": "http://127.0.0.1:1/"},
        {"filename": "a", "url": "http://127.0.0.1:1/", "content": "eA=="},
        {"filename": "a", "content": {"path": str(PASSWD)}},
        {"path": str(PASSWD)},
        {"filename": "a", "content": f"file://{PASSWD}"},
    ],
)
def test_no_file_is_fetched(shared: Client, book: Recording, file: dict[str, Any]) -> None:
    answer = shared.send(attachments=[file])
    assert (answer.status, answer.code) == (400, "INVALID_REQUEST")
    text = shared.send(text=str(PASSWD), html=f'<img src="file://{PASSWD}">', attachments=None)
    assert text.status == 200
    assert PASSWD.read_bytes().splitlines()[0] not in book.messages[0].octets


def test_the_same_by_either_way(
    client: Client, house: Relay, account: str, book: Recording
) -> None:
    letter = mail(subject="Hello", body="Hi.\r\n")
    assert house.submit(client.key, letter, ["ann@example.com"])[0] == 250
    assert client.send(None, **{"from": f"Acme <{SENDER}>"}).status == 200
    assert (house.credits(account), len(book.messages)) == (998, 2)
    by_http, by_smtp = house.messages("--account", account)
    differ = {name for name in by_http if by_http[name] != by_smtp[name]}
    assert differ <= {"id", "createdAt", "channel", "octets"}
    assert {by_http["channel"], by_smtp["channel"]} == {"http", "smtp"}
    lines = [(line["amount"], line["reason"]) for line in house.ledger(account)]
    assert lines[1:] == [(-1, "debit"), (-1, "debit")]


@pytest.mark.slow
def test_memory_of_twenty_large_calls(make_relay: Callable[..., Relay], tmp_path: Path) -> None:
    sink = SmtpSink(tmp_path, keep=False)
    try:
        relay = make_relay(settings="inline_wait = 30", tables={"limits": "rate_per_minute = 0"})
        key = relay.furnish(sink.port)
        client = Client(relay.http, key)
        assert client.send(None, **FROM).status == 200
        idle = memory_kb(relay.pid)
        half = base64.b64encode(bytes(9 * MIB)).decode()
        files = [{"filename": f"{n}.bin", "content": half} for n in range(2)]
        call = {**FROM, "to": "ann@example.com", "text": "", "attachments": files}
        body = json.dumps(call).encode()
        statuses: list[int] = []
        start = threading.Barrier(20)

        def one() -> None:
            own = Client(relay.http, key)
            start.wait(60)
            statuses.append(own.call("POST", SEND, body).status)
            own.close()

        threads = [threading.Thread(target=one) for _ in range(20)]
        for thread in threads:
            thread.start()
        most = idle
        while any(thread.is_alive() for thread in threads):
            most = max(most, memory_kb(relay.pid))
            threads[0].join(0.01)
            next((t for t in threads if t.is_alive()), threads[0]).join(0.02)
        client.close()
        assert set(statuses) <= {200, 202, 503}, statuses
        accepted = len(statuses) - statuses.count(503)
        assert accepted >= 10
        assert relay.credits() == 999 - accepted
        assert most - idle < 600 * 1024, (most - idle) // 1024
    finally:
        sink.stop()


@pytest.mark.slow
def test_a_header_that_never_ends(house: Relay) -> None:
    """One octet now and then keeps a connection open for half a minute, not for ever."""
    with socket.create_connection(("127.0.0.1", house.http), timeout=2) as link:
        link.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nX: ")
        began = time.monotonic()
        ended = False
        while not ended and time.monotonic() - began < 120:
            try:
                link.sendall(b"a")
                ended = link.recv(1) == b""
            except TimeoutError:
                continue
            except OSError:
                ended = True
        assert ended and time.monotonic() - began > 20
