"""A token of one account: every route and id of another's, and what is the operator's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from manage.conftest import MANAGE, Manager
from peers.http_client import SEND, Client
from peers.recording import Recording, RecordingServer
from peers.relay import SENDER, Relay

BOBS = "bob@bob.test"
SECRET = "Planted-Secret-78"
LATER = (datetime.now(UTC) + timedelta(hours=5)).isoformat()


@pytest.fixture(scope="module")
def bobs(
    house: Relay, whole: Manager, accounts: list[str], upstream: RecordingServer
) -> Iterator[dict[str, str]]:
    """What bob has, by the names in the paths."""
    there = {"host": "127.0.0.1", "port": upstream.book.port, "encryption": "none", "test": False}
    mine = {"username": "u", "password": SECRET, **there}
    for name in ("ann", "bob"):
        own = {"name": f"{name}s", "account": name, "sender": f"{name}@{name}.test", **mine}
        assert whole("POST", "/upstreams", own).status == 201
    house.cli("sender", "add", "shared@relay.test", "--upstream", "main", "--account", "bob")
    house.cli("sender", "set", "shared@relay.test", "--assign", "ann")
    key = whole("POST", "/keys", {"account": "bob", "name": "bobs key"}).data
    token = whole("POST", "/tokens", {"account": "bob"}).data
    assert whole("POST", "/members", {"email": BOBS, "account": "bob"}).status == 201
    client = Client(house.http, key["key"])
    sent = client.send(sendAt=LATER, subject="bobs mail").data
    client.call("POST", SEND, {"from": "nobody@bob.test", "to": "a@b.test", "text": "x"})
    client.close()
    yield {
        "account": "bob",
        "key": str(key["id"]),
        "token": str(token["id"]),
        "upstream": "bobs",
        "address": BOBS,
        "id": sent["messageId"],
        "domain": "bob.test",
        "email": BOBS,
    }


def everything(whole: Manager) -> list[Any]:
    """All that a change could change."""
    lists = (
        *("accounts", "keys", "tokens", "members", "senders", "upstreams", "messages", "queue"),
        "refusals",
    )
    found: list[Any] = [whole.get(f"/{name}") for name in lists]
    return [json.loads(re.sub(r'"lastUsedAt": ("[^"]*"|null)', '"x": 0', json.dumps(found)))]


def calls(document: Any) -> Iterator[tuple[str, str, Any, list[str]]]:
    """(method, path behind the root, example body, names of its parameters) of every route."""
    for path, methods in document["paths"].items():
        for method, call in methods.items():
            if path.startswith(MANAGE):
                content = call.get("requestBody", {}).get("content", {})
                example = content.get("application/json", {}).get("example")
                names = [found["name"] for found in call["parameters"]]
                yield method.upper(), path.removeprefix(MANAGE), example, names


def test_nothing_of_anothers(
    house: Relay, whole: Manager, ann: Manager, bobs: dict[str, str]
) -> None:
    document = whole.client.get("/openapi.json").told
    before = everything(whole)
    crossed = 0
    unowned = ("/upstream-tests", "/accounts", "/message-readings")
    for method, path, example, names in calls(document):
        there = re.sub(r"\{(\w+)\}", lambda name: quote(bobs[name[1]], safe=""), path)
        tries: list[tuple[str, Any]] = [(there, example)] if there != path else []
        if path == "/domains/{domain}":
            tries = []  # what DNS says is everybody's: test_manage_domains.py looks at the rest
        if "account" in names and "{account}" not in path:
            tries.append((f"{there}?account=bob", example))
        if example is not None and method == "POST" and there == path:
            tries.append((there, {**example, "account": "bob"}))
        if path == "/queue/cancel":
            tries += [(there, {"key": int(bobs["key"])}), (there, {"sender": BOBS})]
        if path == "/queue/retry":
            tries += [(there, {"upstream": "bobs"}), (there, {"upstream": "main"})]
        for asked, body in tries:
            crossed += 1
            answer = ann(method, asked, body)
            assert answer.status in (403, 404) or answer.code == "INVALID_REQUEST", (asked, answer)
            assert answer.status != 400 or path in unowned, (asked, answer)
            assert "bob" not in answer.told["error"].replace("no account “bob”", "").replace(
                BOBS, ""
            ).replace("“bobs”", "")
    assert crossed > 50
    assert everything(whole) == before


def test_lists_hold_nothing_of_anothers(ann: Manager, whole: Manager, bobs: dict[str, str]) -> None:
    assert ann.get("/queue") == [] != whole.get("/queue")
    shared = ("accounts", "keys", "senders", "upstreams", "messages", "refusals")
    for path in (*shared, "members", "trail"):
        assert "bob" in json.dumps(whole.get(f"/{path}")), path
        assert "bob" not in json.dumps(ann.get(f"/{path}")), path
    assert [row["name"] for row in ann.get("/accounts")] == ["ann"]
    (shared,) = [r for r in ann.get("/senders") if r["address"] == "shared@relay.test"]
    assert shared["accounts"] == ["ann"]


def test_reasons_of_waiting_mail_are_ones_own(
    house: Relay, ann: Manager, whole: Manager, bobs: dict[str, str], book: Recording
) -> None:
    """Both wait for the operator's upstream, whose words for one may name a recipient."""
    waiting = []
    for name in ("bob", "ann"):
        book.answers["RCPT"] = f"450 4.2.1 {name} waits"
        client = Client(house.http, house.key(name))
        answer = client.send()
        assert answer.status == 202
        client.close()
        waiting.append(answer.data["messageId"])
    lines = [line for line in ann.get("/queue") if line["upstream"] == "main"]
    assert lines and "bob" not in json.dumps(lines)
    for number in waiting:  # a later try would be a change of which others know nothing
        assert whole("POST", f"/messages/{number}/cancel").status == 200


def test_what_is_the_operators(ann: Manager, whole: Manager, bobs: dict[str, str]) -> None:
    before = everything(whole)
    there = {"host": "127.0.0.1", "port": 25, "encryption": "none"}
    for method, path, body, field in (
        ("POST", "/accounts", {"name": "more"}, None),
        ("POST", "/accounts/ann/credits", {"credits": 1_000_000}, None),
        ("POST", "/accounts/ann/enable", {}, None),
        ("POST", "/accounts/ann/disable", {}, None),
        ("PATCH", "/accounts/ann", {"credits": 1_000_000}, "credits"),
        ("PATCH", "/accounts/ann", {"credits": None}, "credits"),
        ("PATCH", "/accounts/ann", {"rateLimit": None}, "rateLimit"),
        ("POST", "/tokens", {"account": "ann"}, None),
        ("GET", "/tokens", None, None),
        ("GET", "/audit", None, None),
        (
            "POST",
            "/senders",
            {"address": "a@ann.test", "upstream": "main", "global": True},
            "global",
        ),
        ("POST", "/upstreams", {"name": "x", "sender": "a@b.test", "for": "ann", **there}, "for"),
    ):
        answer = ann(method, path, body)
        assert (answer.status, answer.code) == (403, "FORBIDDEN"), (path, answer)
        assert answer.told.get("field") == field
    assert everything(whole) == before


def test_no_sender_on_the_operators_upstream(
    ann: Manager, whole: Manager, bobs: dict[str, str]
) -> None:
    answer = ann("POST", "/senders", {"address": "ceo@bank.test", "upstream": "main"})
    assert (answer.status, answer.code) == (404, "NOT_FOUND")
    made = whole(
        "POST", "/senders", {"address": "ceo@bank.test", "upstream": "main", "account": "ann"}
    )
    assert made.status == 201  # the operator may
    assert ann("PATCH", "/senders/ceo%40bank.test", {"dailyCap": None}).status == 404
    assert ann("DELETE", "/senders/ceo%40bank.test").status == 404
    assert ann("PATCH", f"/senders/{quote(SENDER)}", {"fromName": "x"}).status == 404


def test_ones_own_is_ones_own(ann: Manager, whole: Manager, bobs: dict[str, str]) -> None:
    made = ann("POST", "/senders", {"address": "more@ann.test", "upstream": "anns"})
    assert (made.status, made.data["account"]) == (201, "ann")
    assert ann("POST", "/senders", {"address": "more@ann.test", "upstream": "anns"}).status == 409
    path = "/senders/more%40ann.test"
    assert ann("PATCH", path, {"dailyCap": 10, "default": True}).data["default"] == ["ann"]
    for cap in (11, None):
        refused = ann("PATCH", path, {"dailyCap": cap})
        assert (refused.status, refused.code) == (403, "FORBIDDEN")
    assert ann("PATCH", path, {"dailyCap": 9}).data["dailyCap"] == 9
    assert whole("PATCH", f"{path}?account=ann", {"dailyCap": None}).data["dailyCap"] is None
    assert ann("PATCH", "/upstreams/anns", {"dailyCap": 10}).data["dailyCap"] == 10
    refused = ann("PATCH", "/upstreams/anns", {"dailyCap": 11})
    assert (refused.status, refused.told["field"]) == (403, "dailyCap")
    assert ann("PATCH", path, {"global": True}).status == 400
    assert ann("DELETE", path).status == 200
    assert ann("PATCH", "/accounts/ann", {"notify": "n@ann.test"}).data["notify"] == "n@ann.test"
    key = ann("POST", "/keys", {"name": "own"})
    assert (key.status, key.data["account"]) == (201, "ann")
    assert ann("DELETE", f"/keys/{key.data['id']}").status == 200


def test_the_guard_of_addresses_holds(
    ann: Manager, bobs: dict[str, str], upstream: RecordingServer
) -> None:
    fields = {"sender": "x@ann.test", "username": "u", "password": "p", "encryption": "none"}
    port = upstream.book.port
    for host, at in (("127.0.0.2", port), ("169.254.169.254", port), ("127.0.0.1", 22)):
        for more in ({}, {"test": False}):
            answer = ann(
                "POST", "/upstreams", {"name": "bad", "host": host, "port": at, **fields, **more}
            )
            assert (answer.status, answer.code) == (422, "TEST_FAILED")
        tried = ann("POST", "/upstream-tests", {"host": host, "port": at, **fields})
        assert tried.data["diagnosis"] == "address_not_allowed"
        moved = {"host": host, "port": at, "password": "p", "test": False}
        assert ann("PATCH", "/upstreams/anns", moved).status == 422
    assert ann("GET", "/upstreams/bad").status == 404


def test_a_disabled_accounts_token_is_dead(whole: Manager, house: Relay) -> None:
    whole("POST", "/accounts", {"name": "gone"})
    token = whole("POST", "/tokens", {"account": "gone"}).data["token"]
    own = Manager(Client(house.http, token))
    assert own("GET", "/keys").status == 200
    whole("POST", "/accounts/gone/disable")
    for method, path in (("GET", "/keys"), ("POST", "/keys"), ("POST", "/accounts/gone/enable")):
        answer = own(method, path)
        assert (answer.status, answer.code) == (403, "KEY_DISABLED")
    whole("POST", "/accounts/gone/enable")
    assert own("GET", "/keys").status == 200
    own.client.close()
