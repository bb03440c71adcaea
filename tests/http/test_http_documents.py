"""The documents: what they describe exists, what they show works; and the listener over TLS."""

from __future__ import annotations

import http.client
import json
import re
import ssl
from typing import Any

import pytest

from peers.http_client import SEND, Client
from peers.process import free_port
from peers.recording import Recording
from peers.relay import SENDER, Relay, any_certificate


def test_what_is_described_exists(shared: Client, book: Recording) -> None:
    told = shared.get("/openapi.json").told
    assert told["openapi"].startswith("3.1")
    text = json.dumps(told)
    for reference in re.findall(r'"#/components/(\w+)/(\w+)"', text):
        assert reference[1] in told["components"][reference[0]]
    ident = shared.send().data["messageId"]
    for path, methods in told["paths"].items():
        for method, call in methods.items():
            body = call.get("requestBody", {}).get("content", {})
            for kind, shape in body.items() or [("", {"example": None})]:
                example = shape["example"]
                octets = example.encode() if kind == "message/rfc822" else example
                headers = {"Content-Type": kind} if kind else {}
                there = path.replace("{id}", ident)
                if {"token": []} in call.get("security", []):
                    headers["Authorization"] = ""  # see tests/manage
                answer = shared.call(method.upper(), there, octets, headers)
                assert str(answer.status) in call["responses"], (path, answer)
    example = told["paths"][SEND]["post"]["requestBody"]["content"]["application/json"]["example"]
    assert shared.call("POST", SEND, example).status == 200


def test_the_page_asks_nobody(house: Relay) -> None:
    kept = http.client.HTTPConnection("127.0.0.1", house.http, timeout=120)
    kept.request("GET", "/docs")
    page = kept.getresponse().read().decode()
    kept.close()
    assert SEND in page
    assert not re.search(r"src=|@import|url\(|(href|action)=['\"]?https?:", page)


def test_head_is_get_without_its_body(house: Relay) -> None:
    kept = http.client.HTTPConnection("127.0.0.1", house.http, timeout=120)
    for path, status in (("/livez", 200), ("/readyz", 200), ("/openapi.json", 200), ("/no", 404)):
        kept.request("HEAD", path)
        answer = kept.getresponse()
        assert (answer.status, answer.read()) == (status, b"")
    kept.request("HEAD", SEND)
    assert kept.getresponse().status == 405
    kept.close()


def test_over_tls(make_relay: Any, recording: Recording) -> None:
    port = free_port()
    relay: Relay = make_relay(
        settings="inline_wait = 30", tables={"listen": f'https = ["127.0.0.1:{port}"]'}
    )
    key = relay.furnish(recording.port)
    kept = http.client.HTTPSConnection("127.0.0.1", port, timeout=120, context=any_certificate())
    body = json.dumps({"from": SENDER, "to": "ann@example.com", "text": "x"})
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    for _ in range(2):
        kept.request("POST", SEND, body, headers)
        assert kept.getresponse().read().startswith(b'{"ok":true')
    kept.close()
    assert b"with HTTPS id" in recording.messages[0].octets
    old = any_certificate()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    old.set_ciphers("AES128-SHA")
    refused = http.client.HTTPSConnection("127.0.0.1", port, timeout=120, context=old)
    with pytest.raises(ssl.SSLError):
        refused.request("GET", "/livez")
