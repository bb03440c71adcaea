"""Looking up: fields, filters, the cursor, retry; and that nobody sees anything of another's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from peers.http_client import Client
from peers.recording import Recording
from peers.relay import Relay

MESSAGES = "/api/v1/email/messages"


@pytest.fixture
def other(house: Relay, account: str) -> Iterator[Client]:
    house.cli("account", "create", f"x{account}"[:20], "--credits", "10")
    made = Client(house.http, house.key(f"x{account}"[:20]))
    yield made
    made.close()


def ids(answer: Any) -> list[str]:
    return [line["id"] for line in answer.data]


def test_lists(client: Client) -> None:
    sent = [client.send(to=f"to{n}@example.com").data["messageId"] for n in range(5)][::-1]
    assert ids(client.get(MESSAGES)) == sent
    first = client.get(f"{MESSAGES}?limit=2")
    assert ids(first) == sent[:2]
    second = client.get(f"{MESSAGES}?limit=2&cursor={first.told['nextCursor']}")
    assert ids(second) == sent[2:4]
    last = client.get(f"{MESSAGES}?limit=2&cursor={second.told['nextCursor']}")
    assert (ids(last), last.told["nextCursor"]) == (sent[4:], None)
    assert ids(client.get(f"{MESSAGES}?to=TO3@example.com")) == [sent[1]]
    assert ids(client.get(f"{MESSAGES}?status=queued")) == []
    assert ids(client.get(f"{MESSAGES}?from=noreply@relay.test&status=sent")) == sent
    whole = client.get(f"{MESSAGES}/{sent[0]}").data
    assert ids(client.get(f"{MESSAGES}?after={whole['createdAt']}")) == [sent[0]]
    assert sent[0] not in ids(client.get(f"{MESSAGES}?before={whole['createdAt']}"))
    assert whole["recipients"][0]["attempts"][0]["text"] == "2.0.0 taken"
    assert [line["amount"] for line in whole["ledger"]] == [-1]


@pytest.mark.parametrize(
    "query",
    ["status=x", "limit=0", "limit=1001", "limit=x", "cursor=x", "after=x", "to=x", "nothing=1"],
)
def test_wrong_queries(shared: Client, query: str) -> None:
    answer = shared.get(f"{MESSAGES}?{query}")
    assert (answer.status, answer.code) == (400, "INVALID_REQUEST")


def test_retry(client: Client, book: Recording) -> None:
    book.answers["RCPT"] = "451 4.2.0 later"
    ident = client.send().data["messageId"]
    book.answers.clear()
    assert client.post(f"{MESSAGES}/{ident}/retry").status == 200
    book.answers["RCPT"] = "550 5.1.1 no such user"
    assert client.send(to="gone@example.com").status == 502
    ended = next(row for row in client.get(MESSAGES).data if row["status"] == "failed")
    for deed in ("retry", "cancel"):
        refused = client.post(f"{MESSAGES}/{ended['id']}/{deed}")
        assert (refused.status, refused.code) == (409, "WRONG_STATE")


def test_account_and_refusals(client: Client, account: str) -> None:
    client.send()
    client.send(None, **{"from": "evil@example.com"})
    told = client.get("/api/v1/account").data
    assert (told["name"], told["credits"]) == (account, 999)
    assert told["today"] == {"messages": 1, "recipients": 1}
    (line,) = client.get("/api/v1/refusals").data
    assert (line["reason"], line["channel"], line["count"]) == ("sender_not_allowed", "http", 1)
    assert line["answer"].startswith("400 SENDER_NOT_ALLOWED")
    assert line["from"] == "evil@example.com"
    (to,) = line["to"]
    assert client.get(f"/api/v1/refusals?to={to}").data == [line]
    assert client.get("/api/v1/refusals?to=nobody@else.test").data == []


def test_a_refusal_keeps_whom_it_was_to(client: Client) -> None:
    """Also where the call is refused before it is a message; what is no address as it was written,
    in one line."""
    to = ["Änn <ann@example.com>", "ann@bücher.example"]
    bcc = ["no address", "b\r\n@x.test", "a" * 2000]
    client.send(None, **{"from": "Bücher <evil@example.com>"}, to=to, bcc=bcc)
    (line,) = client.get("/api/v1/refusals").data
    assert line["from"] == "evil@example.com"
    known = ["ann@example.com", "ann@xn--bcher-kva.example"]
    assert line["to"] == [*known, "no address", "b @x.test", "a" * 320]
    for sought in ("ANN@example.com", "Ann@b%C3%BCcher.example", "xn--bcher-kva"):
        assert client.get(f"/api/v1/refusals?to={sought}").data == [line]


def test_nothing_of_anothers(client: Client, other: Client, book: Recording) -> None:
    book.answers["RCPT"] = "451 4.2.0 later"
    ident = client.send().data["messageId"]
    client.send(None, **{"from": "x@y.test"})
    paths = client.get("/openapi.json").told["paths"]
    routes = [
        (method.upper(), path.replace("{id}", ident))
        for path, methods in paths.items()
        for method in methods
        if "{id}" in path and not path.startswith("/api/v1/manage")
    ]
    assert len(routes) == 4
    for method, path in routes:
        for wrong in (path, path.replace(ident, "0" * 16), path.replace(ident, "f" * 16)):
            answer = other.call(method, wrong)
            assert (answer.status, answer.code) == (404, "NOT_FOUND")
    assert other.get(MESSAGES).data == []
    assert other.get(f"{MESSAGES}?cursor={ident[:-1]}f").data == []
    assert other.get("/api/v1/refusals").data == []
    assert other.get("/api/v1/account").data["credits"] == 10
    assert client.get(f"{MESSAGES}/{ident}").data["status"] == "queued"
    other.key = ""
    for path in (MESSAGES, "/api/v1/account", "/api/v1/refusals", f"{MESSAGES}/{ident}"):
        assert other.get(path).status == 401
