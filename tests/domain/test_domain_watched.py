"""The watch of the domains in use, in a running relay: what turns worse is told and shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pages.town import first_run
from peers.dns_server import DnsServer
from peers.http_client import Client
from peers.person import Person
from peers.process import wait_until
from peers.receiver import Receiver
from peers.relay import Relay

# What is changed here is to be seen at once: nothing of it may be remembered.
RIGHT = """@ MX 10 mx
@ 0 IN TXT "v=spf1 ip4:192.0.2.10 -all"
mx A 192.0.2.25
out A 192.0.2.10
_dmarc TXT "v=DMARC1; p=reject; rua=mailto:a@corp.example"
"""
WRONG = RIGHT.replace("-all", "+all")


@pytest.mark.slow
def test_a_domain_that_turns_worse_is_told_and_shown(tmp_path: Path) -> None:
    dns, receiver = DnsServer(), Receiver("")
    dns.zone("corp.example", RIGHT)
    relay = Relay(
        tmp_path / "relay",
        tables={
            "dns": f'servers = ["{dns.place}"]\nwatch_every = "1s"',
            "alerts": f'url = "{receiver.url}"',
        },
    )
    try:
        relay.start()
        receiver.secret = (relay.data / "alerts.secret").read_text().strip()
        relay.cli("account", "create", "acme")
        (relay.folder / "p").write_text("secret")
        relay.cli(
            *("upstream", "add", "work", "--account", "acme", "--sender", "a@corp.example"),
            *("--host", "out.corp.example", "--password-file", "p", "--no-test"),
        )

        def shown() -> list[dict[str, Any]]:
            (upstream,) = relay.cli("upstream", "list")
            return list(upstream["domains"])

        wait_until(lambda: len(shown()) == 1, "the first check", 60)
        assert not any("spf" in problem for problem in shown()[0]["problems"])

        dns.zone("corp.example", WRONG)
        wait_until(lambda: shown()[0]["status"] == "error", "the change to be shown", 60)
        assert any("spf: " in problem for problem in shown()[0]["problems"])
        wait_until(lambda: len(receiver.alerts) == 1, "an alert", 60)
        told = receiver.alerts[0]
        assert (told["type"], told["data"]["upstream"]) == ("domain.worse", "work")
        assert "corp.example through work: spf went from ok to error" in told["data"]["text"]

        token = relay.cli("token", "create", "--account", "acme")["token"]
        api = Client(relay.http, token)
        (upstream,) = api.call("GET", "/api/v1/manage/upstreams").data
        api.close()
        assert upstream["domains"][0]["status"] == "error"
        page = Person(relay.http, cookies=first_run(relay)).get("/domains")
        assert "error" in page.words and "spf," in page.words

        dns.zone("corp.example", RIGHT)
        wait_until(lambda: len(receiver.alerts) == 2, "the recovery", 60)
        assert receiver.alerts[1]["type"] == "domain.recovered"
        wait_until(lambda: shown()[0]["status"] != "error", "the recovery to be shown", 60)
    finally:
        relay.stop()
        receiver.stop()
        dns.stop()
    assert receiver.wrong == []
