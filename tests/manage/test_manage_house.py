"""Members, the audit trail and the installation itself over the management API."""

from __future__ import annotations

import base64
import http.client
from typing import Any

from manage.conftest import Manager
from peers.relay import Relay, mail


def test_members_of_an_account(whole: Manager, ann: Manager, house: Relay, accounts: Any) -> None:
    new = {"email": "dev@ann.test", "account": "ann", "role": "developer"}
    made = whole("POST", "/members", new)
    assert (made.status, made.data["accounts"]) == (201, [{"account": "ann", "role": "developer"}])
    page = http.client.HTTPConnection("127.0.0.1", house.http, timeout=120)
    page.request("GET", made.data["link"])
    assert page.getresponse().status == 200
    page.close()
    own = ann("POST", "/members", {"email": "own@ann.test"})
    assert (own.status, own.data["accounts"][0]["account"]) == (201, "ann")
    assert {row["email"] for row in ann.get("/members")} == {"dev@ann.test", "own@ann.test"}
    of_bob = {row["email"] for row in whole.get("/members?account=bob")}
    assert not of_bob & {"dev@ann.test", "own@ann.test"}
    link = whole("POST", "/members/dev%40ann.test/login-link", {"resetSecondFactor": True})
    assert link.data["url"].startswith("/login/login/")
    assert ann("POST", "/members/own%40ann.test/login-link").code == "FORBIDDEN"
    assert ann("POST", "/members", {"email": "x@y.test", "account": "bob"}).status == 404
    assert ann("POST", "/members", {"email": "x@y.test", "role": "operator"}).status == 400
    whole("POST", "/members", {"email": "bobs@bob.test", "account": "bob"})
    assert ann("POST", "/members", {"email": "bobs@bob.test"}).status == 409
    assert ann("DELETE", "/members/bobs%40bob.test").status == 404
    assert whole("DELETE", "/members/bobs%40bob.test?account=bob").status == 200
    refused = ann("DELETE", "/members/own%40ann.test")  # an owner stays
    assert (refused.status, refused.code) == (409, "WRONG_STATE")
    assert ann("DELETE", "/members/dev%40ann.test").status == 200
    assert [row["email"] for row in ann.get("/members")] == ["own@ann.test"]


def test_no_token_reaches_an_operator(whole: Manager, house: Relay) -> None:
    house.run("member", "add", "chief@relay.test")
    assert whole("POST", "/members", {"email": "new@relay.test"}).status == 400
    answer = whole("POST", "/members/chief%40relay.test/login-link")
    assert (answer.status, answer.code) == (403, "FORBIDDEN")
    added = whole("POST", "/members", {"email": "chief@relay.test", "account": "ann"})
    assert "link" not in added.data
    assert whole("DELETE", "/members/chief%40relay.test").status == 400
    assert whole("POST", "/members/nobody%40relay.test/login-link").status == 404
    assert whole("DELETE", "/members/chief%40relay.test?account=ann").status == 200
    assert "chief@relay.test" in {row["email"] for row in whole.get("/members")}


def test_the_trail(whole: Manager, ann: Manager, house: Relay, accounts: Any) -> None:
    key = ann("POST", "/keys", {"name": "traced"}).data["id"]
    ann("DELETE", f"/keys/{key}")
    whole("POST", "/keys", {"account": "bob", "name": "bobs traced"})
    lines = ann.get("/trail")
    assert [(row["deed"], row["account"]) for row in lines[:2]] == [
        ("API DELETE keys", "ann"),
        ("API POST keys", "ann"),
    ]
    assert {row["account"] for row in lines} == {"ann"}
    assert "bobs traced" in whole.get("/trail")[0]["subject"]
    first = ann("GET", "/trail?limit=1").told
    second = ann("GET", f"/trail?limit=1&cursor={first['nextCursor']}").told
    assert [first["data"][0], second["data"][0]] == lines[:2]
    assert house.cli("log", "trail", "--account", "ann")[:2] == lines[:2]


def test_the_installation(whole: Manager, ann: Manager, house: Relay) -> None:
    told = whole.get("/doctor")
    names = {check["name"] for check in told["checks"]}
    assert names == {check["name"] for check in house.cli("doctor")["checks"]}
    before = whole("POST", "/secrets/rotate").data
    assert whole("POST", "/secrets/rotate").data["keys"] == before["keys"] + 1
    for method, path in (("GET", "/doctor"), ("POST", "/secrets/rotate")):
        assert ann(method, path).code == "FORBIDDEN"


def test_a_received_message(whole: Manager, house: Relay) -> None:
    octets = b"Received: from a.test (a.test [192.0.2.1]) by b.test; \r\n" + mail()
    told = whole("POST", "/message-readings", {"message": base64.b64encode(octets).decode()})
    assert told.data["author"] == "relay.test"
    assert told.data["received"][0]["ip"] == "192.0.2.1"
    for wrong in ("", "eA==", "?"):
        answer = whole("POST", "/message-readings", {"message": wrong})
        assert (answer.status, answer.told["field"]) == (400, "message")
