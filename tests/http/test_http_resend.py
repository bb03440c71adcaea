"""Sending again: a new message through the same door, with a charge, while it is kept."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from peers.http_client import Answer, Client
from peers.recording import Recording
from peers.relay import SENDER, Relay, ident_of, mail

MESSAGES = "/api/v1/email/messages"
REFUSE = {"RCPT": "550 5.1.1 no such user"}


def failed(client: Client, book: Recording, **fields: Any) -> str:
    """The id of a message that the upstream refused: its octets are kept for a while."""
    book.answers.update(REFUSE)
    assert client.send(**fields).status == 502
    book.answers.clear()
    newest = client.get(f"{MESSAGES}?limit=1").data[0]
    assert newest["status"] == "failed"
    return str(newest["id"])


def resend(client: Client, ident: str, **headers: str) -> Answer:
    return client.call("POST", f"{MESSAGES}/{ident}/resend", None, headers)


def test_a_new_message(client: Client, book: Recording, house: Relay, account: str) -> None:
    big = {"filename": "a.bin", "content": base64.b64encode(bytes(600_000)).decode()}
    for attachments in ([], [big]):
        people = {"to": "ann@example.com", "cc": "cy@example.com", "bcc": "blind@example.com"}
        old = failed(client, book, **people, attachments=attachments)
        before = house.credits(account)
        told = resend(client, old)
        assert (told.status, told.data["status"]) == (200, "sent")
        assert told.data["messageId"] != old
        assert (told.data["recipients"], told.data["creditsCharged"]) == (3, 3)
        assert told.data["from"] == SENDER
        assert house.credits(account) == before - 3
        caught = book.messages.pop()
        assert caught.recipients == ["ann@example.com", "cy@example.com", "blind@example.com"]
        assert caught.octets.lower().count(b"received:") == 1
        assert told.data["messageId"].encode() in caught.octets
        assert b"blind" not in caught.octets
        assert old.encode() not in caught.octets.partition(b"\r\nDate:")[0]
        shown = client.get(f"{MESSAGES}/{told.data['messageId']}").data
        assert (shown["channel"], shown["subject"]) == ("http", "Hello")
        assert client.get(f"{MESSAGES}/{old}").data["status"] == "failed"
    house.audit()


def test_it_is_no_repeat(client: Client, book: Recording, house: Relay, account: str) -> None:
    """The octets of before, by the same key, with a Message-ID of their own: mail all the same."""
    octets = mail(
        extra="Message-ID: <own@client.test>\r\nDate: Mon, 01 Jan 2024 00:00:00 +0000\r\n"
    )
    book.answers["RCPT"] = "451 4.2.0 later"
    code, text = house.submit(client.key, octets, ["ann@example.com"])
    assert code == 250
    book.answers.clear()
    ids = {ident_of(text)}
    for _ in range(2):
        told = resend(client, ident_of(text))
        assert told.status in (200, 202)
        assert told.data["smtpMessageId"] == "own@client.test"
        ids.add(told.data["messageId"])
    assert len(ids) == 3
    assert house.credits(account) == 997


def test_what_is_no_longer_kept(
    client: Client, book: Recording, house: Relay, account: str
) -> None:
    ident = client.send().data["messageId"]
    told = resend(client, ident)
    assert (told.status, told.code) == (409, "BODY_GONE")
    assert house.credits(account) == 999
    assert len(book.messages) == 1


def test_anothers_is_not_there(client: Client, book: Recording, house: Relay, account: str) -> None:
    ident = failed(client, book)
    name = f"x{account}"[:20]
    house.cli("account", "create", name, "--credits", "10")
    other = Client(house.http, house.key(name))
    for caller, asked in ((other, ident), (client, "0" * 16), (client, "x"), (client, "f" * 16)):
        told = resend(caller, asked)
        assert (told.status, told.code) == (404, "NOT_FOUND")
    other.key = ""
    assert resend(other, ident).status == 401
    other.close()
    assert (house.credits(name), house.credits(account), book.messages) == (10, 1000, [])


def test_the_limits_of_any_send(
    client: Client, book: Recording, house: Relay, account: str
) -> None:
    ident = failed(client, book)
    assert (client.call("POST", f"{MESSAGES}/{ident}/resend", {"to": "x@y.test"})).status == 400
    assert resend(client, ident, **{"Content-Type": "text/plain"}).status == 415
    book.answers.update(REFUSE)
    told = resend(client, ident)
    assert (told.status, told.code) == (502, "UPSTREAM_REFUSED")
    book.answers.clear()
    house.cli("account", "set", account, "--rate-limit", "3")
    assert resend(client, ident).status == 200  # the third message of this minute
    told = resend(client, ident)
    assert (told.status, told.code) == (429, "RATE_LIMITED")
    assert 1 <= int(told.headers["retry-after"]) <= 60
    assert told.headers["ratelimit-remaining"] == "0"
    assert house.submit(client.key, mail(), ["ann@example.com"])[0] == 421
    house.cli("account", "set", account, "--rate-limit", "none")
    house.cli("credits", "add", account, str(-house.credits(account)))
    told = resend(client, ident)
    assert (told.status, told.code) == (402, "INSUFFICIENT_CREDITS")
    assert (house.credits(account), len(book.messages)) == (0, 1)


def test_a_sender_that_is_gone(client: Client, book: Recording, house: Relay, account: str) -> None:
    own = f"{account}@relay.test"
    house.cli("sender", "add", own, "--upstream", "main", "--account", account)
    ident = failed(client, book, **{"from": own})
    house.cli("sender", "remove", own)
    told = resend(client, ident)
    assert (told.status, told.code) == (400, "SENDER_NOT_ALLOWED")
    assert (house.credits(account), book.messages) == (1000, [])


def test_once(client: Client, book: Recording, house: Relay, account: str) -> None:
    ident, other = failed(client, book), failed(client, book, subject="Other")
    key = {"Idempotency-Key": "again 1"}
    first = resend(client, ident, **key)
    again = resend(client, ident, **key)
    assert (again.status, again.told) == (first.status, first.told)
    assert again.headers["idempotent-replayed"] == "true"
    told = resend(client, other, **key)
    assert (told.status, told.code) == (409, "IDEMPOTENCY_CONFLICT")
    assert (house.credits(account), len(book.messages)) == (999, 1)


@pytest.mark.slow
@pytest.mark.parametrize("status", ["failed", "queued"])
def test_at_the_command_line(
    client: Client, book: Recording, house: Relay, account: str, status: str
) -> None:
    ident = failed(client, book)
    book.answers.update(REFUSE if status == "failed" else {"RCPT": "451 4.2.0 later"})
    done = house.run("--json", "log", "resend", ident, "--account", account)
    assert (done.returncode, f'"status":"{status}"' in done.stdout) == (status == "failed", True)
    house.cli("account", "set", account, "--credits", "0")
    done = house.run("--json", "log", "resend", ident)
    assert done.returncode == 1
    assert "credits" in done.stdout
    assert "Traceback" not in done.stderr
    house.cli("account", "set", account, "--credits", "1000")
    for wrong in ("0" * 16, "x"):
        assert house.run("log", "resend", wrong).returncode == 1
    assert house.run("log", "resend", ident, "--account", "shared").returncode == 1
