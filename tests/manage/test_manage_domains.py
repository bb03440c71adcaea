"""The check of a domain over the management API, against a name server on loopback."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from manage.conftest import Manager
from peers.dns_server import DnsServer
from peers.http_client import Client
from peers.relay import Relay

ZONE = (
    '@ MX 10 mx\n@ TXT "v=spf1 include:amazonses.com -all"\nmx A 192.0.2.25\nout A 192.0.2.10\n'
    '_dmarc TXT "v=DMARC1; p=reject; rua=mailto:a@corp.example"\n'
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Manager, Manager, DnsServer]]:
    """A token of everybody, one of ann's, and the name server that the relay asks."""
    server = DnsServer()
    server.zone("corp.example", ZONE)
    server.zone("amazonses.com", '@ TXT "v=spf1 ip4:203.0.113.0/24 -all"')
    relay = Relay(
        tmp_path_factory.mktemp("domains"),
        tables={
            "listen": 'trusted_proxies = ["127.0.0.1"]',
            "dns": f'servers = ["{server.place}"]\nwatch = false',
        },
    )
    relay.start()
    relay.cli("account", "create", "ann")
    (relay.folder / "p").write_text("secret")
    relay.cli(
        *("upstream", "add", "own", "--account", "ann", "--sender", "a@corp.example"),
        *("--host", "out.corp.example", "--password-file", "p", "--no-test"),
    )
    clients = [
        Client(relay.http, relay.cli("token", "create", "--name", "all")["token"]),
        Client(relay.http, relay.cli("token", "create", "--account", "ann")["token"]),
    ]
    yield Manager(clients[0]), Manager(clients[1]), server
    for client in clients:
        client.close()
    relay.stop()
    server.stop()


Both = tuple[Manager, Manager, DnsServer]


def test_the_domain_is_checked_for_its_upstream(whole: Both) -> None:
    for manager in whole[:2]:
        told = manager.get("/domains/corp.example")
        assert (told["domain"], told["ok"], told["upstreams"]) == ("corp.example", False, ["own"])
        spf = next(f for f in told["findings"] if f["check"] == "spf")
        assert spf["publish"] == {
            "name": "corp.example",
            "type": "TXT",
            "value": "v=spf1 include:amazonses.com a:out.corp.example -all",
        }


def test_what_is_asked_for_beside(whole: Both) -> None:
    manager = whole[0]
    told = manager.get("/domains/corp.example?selector=s1,s2&upstream=own&account=ann")
    assert len([f for f in told["findings"] if f["check"] == "dkim"]) == 2
    told = manager.get("/domains/corp.example?blocklists=true")
    assert "blocklists" in [f["check"] for f in told["findings"]]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/domains/nodot", 400),
        ("/domains/%20", 400),
        ("/domains/corp.example?selector=a%20b", 400),
        ("/domains/corp.example?selector=" + ",".join("abcdefghijklmnopqrstuvwxyz"), 400),
        ("/domains/corp.example?blocklists=maybe", 400),
        ("/domains/corp.example?colour=red", 400),
        ("/domains/corp.example?upstream=none", 404),
        ("/domains/corp.example?account=nobody", 404),
    ],
)
def test_wrong_calls(whole: Both, path: str, status: int) -> None:
    assert whole[0]("GET", path).status == status


def test_a_token_of_one_account_sees_its_own(whole: Both) -> None:
    """What DNS says is everybody's; what sends for the domain is not."""
    assert whole[1]("GET", "/domains/corp.example?account=bob").status == 404
    created = whole[0]("POST", "/accounts", {"name": "bob"})
    assert created.status == 201, created
    token = whole[0]("POST", "/tokens", {"account": "bob"}).data["token"]
    client = Client(whole[0].client.port, token)
    told = Manager(client).get("/domains/corp.example")
    assert told["upstreams"] == []
    assert "own" not in [word for f in told["findings"] for word in f["found"].split()]
    assert Manager(client)("GET", "/domains/corp.example?upstream=own").status == 404
    client.close()


def test_a_name_server_that_is_away_is_told_as_such(whole: Both) -> None:
    whole[2].fault("away.example", "servfail")
    told = whole[0].get("/domains/away.example")
    assert told["ok"]
    assert {f["unknown"] for f in told["findings"]} == {True}
