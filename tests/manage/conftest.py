"""One relay for all tests of the management API, with two accounts that must not meet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from peers.http_client import Answer, Client
from peers.recording import Recording, RecordingServer
from peers.relay import SENDER, Relay

MANAGE = "/api/v1/manage"


@dataclass
class Manager:
    """Calls with one token; paths are behind /api/v1/manage."""

    client: Client

    def __call__(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Answer:
        if body is None and method in ("POST", "PATCH"):
            body = {}
        return self.client.call(method, MANAGE + path, body, headers)

    def get(self, path: str) -> Any:
        answer = self("GET", path)
        assert answer.status == 200, answer
        return answer.data


@pytest.fixture(scope="session")
def upstream() -> Iterator[RecordingServer]:
    server = RecordingServer(Recording())
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory, upstream: RecordingServer) -> Iterator[Relay]:
    """The relay, with the operator's upstream and its global sender."""
    relay = Relay(
        tmp_path_factory.mktemp("manage"),
        settings=f'inline_wait = 30.0\nglobal_sender = "{SENDER}"',
        tables={
            # Wrong tokens are answered ever later, by address: tests come from one of their own.
            "listen": 'trusted_proxies = ["127.0.0.1"]',
            "limits": "rate_per_minute = 0",
            # What one test leaves queued is not tried again in the middle of another.
            "queue": 'retry = ["6h"]',
            "upstreams": f'allow_networks = ["127.0.0.1/32"]\nports = [{upstream.book.port}]',
        },
    )
    relay.start()
    relay.upstream("main", upstream.book.port, SENDER)
    yield relay
    relay.stop()


@pytest.fixture(scope="session")
def whole(house: Relay) -> Iterator[Manager]:
    """With a token of all accounts."""
    client = Client(house.http, house.cli("token", "create", "--name", "whole")["token"])
    yield Manager(client)
    client.close()


@pytest.fixture(scope="session")
def accounts(house: Relay) -> list[str]:
    """Two accounts with credits; what is bob's comes first where the store has an order."""
    for name in ("bob", "ann"):
        house.cli("account", "create", name, "--credits", "1000")
    return ["ann", "bob"]


@pytest.fixture(scope="session")
def ann(house: Relay, accounts: list[str]) -> Iterator[Manager]:
    """With a token of the account ann."""
    client = Client(house.http, house.cli("token", "create", "--account", "ann")["token"])
    yield Manager(client)
    client.close()


@pytest.fixture
def book(upstream: RecordingServer) -> Iterator[Recording]:
    """What the upstream caught in this test, and how it answers."""
    upstream.book.messages.clear()
    upstream.book.answers.clear()
    yield upstream.book
    upstream.book.answers.clear()
