"""Every row of the table of answers over a real socket: status, word, nothing charged, and a line
in the log of refusals; and every limit of a field at its last place and one beyond.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from typing import Any

import pytest

from peers.http_client import SEND, Answer, Client
from peers.process import wait_until
from peers.recording import Recording, RecordingServer
from peers.relay import SENDER, Relay, mail
from waypost.core.verdict import TABLE, Reason
from waypost.pages.api.openapi import CODES

RAW = "/api/v1/email/raw"
MIB = 1024 * 1024


def raw(client: Client, octets: bytes, query: str = "") -> Answer:
    return client.call("POST", RAW + query, octets, {"Content-Type": "message/rfc822"})


@pytest.fixture(scope="module")
def strict(
    tmp_path_factory: pytest.TempPathFactory, upstream: RecordingServer
) -> Iterator[tuple[Relay, Client]]:
    """A relay with small limits that refuses bare line ends, and calls of an account there."""
    relay = Relay(
        tmp_path_factory.mktemp("strict"),
        settings='bare_newline = "refuse"',
        tables={"limits": "message_bytes = 200000\nbody_bytes = 100000\nrate_per_minute = 0"},
    )
    relay.start()
    client = Client(relay.http, relay.furnish(upstream.book.port))
    yield relay, client
    client.close()
    relay.stop()


class Case:
    """What a row is brought about in."""

    def __init__(self, house: Relay, client: Client, account: str, strict: Any) -> None:
        self.house, self.client, self.account = house, client, account
        self.strict_relay, self.strict = strict

    def rate(self) -> Answer:
        self.house.cli("account", "set", self.account, "--rate-limit", "1")
        assert self.client.send().status == 200
        return self.client.send()

    def credits(self) -> Answer:
        self.house.cli("account", "set", self.account, "--credits", "1")
        return self.client.send(to=["a@b.test", "c@d.test"])

    def disabled_account(self) -> Answer:
        self.house.cli("account", "disable", self.account)
        return self.client.send()

    def disabled_key(self) -> Answer:
        (key,) = self.house.cli("key", "list", "--account", self.account)
        self.house.cli("key", "disable", str(key["id"]))
        return self.client.send()

    def unknown_key(self) -> Answer:
        stranger = Client(self.house.http, "hyd-mail-" + "x" * 40)
        answer = stranger.send()
        stranger.close()
        return answer

    def cap(self) -> Answer:
        address = f"capped@{self.account}.test"
        bound = ("--upstream", "main", "--account", self.account, "--daily-cap", "1")
        self.house.cli("sender", "add", address, *bound)
        return self.client.send(None, **{"from": address, "to": ["a@b.test", "c@d.test"]})

    def seven_bit(self) -> Answer:
        plain = RecordingServer(Recording(extensions=["PIPELINING"]))
        address = f"seven@{self.account}.test"
        try:
            self.house.upstream(f"7{self.account}"[:20], plain.start().port, address)
            octets = mail(body="Grüße\r\n").replace(SENDER.encode(), address.encode())
            return raw(self.client, octets)
        finally:
            plain.stop()


ROWS: dict[Reason, Callable[[Case], Answer]] = {
    Reason.RATE_LIMIT: Case.rate,
    Reason.NO_CREDITS: Case.credits,
    Reason.ACCOUNT_DISABLED: Case.disabled_account,
    Reason.KEY_UNKNOWN: Case.unknown_key,
    Reason.KEY_DISABLED: Case.disabled_key,
    Reason.SENDER: lambda case: case.client.send(None, **{"from": "other@b.test"}),
    Reason.ADDRESS: lambda case: case.client.send(to="nobody"),
    Reason.RECIPIENTS: lambda case: case.client.send(to=[f"a{n}@b.test" for n in range(101)]),
    Reason.MALFORMED: lambda case: raw(case.client, mail(body="\0")),
    Reason.BARE_NEWLINE: lambda case: raw(case.strict, mail(body="a\nb\r\n")),
    Reason.LOOP: lambda case: raw(case.client, b"Received: by x; y\r\n" * 51 + mail()),
    Reason.CANNOT_CARRY: Case.seven_bit,
    Reason.NOT_ASCII: lambda case: case.client.send(to="grüße@b.test"),
    Reason.TOO_LARGE: lambda case: raw(case.strict, mail(body="x" * 200_000)),
    Reason.OVER_CAP: Case.cap,
}
ELSEWHERE = {
    Reason.TOO_LARGE_DECLARED: "SMTP's SIZE= alone; a body's length is test_the_body_by_one_byte",
    Reason.SESSIONS: "test_http_trouble.py",
    Reason.FULL: "test_http_full.py",
    Reason.TROUBLE: "test_http_trouble.py",
}
NEVER_AT_THE_DOOR = frozenset({Reason.CANNOT_CARRY})  # the upstream's abilities: accepted before


def test_every_row_is_here_or_elsewhere() -> None:
    assert set(ROWS) | set(ELSEWHERE) == set(Reason)


def logged(relay: Relay, reason: Reason) -> int:
    """How often the log of refusals says so; equal ones within a minute are one line."""
    row = TABLE[reason]
    return sum(
        line["count"]
        for line in relay.refusals()
        if line["reason"] == reason.value
        and line["channel"] == "http"
        and line["answer"].startswith(f"{row.http} {row.word} ")
    )


@pytest.mark.parametrize("reason", ROWS, ids=lambda reason: str(reason.value))
def test_a_row(
    house: Relay, client: Client, account: str, book: Recording, strict: Any, reason: Reason
) -> None:
    row = TABLE[reason]
    before = logged(house, reason) + logged(strict[0], reason)
    answer = ROWS[reason](Case(house, client, account, strict))
    assert (answer.status, answer.code) == (row.http, row.word)
    assert ("retry-after" in answer.headers) == (row.http in (429, 503))
    for relay, whose in ((house, account), (strict[0], "acme")):
        lines = [line["amount"] for line in relay.ledger(whose) if line["reason"] != "topup"]
        charged = sum(1 for m in book.messages if relay is house)
        assert sum(lines) == -charged, lines
    wanted = before + (reason not in NEVER_AT_THE_DOOR)
    # It is written with the next batch, which not every answer waits for.
    wait_until(
        lambda: logged(house, reason) + logged(strict[0], reason) == wanted, "the line of it"
    )
    house.audit()


def shown(book: Recording, name: str) -> str:
    """A field of the newest message, decoded."""
    value = message_from_bytes(book.messages[-1].octets, policy=policy.compat32)[name]
    return str(make_header(decode_header(value.replace("\r\n", ""))))


def test_a_cap_that_is_reached_queues(
    client: Client, house: Relay, account: str, book: Recording
) -> None:
    address = f"day@{account}.test"
    bound = ("--upstream", "main", "--account", account, "--daily-cap", "1")
    house.cli("sender", "add", address, *bound)
    assert client.send(None, **{"from": address}).status == 200
    answer = client.send(None, **{"from": address})
    assert (answer.status, answer.data["status"], answer.data["creditsCharged"]) == (
        202,
        "queued",
        1,
    )
    assert answer.data["retryHint"]["nextAt"].endswith("T00:00:00.000Z")
    assert (house.credits(account), len(book.messages)) == (998, 1)


FITS_OVER: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    # name: (what fits, one more, the field that is named)
    "recipients": (
        {"to": [f"a{n}@b.test" for n in range(60)], "bcc": [f"c{n}@b.test" for n in range(40)]},
        {"to": [f"a{n}@b.test" for n in range(60)], "bcc": [f"c{n}@b.test" for n in range(41)]},
        "to",
    ),
    "replyTo": (
        {"replyTo": "n" * 309 + " <a@b.test>"},
        {"replyTo": "n" * 310 + " <a@b.test>"},
        "replyTo",
    ),
    "headers": (
        {"headers": {f"X-{n}": "1" for n in range(100)}},
        {"headers": {f"X-{n}": "1" for n in range(101)}},
        "headers",
    ),
    "header name": (
        {"headers": {"X" * 76: "1"}},
        {"headers": {"X" * 77: "1"}},
        "headers",
    ),
    "header value": (
        {"headers": {"X-Long": "x " * 5_000}},
        {"headers": {"X-Long": "x " * 5_000 + "x"}},
        "headers",
    ),
    "filename": (
        {"attachments": [{"filename": "n" * 255, "content": "eA=="}]},
        {"attachments": [{"filename": "n" * 256, "content": "eA=="}]},
        "attachments",
    ),
    "no filename": (
        {"attachments": [{"filename": "n", "content": ""}]},
        {"attachments": [{"filename": "", "content": ""}]},
        "attachments",
    ),
    "contentId": (
        {"attachments": [{"filename": "n", "content": "eA==", "contentId": "c" * 250}]},
        {"attachments": [{"filename": "n", "content": "eA==", "contentId": "c" * 251}]},
        "attachments",
    ),
    "contentType": (
        {"attachments": [{"filename": "n", "content": "", "contentType": "a/" + "b" * 127}]},
        {"attachments": [{"filename": "n", "content": "", "contentType": "a/" + "b" * 128}]},
        "attachments",
    ),
    "sendAt": (
        {"sendAt": (datetime.now(UTC) + timedelta(days=30)).isoformat()},
        {"sendAt": (datetime.now(UTC) + timedelta(days=31)).isoformat()},
        "sendAt",
    ),
}


@pytest.mark.parametrize("name", FITS_OVER)
def test_a_field_by_one(
    client: Client, house: Relay, account: str, book: Recording, name: str
) -> None:
    fits, over, field = FITS_OVER[name]
    refused = client.send(**over)
    assert (refused.status, refused.code, refused.told.get("field")) == (
        400,
        "INVALID_REQUEST",
        field,
    )
    assert (house.credits(account), book.messages) == (1000, [])
    answer = client.send(**fits)
    assert answer.status in (200, 202), answer
    assert house.credits(account) == 1000 - answer.data["recipients"]


def test_what_is_cut_is_cut_there(client: Client, book: Recording) -> None:
    assert client.send(fromName="n" * 101, subject="é" * 989).status == 200
    assert shown(book, "From") == f"{'n' * 100} <{SENDER}>"
    assert shown(book, "Subject") == "é" * 988
    assert client.send(fromName="n" * 100, subject="s" * 988).status == 200
    assert shown(book, "From") == f"{'n' * 100} <{SENDER}>"
    assert shown(book, "Subject") == "s" * 988


def test_a_raw_message_by_one_byte(strict: tuple[Relay, Client], book: Recording) -> None:
    relay, client = strict
    before = relay.credits()
    file = "Content-Type: application/octet-stream\r\nContent-Disposition: attachment\r\n"
    room = 200_000 - len(mail(extra=file, body=""))
    answer = raw(client, mail(extra=file, body="x" * (room + 1)))
    assert (answer.status, answer.code) == (413, "TOO_LARGE")
    long = "Content-Type: text/plain\r\n"
    answer = raw(client, mail(extra=long, body="x" * 99_999 + "\r\n"))
    assert (answer.status, answer.code) == (413, "TOO_LARGE")
    assert (relay.credits(), book.messages) == (before, [])
    assert raw(client, mail(extra=file, body="x" * room)).status in (200, 202)
    assert raw(client, mail(extra=long, body="x" * 99_998 + "\r\n")).status in (200, 202)
    assert relay.credits() == before - 2


def test_every_code_is_said_somewhere() -> None:
    """The codes that a program may meet are those that the contract names, and no other."""
    contract = {
        *("INVALID_REQUEST", "INVALID_ADDRESS", "SENDER_NOT_ALLOWED", "TOO_LARGE", "UNAUTHORIZED"),
        *("KEY_DISABLED", "INSUFFICIENT_CREDITS", "RATE_LIMITED", "IDEMPOTENCY_CONFLICT"),
        *("NOT_FOUND", "WRONG_STATE", "BODY_GONE", "UPSTREAM_REFUSED", "UNAVAILABLE"),
    }
    managing = {"FORBIDDEN", "TEST_FAILED"}
    assert set(CODES) == contract | managing


def test_a_hundred_and_one_messages(client: Client, house: Relay, account: str) -> None:
    good = {"to": "a@b.test", "text": "x"}
    answer = client.call("POST", "/api/v1/email/batch", [good] * 101)
    assert (answer.status, answer.told["field"]) == (400, "messages")
    assert house.credits(account) == 1000
    file = {"filename": "a", "content": base64.b64encode(b"x" * (15 * MIB + 1)).decode()}
    mixed = [good, {**good, "attachments": [file]}, good]
    told = client.call("POST", "/api/v1/email/batch", mixed).data
    assert [item["status"] for item in told] == [200, 413, 200]
    assert house.credits(account) == 998
    assert client.call("POST", SEND, b"x" * (2 * 25 * MIB)).status == 413
