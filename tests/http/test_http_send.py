"""Sending over a real socket: the answers of the table, the charge, and what the upstream gets."""

from __future__ import annotations

import base64
import email
import email.policy
import http.client
import json
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from peers.http_client import SEND, Answer, Client
from peers.process import wait_until
from peers.recording import Recording
from peers.relay import SENDER, Relay, mail

MIB = 1024 * 1024


def refused(answer: Answer, status: int, code: str, field: str | None = None) -> None:
    assert (answer.status, answer.code, answer.told.get("field")) == (status, code, field)


def test_sent(client: Client, book: Recording, house: Relay, account: str) -> None:
    answer = client.send(to=["Ann <ann@example.com>", "ANN@example.com"], bcc="blind@example.com")
    assert answer.status == 200
    data = answer.data
    assert data["status"] == "sent"
    assert (data["recipients"], data["creditsCharged"], data["from"]) == (2, 2, SENDER)
    (caught,) = book.messages
    assert caught.recipients == ["ann@example.com", "blind@example.com"]
    assert b"blind" not in caught.octets
    read = email.message_from_bytes(caught.octets, policy=email.policy.default)
    assert read["Message-ID"] == f"<{data['smtpMessageId']}>"
    assert len(read.get_all("Date", [])) == 1
    assert house.credits(account) == 998
    assert house.message(data["messageId"])["channel"] == "http"


def test_every_refusal_of_the_upstream(
    client: Client, book: Recording, house: Relay, account: str
) -> None:
    book.answers["RCPT"] = "550 5.1.1 no such user"
    answer = client.send()
    refused(answer, 502, "UPSTREAM_REFUSED")
    assert "550 5.1.1 no such user" in answer.told["error"]
    assert house.credits(account) == 1000
    book.answers["RCPT"] = "451 4.2.0 later"
    answer = client.send()
    assert answer.status == 202
    assert answer.data["status"] == "queued"
    assert answer.data["retryHint"]["nextAt"].endswith("Z")
    assert "later" in answer.data["retryHint"]["reason"]
    assert house.credits(account) == 999
    book.answers["RCPT"] = lambda line: "550 5.1.1 no" if "bad@" in line else "250 ok"
    answer = client.send(to=["good@example.com", "bad@example.com"])
    assert (answer.status, answer.data["status"], answer.data["creditsCharged"]) == (
        200,
        "partial",
        1,
    )
    assert house.credits(account) == 998


@pytest.mark.parametrize(
    ("fields", "status", "code", "field"),
    [
        ({"to": None}, 400, "INVALID_REQUEST", "to"),
        ({"to": []}, 400, "INVALID_REQUEST", "to"),
        ({"to": ["a@b.test", 1]}, 400, "INVALID_REQUEST", "to"),
        ({"to": "nobody"}, 400, "INVALID_ADDRESS", "to"),
        ({"cc": "a b@c.test"}, 400, "INVALID_ADDRESS", "cc"),
        ({"bcc": "ü@c.test"}, 400, "INVALID_ADDRESS", "bcc"),
        ({"to": [f"a{n}@b.test" for n in range(101)]}, 400, "INVALID_REQUEST", "to"),
        ({"text": None}, 400, "INVALID_REQUEST", "text"),
        ({"subject": 5}, 400, "INVALID_REQUEST", "subject"),
        ({"from": "other@example.com"}, 400, "SENDER_NOT_ALLOWED", "from"),
        ({"from": "x"}, 400, "INVALID_ADDRESS", "from"),
        ({"fromName": "ceo@bank.test"}, 400, "SENDER_NOT_ALLOWED", "from"),
        ({"replyTo": "x" * 321}, 400, "INVALID_REQUEST", "replyTo"),
        ({"replyTo": "x"}, 400, "INVALID_ADDRESS", "replyTo"),
        ({"headers": {"Bcc": "a@b.test"}}, 400, "INVALID_REQUEST", "headers"),
        ({"headers": {"Content-Type": "text/html"}}, 400, "INVALID_REQUEST", "headers"),
        ({"headers": {"x-waypost-a": "1"}}, 400, "INVALID_REQUEST", "headers"),
        ({"headers": {"A:B": "1"}}, 400, "INVALID_REQUEST", "headers"),
        ({"headers": {"A B": "1"}}, 400, "INVALID_REQUEST", "headers"),
        ({"headers": {"": "1"}}, 400, "INVALID_REQUEST", "headers"),
        ({"headers": {"x" * 77: "1"}}, 400, "INVALID_REQUEST", "headers"),
        ({"sendAt": "tomorrow"}, 400, "INVALID_REQUEST", "sendAt"),
        ({"sendAt": "2030-01-01T00:00:00"}, 400, "INVALID_REQUEST", "sendAt"),
        ({"sendAt": "2099-01-01T00:00:00Z"}, 400, "INVALID_REQUEST", "sendAt"),
        (
            {"attachments": [{"filename": "a", "path": "/etc/passwd"}]},
            400,
            "INVALID_REQUEST",
            "attachments",
        ),
        ({"attachments": [{"filename": "a"}]}, 400, "INVALID_REQUEST", "attachments"),
        (
            {"attachments": [{"filename": "a", "content": "?"}]},
            400,
            "INVALID_REQUEST",
            "attachments",
        ),
        ({"bbc": "a@b.test"}, 400, "INVALID_REQUEST", "bbc"),
        *(
            (
                {"attachments": [{"filename": "a", "content": "", "contentType": kind}]},
                400,
                "INVALID_REQUEST",
                "attachments",
            )
            for kind in ("message/rfc822", "Multipart/mixed; boundary=x", "text", "text/")
        ),
    ],
)
def test_wrong_fields(
    shared: Client, book: Recording, fields: Any, status: int, code: str, field: str
) -> None:
    refused(shared.send(**{"to": "a@b.test", "text": "x", **fields}), status, code, field)
    assert book.messages == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b"\xff",
        b'{"to":' + b"[" * 200_000,
        b"[" * 2_000_000,
        b'{"a":' * 100_000,
        b'{"to":"a@b.test","text":"x"} trailing',
        b"\x1f\x8b\x08\x00",
    ],
)
def test_malformed(shared: Client, body: bytes) -> None:
    answer = shared.call("POST", SEND, body)
    assert (answer.status, answer.code) == (400, "INVALID_REQUEST")


def test_the_frameworks_errors(client: Client, house: Relay) -> None:
    refused(client.get("/nothing"), 404, "NOT_FOUND")
    refused(client.get(SEND), 405, "INVALID_REQUEST")
    refused(client.call("DELETE", "/api/v1/account"), 405, "INVALID_REQUEST")
    refused(
        client.call("POST", SEND, b"a=b", {"Content-Type": "text/plain"}), 415, "INVALID_REQUEST"
    )
    refused(client.call("POST", SEND, b"x", {"Content-Encoding": "gzip"}), 415, "INVALID_REQUEST")
    for octets in (b"GARBAGE\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 70_000):
        with socket.create_connection(("127.0.0.1", house.http), timeout=120) as raw:
            raw.sendall(octets)
            got = http.client.HTTPResponse(raw)
            got.begin()
            assert got.status in (400, 431)
            assert json.loads(got.read())["code"] == "INVALID_REQUEST"


def test_keys(client: Client, house: Relay, account: str) -> None:
    good = client.key
    for key in ("", "hyd-mail-" + "x" * 40):
        client.key = key
        refused(client.call("GET", "/api/v1/account"), 401, "UNAUTHORIZED")
    client.key = good
    assert client.get("/api/v1/account").status == 200
    number = next(k["id"] for k in house.cli("key", "list", "--account", account))
    house.cli("key", "disable", str(number))
    refused(client.send(), 403, "KEY_DISABLED")
    house.cli("key", "enable", str(number))
    house.cli("account", "disable", account)
    refused(client.send(), 403, "KEY_DISABLED")
    house.cli("account", "enable", account)
    assert client.send().status == 200
    reasons = {line["reason"] for line in house.refusals() if line["account"] == account}
    assert reasons == {"key_disabled", "account_disabled"}
    assert good not in house.log.read_text()


def test_no_credits(client: Client, house: Relay, account: str, book: Recording) -> None:
    house.cli("credits", "add", account, "-999")
    refused(client.send(to=["a@b.test", "c@b.test"]), 402, "INSUFFICIENT_CREDITS")
    assert client.send().status == 200
    refused(client.send(), 402, "INSUFFICIENT_CREDITS")
    assert (house.credits(account), len(book.messages)) == (0, 1)


def test_one_window_for_both_ways_in(
    client: Client, house: Relay, account: str, book: Recording
) -> None:
    house.cli("account", "set", account, "--rate-limit", "4")
    for left in (3, 2):
        answer = client.send()
        assert answer.headers["ratelimit-remaining"] == str(left)
        assert answer.headers["ratelimit-limit"] == "4"
        assert answer.headers["ratelimit"] == f'"minute";r={left};t=60'
        assert answer.headers["ratelimit-policy"] == '"minute";q=4;w=60'
    for number in range(2):
        code, _ = house.submit(client.key, mail(subject=str(number)), ["ann@example.com"])
        assert code == 250
    answer = client.send()
    refused(answer, 429, "RATE_LIMITED")
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert answer.headers["ratelimit-reset"] == answer.headers["retry-after"]
    assert answer.headers["ratelimit-remaining"] == "0"
    assert house.submit(client.key, mail(), ["ann@example.com"])[0] == 421
    assert (house.credits(account), len(book.messages)) == (996, 4)


def filled(body: dict[str, Any], octets: int) -> bytes:
    """The JSON of a body, made exactly so long by spaces."""
    text = json.dumps(body).encode()
    return text + b" " * (octets - len(text))


def one(size: int) -> dict[str, str]:
    return {"filename": "a.bin", "content": base64.b64encode(b"x" * size).decode()}


@pytest.mark.parametrize(
    ("fits", "over"),
    [
        (lambda o: {"text": "x" * (10 * MIB + o)}, "text"),
        (lambda o: {"text": "x" * (5 * MIB), "html": "y" * (5 * MIB + o)}, "html"),
        (lambda o: {"attachments": [one(15 * MIB + o)]}, "attachments"),
        (lambda o: {"text": "", "attachments": [one(9 * MIB), one(9 * MIB + o)]}, "attachments"),
    ],
    ids=["text", "text and html", "attachment", "all"],
)
def test_over_a_limit_by_one_byte(
    client: Client,
    house: Relay,
    account: str,
    book: Recording,
    fits: Callable[[int], dict[str, Any]],
    over: str,
) -> None:
    refused(client.send(**fits(1)), 413, "TOO_LARGE", over)
    assert house.credits(account) == 1000
    assert client.send(**fits(0)).status in (200, 202)
    wait_until(lambda: bool(book.messages), "the upstream to have it")
    assert (house.credits(account), len(book.messages)) == (999, 1)
    read = email.message_from_bytes(book.messages[0].octets, policy=email.policy.default)
    sent = fits(0)
    if over == "text":
        assert read.get_content() == sent["text"]
    if "attachments" in sent:
        contents = [part.get_payload(decode=True) for part in read.iter_attachments()]
        assert contents == [base64.b64decode(file["content"]) for file in sent["attachments"]]


def test_the_body_by_one_byte(client: Client, house: Relay, account: str) -> None:
    body = {"to": "ann@example.com", "text": "x"}
    refused(client.call("POST", SEND, filled(body, 25 * MIB + 1)), 413, "TOO_LARGE")
    assert house.credits(account) == 1000
    assert client.call("POST", SEND, filled(body, 25 * MIB)).status == 200
    assert house.credits(account) == 999


def test_the_type_of_a_file_that_has_none(shared: Client, book: Recording) -> None:
    octets = "application/octet-stream"
    kinds = {
        "a.pdf": "application/pdf",
        "a.b.TXT": "text/plain",
        "C:\\a.png": "image/png",
        "a": octets,
        "a.eml": octets,  # message/rfc822 and multipart are never base64 (RFC 2046 5)
        "a.mht": octets,
        "a.tar.gz": octets,  # what is in it is a tar, it is not
        "data:text/html,a": octets,
        "data:multipart/mixed,a": octets,
        "data:\xe9/x,a.csv": "text/csv",
    }
    files = [{"filename": name, "content": "eA=="} for name in kinds]
    assert shared.send(attachments=files).status == 200
    read = email.message_from_bytes(book.messages[-1].octets, policy=email.policy.default)
    parts = list(read.iter_attachments())
    found = {part.get_filename(): part.get_content_type() for part in parts}
    assert found == kinds
    assert all(part.get_payload(decode=True) == b"x" for part in parts)


def test_eleven_attachments(client: Client, book: Recording) -> None:
    refused(client.send(attachments=[one(1)] * 11), 400, "INVALID_REQUEST", "attachments")
    assert client.send(attachments=[one(1)] * 10).status == 200
    assert book.messages[0].octets.count(b"filename=") == 10


def test_a_batch(client: Client, book: Recording, house: Relay, account: str) -> None:
    good = {"to": "a@example.com", "text": "x"}
    items = [good, {"to": "b@example.com"}, {"to": 5}, {**good, "from": "x@y.test"}, good]
    answer = client.post("/api/v1/email/batch", {"messages": items})
    assert answer.status == 200
    told = answer.data
    assert [item["ok"] for item in told] == [True, False, False, False, True]
    assert [item["status"] for item in told] == [200, 400, 400, 400, 200]
    assert [item.get("field") for item in told] == [None, "text", "to", "from", None]
    assert (house.credits(account), len(book.messages)) == (998, 2)
    for wrong in ([], [good] * 101, {"messages": 5}):
        refused(client.post("/api/v1/email/batch", wrong or []), 400, "INVALID_REQUEST", "messages")
    assert len(client.post("/api/v1/email/batch", [good] * 100).data) == 100
    assert house.credits(account) == 898


def test_raw(client: Client, book: Recording, house: Relay, account: str) -> None:
    octets = (
        f"From: A <{SENDER}>\r\nTo: ann@example.com\r\nBcc: blind@example.com\r\n"
        "Message-ID: <own@client.test>\r\nDate: Mon, 01 Jan 2024 00:00:00 +0000\r\n"
        "Subject: raw\r\n\r\n.dot\r\nlast"
    ).encode()
    kind = {"Content-Type": "message/rfc822"}
    answer = client.call("POST", "/api/v1/email/raw", octets, kind)
    assert (answer.status, answer.data["smtpMessageId"]) == (200, "own@client.test")
    assert book.messages[0].recipients == ["ann@example.com", "blind@example.com"]
    body = book.messages[0].octets
    assert b"blind" not in body
    assert body.endswith(b"Subject: raw\r\n\r\n.dot\r\nlast\r\n")
    again = client.call("POST", "/api/v1/email/raw", octets, kind)
    assert again.data["messageId"] == answer.data["messageId"]
    path = "/api/v1/email/raw?envelope-to=q%40example.com&envelope-to=r%40example.com"
    assert client.call("POST", path, mail(), kind).data["recipients"] == 3
    refused(client.call("POST", "/api/v1/email/raw", octets), 415, "INVALID_REQUEST")
    refused(
        client.call("POST", "/api/v1/email/raw", b"no colon\r\n\r\n", kind), 400, "INVALID_REQUEST"
    )
    assert house.credits(account) == 995


def test_later(client: Client, book: Recording, house: Relay, account: str) -> None:
    at = datetime.now(UTC) + timedelta(days=29)
    local = at.astimezone(timezone(timedelta(hours=2))).isoformat()
    answer = client.send(sendAt=local, subject="Too early")
    assert answer.status == 202
    told = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert answer.data["retryHint"]["nextAt"] == told
    assert house.credits(account) == 999
    ident = answer.data["messageId"]
    assert client.post(f"/api/v1/email/messages/{ident}/cancel").data["status"] == "cancelled"
    assert house.credits(account) == 1000
    refused(client.post(f"/api/v1/email/messages/{ident}/cancel"), 409, "WRONG_STATE")
    refused(client.post(f"/api/v1/email/messages/{ident}/retry"), 409, "WRONG_STATE")
    refused(
        client.send(sendAt=(at + timedelta(days=2)).isoformat()), 400, "INVALID_REQUEST", "sendAt"
    )
    assert not [m for m in book.messages if b"Too early" in m.octets]
