"""No room: calls are told to come again, nothing is charged, and it ends by itself."""

from __future__ import annotations

import json
import re
import socket
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from peers.http_client import SEND, Answer, Client
from peers.need import need
from peers.process import free_port, wait_until
from peers.recording import Recording
from peers.relay import SENDER, Relay, mail
from peers.small_disk import fill, small_disk

FROM = {"from": SENDER}
ONE = {"to": "ann@example.com", "text": "x", **FROM}
REFUSE = {"RCPT": "550 5.1.1 no such user"}


def calls(client: Client, old: str) -> list[Answer]:
    """One of every kind that sends; `old` is a message whose octets are kept."""
    raw = {"Content-Type": "message/rfc822"}
    return [
        client.send(None, **FROM),
        client.send({"Idempotency-Key": "key"}, **FROM),
        client.call("POST", "/api/v1/email/batch", [ONE, ONE]),
        client.call("POST", "/api/v1/email/raw", mail(), raw),
        client.call("POST", f"/api/v1/email/messages/{old}/resend"),
    ]


def come_again(answer: Answer) -> None:
    assert (answer.status, answer.code) == (503, "UNAVAILABLE")
    assert int(answer.headers["retry-after"]) > 0


def kept(client: Client, recording: Recording) -> str:
    recording.answers.update(REFUSE)
    assert client.send(None, **FROM).status == 502
    recording.answers.clear()
    return str(client.get("/api/v1/email/messages").data[0]["id"])


@pytest.mark.slow
def test_the_disk_is_nearly_full(
    make_relay: Callable[..., Relay], recording: Recording, tmp_path: Path
) -> None:
    with small_disk(need, tmp_path / "relay0" / "data") as filler:
        relay = make_relay(settings="inline_wait = 30")
        client = Client(relay.http, relay.furnish(recording.port))
        old = kept(client, recording)
        fill(filler)
        wait_until(lambda: client.send(None, **FROM).status == 503, "the look at the disk", 60)
        before, sent = relay.ledger(), len(recording.messages)
        for answer in calls(client, old):
            come_again(answer)
        assert client.get("/api/v1/account").status == 200  # what is there can be read
        assert (relay.ledger(), len(recording.messages)) == (before, sent)
        assert relay.refusals()[0]["reason"] == "disk_or_memory_full"
        filler.unlink()
        wait_until(lambda: client.send(None, **FROM).status == 200, "room again", 60)
        assert [answer.status for answer in calls(client, old)] == [200] * 5
        relay.audit()
        client.close()
        assert relay.stop() == 0


def used(metrics: int) -> int:
    """Octets of unfinished messages in memory."""
    with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics", timeout=30) as page:
        text = page.read().decode()
    found = re.search(r"^waypost_message_memory_bytes (\S+)$", text, re.MULTILINE)
    assert found is not None
    return int(float(found[1]))


def test_the_memory_of_calls_is_used_up(
    make_relay: Callable[..., Relay], recording: Recording
) -> None:
    metrics = free_port()
    listen = f'metrics = ["127.0.0.1:{metrics}"]'
    relay = make_relay(
        settings="inline_wait = 30", tables={"limits": "memory_bytes = 1048576", "listen": listen}
    )
    key = relay.furnish(recording.port)
    client = Client(relay.http, key)
    old = kept(client, recording)
    before = relay.ledger()
    body = json.dumps(ONE | {"text": "x" * 255_000}).encode()
    head = (
        f"POST {SEND} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    held = [socket.create_connection(("127.0.0.1", relay.http), timeout=60) for _ in range(4)]
    for link in held:
        link.sendall(head + body[:-1])

    def call(**more: Any) -> Answer:
        return client.send(None, **FROM, text="x" * 50_000, **more)

    wait_until(lambda: used(metrics) == 4 * len(body) - 4, "what is held to be counted", 60)
    come_again(call())
    taken = len(recording.messages)
    for _ in range(5):
        come_again(call())
    assert client.send(None, **FROM).status == 200  # a small one that says so finds room
    assert len(recording.messages) == taken + 1
    assert relay.refusals()[0]["reason"] == "disk_or_memory_full"
    assert len(relay.ledger()) == len(before) + taken + 1
    for link in held:
        link.sendall(body[-1:])
        assert link.recv(100).startswith(b"HTTP/1.1 200 ")
        link.close()
    assert call().status == 200
    assert client.call("POST", f"/api/v1/email/messages/{old}/resend").status == 200
    relay.audit()
    client.close()


@pytest.mark.parametrize("shape", ["chunked", "more than a small one"])
def test_what_does_not_fit_into_memory_goes_to_disk(
    make_relay: Callable[..., Relay], recording: Recording, shape: str
) -> None:
    """A call that was let in is not turned away for what came meanwhile."""
    relay = make_relay(settings="inline_wait = 30", tables={"limits": "memory_bytes = 1048576"})
    key = relay.furnish(recording.port)
    body = json.dumps(ONE | {"text": "x" * 255_000}).encode()
    how = "Transfer-Encoding: chunked" if shape == "chunked" else f"Content-Length: {len(body)}"
    head = (
        f"POST {SEND} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\n{how}\r\n\r\n"
    ).encode()
    octets = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if shape == "chunked" else body
    links = [socket.create_connection(("127.0.0.1", relay.http), timeout=60) for _ in range(8)]
    for link in links:
        link.sendall(head)
    for link in links:
        link.sendall(octets[:-1])
    for link in links:
        link.sendall(octets[-1:])
    told = [link.recv(100).split(b" ")[1] for link in links]
    assert set(told) <= {b"200", b"503"}
    assert relay.credits() == 1000 - told.count(b"200")
    assert told.count(b"200") >= 4
    for link in links:
        link.close()
    relay.audit()
