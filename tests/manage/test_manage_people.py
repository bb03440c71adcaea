"""Accounts, credits, keys and tokens: what the command line can do, by the same names."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from manage.conftest import MANAGE, Manager
from peers.http_client import Client
from peers.recording import Recording
from peers.relay import Relay


def test_an_account_from_its_making_to_its_end(whole: Manager, house: Relay) -> None:
    name = "Größe 1/2 & more"
    path = "/accounts/Gr%C3%B6%C3%9Fe%201%2F2%20%26%20more"
    made = whole("POST", "/accounts", {"name": name, "credits": 5, "notify": "n@x.test"})
    assert (made.status, made.data) == (201, house.cli("account", "show", name))
    again = whole("POST", "/accounts", {"name": name})
    assert (again.status, again.code) == (409, "WRONG_STATE")
    assert whole.get(path) == made.data
    changed = whole("PATCH", path, {"rateLimit": None, "notify": None, "credits": 9}).data
    assert (changed["rateLimit"], changed["notify"], changed["credits"]) == (None, None, 9)
    assert whole("PATCH", path, {}).data == changed
    assert whole("POST", f"{path}/disable").data["enabled"] is False
    assert whole("POST", f"{path}/enable").data["enabled"] is True
    assert whole("POST", f"{path}/credits", {"credits": -4, "note": "taken"}).data["credits"] == 5
    refused = whole("POST", f"{path}/credits", {"credits": -6})
    assert (refused.status, refused.code) == (409, "WRONG_STATE")
    lines = whole.get(f"{path}/ledger")
    assert [line["amount"] for line in lines] == [-4, 4, 5]
    assert lines[::-1] == house.cli("credits", "ledger", name)
    assert (whole("GET", "/accounts/nobody").status, whole("GET", "/nothing").status) == (404, 404)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "-x"}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": 5}, "name"),
        ({"name": "x", "credits": -1}, "credits"),
        ({"name": "x", "credits": 10**40}, "credits"),
        ({"name": "x", "credits": "5"}, "credits"),
        ({"name": "x", "rateLimit": 0}, "rateLimit"),
        ({"name": "x", "defaultSender": "no address"}, "defaultSender"),
        ({"name": "x", "owner": "me"}, "owner"),
        ([], None),
        (b"{", None),
        (b"\xff", None),
        (b"[" * 60_000, None),
        (b'{"name":' + b"[" * 60_000, "name"),
    ],
)
def test_what_is_wrong_is_named(whole: Manager, body: Any, field: str | None) -> None:
    answer = whole("POST", "/accounts", body)
    assert (answer.status, answer.code) == (400, "INVALID_REQUEST"), answer
    assert answer.told.get("field") == field


def test_credits_are_added_once(whole: Manager) -> None:
    whole("POST", "/accounts", {"name": "once"})
    path, word = "/accounts/once/credits", {"Idempotency-Key": "invoice 17"}
    with ThreadPoolExecutor(8) as pool:

        def one(_: int) -> Any:
            own = Manager(Client(whole.client.port, whole.client.key))
            try:
                return own("POST", path, {"credits": 7}, word)
            finally:
                own.client.close()

        answers = list(pool.map(one, range(24)))
    assert {answer.status for answer in answers} == {200}
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    assert whole.get("/accounts/once")["credits"] == 7
    other = whole("POST", path, {"credits": 8}, word)
    assert (other.status, other.code) == (409, "IDEMPOTENCY_CONFLICT")
    failed = {"Idempotency-Key": "too much"}
    assert whole("POST", path, {"credits": -8}, failed).status == 409
    assert whole("POST", path, {"credits": -7}, failed).data["credits"] == 0  # it was freed
    assert whole("POST", path, {"credits": 1}, {"Idempotency-Key": "x" * 257}).status == 400
    assert len(whole.get("/accounts/once/ledger")) == 2


def test_keys_and_the_mail_they_send(whole: Manager, house: Relay, book: Recording) -> None:
    whole("POST", "/accounts", {"name": "keyed", "credits": 5})
    assert whole("POST", "/keys", {}).told["field"] == "account"
    made = whole("POST", "/keys", {"account": "keyed", "name": "web", "recipients": "envelope"})
    assert made.status == 201
    client = Client(house.http, made.data["key"], {"X-Forwarded-For": "192.0.2.1"})
    assert client.send().status == 200
    path = f"/keys/{made.data['id']}"
    shown = whole.get(path)
    assert "key" not in shown
    assert (shown["last4"], shown["recipients"]) == (client.key[-4:], "envelope")
    assert whole("POST", f"{path}/disable").data["enabled"] is False
    assert client.send().status == 403
    assert whole("POST", f"{path}/enable").data["enabled"] is True
    rotated = whole("POST", f"{path}/rotate").data["key"]
    assert client.send().status == 401
    client.key = rotated
    assert client.send().status == 200
    assert whole("DELETE", path).status == 200
    assert (client.send().status, whole("DELETE", path).status) == (401, 404)
    client.close()
    for path in ("/keys/0", "/keys/-1", "/keys/x", f"/keys/{10**40}", "/keys/%00"):
        assert whole("GET", path).status == 404


def test_lists_go_on_behind_their_cursor(whole: Manager, house: Relay) -> None:
    whole("POST", "/accounts", {"name": "many", "credits": 1})
    for number in range(5):
        whole("POST", "/keys", {"account": "many", "name": f"k{number}"})
        whole("POST", "/accounts/many/credits", {"credits": 1})
        whole("POST", "/accounts", {"name": f"many{number}"})
        whole("POST", "/tokens", {"account": "many"})
    for path, count in (
        ("/keys?account=many", 5),
        ("/accounts/many/ledger?", 6),
        ("/tokens?account=many", 5),
    ):
        seen, cursor = [], ""
        while True:
            page = whole("GET", f"{path}&limit=2{cursor}").told
            seen += page["data"]
            if page["nextCursor"] is None:
                break
            cursor = f"&cursor={page['nextCursor']}"
        assert len(seen) == count
        assert seen == whole.get(path)
    first = whole("GET", "/accounts?limit=3").told
    assert [row["name"] for row in first["data"]] == ["many4", "many3", "many2"]
    more = whole("GET", f"/accounts?limit=2&cursor={first['nextCursor']}").told
    assert [row["name"] for row in more["data"]] == ["many1", "many0"]
    for query in ("cursor=x", "limit=0", "limit=1001", "limit=x", "nonsense=1"):
        assert whole("GET", f"/keys?{query}").status == 400
    assert whole("GET", "/accounts?cursor=nobody").told["field"] == "cursor"


def test_tokens(whole: Manager, house: Relay, accounts: list[str]) -> None:
    made = whole("POST", "/tokens", {"account": "ann", "name": "panel"})
    assert (made.status, made.data["account"]) == (201, "ann")
    assert whole("POST", "/tokens", {"name": "all"}).told["field"] == "account"
    own = Manager(Client(house.http, made.data["token"], {"X-Forwarded-For": "192.0.2.2"}))
    assert [row["name"] for row in own.get("/accounts")] == ["ann"]
    (listed,) = [row for row in house.cli("token", "list") if row["id"] == made.data["id"]]
    assert listed["lastUsedAt"] is not None
    assert whole("DELETE", f"/tokens/{made.data['id']}").status == 200
    refused = own("GET", "/accounts")
    assert (refused.status, refused.code) == (401, "UNAUTHORIZED")
    assert refused.headers["www-authenticate"] == "Bearer"
    own.client.close()
    assert made.data["token"] not in house.log.read_text()


@pytest.mark.slow
def test_a_key_is_no_token_and_a_token_no_key(
    whole: Manager, house: Relay, accounts: list[str]
) -> None:
    client = Client(house.http, house.key("ann"), {"X-Forwarded-For": "192.0.2.3"})
    refused = client.call("GET", f"{MANAGE}/accounts")
    assert (refused.status, refused.code) == (401, "UNAUTHORIZED")
    client.key = whole.client.key
    assert client.send().status == 401
    with house.session(None) as session:
        session.ehlo()
        assert session.docmd("AUTH PLAIN", _plain(whole.client.key))[0] == 535
    client.key = ""
    assert client.call("GET", f"{MANAGE}/accounts").status == 401
    client.close()


def _plain(key: str) -> str:
    return base64.b64encode(f"\0x\0{key}".encode()).decode()


def test_methods_and_bodies(whole: Manager) -> None:
    for method, path, allow in (
        ("PUT", "/accounts", "GET, POST"),
        ("OPTIONS", "/accounts/x", "GET, PATCH"),
        ("POST", "/audit", "GET"),
    ):
        answer = whole(method, path)
        assert (answer.status, answer.code) == (405, "INVALID_REQUEST")
        assert answer.headers["allow"] == allow
    large = whole("POST", "/accounts", {"name": "x" * 70_000})
    assert (large.status, large.code) == (413, "TOO_LARGE")
    other = whole("POST", "/accounts", b"name=x", {"Content-Type": "text/plain"})
    assert other.status == 415
    assert whole("POST", "/accounts", b"x", {"Content-Encoding": "gzip"}).status == 415
    assert whole("GET", "/accounts?limit=5").status == 200
    assert whole("GET", "//accounts").status == 200
    assert whole("GET", "/accounts//ledger").status == 404
