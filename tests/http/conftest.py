"""One relay and one upstream for all HTTP tests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from peers.http_client import Client
from peers.recording import Recording, RecordingServer
from peers.relay import SENDER, Relay


@pytest.fixture(scope="session")
def upstream() -> Iterator[RecordingServer]:
    server = RecordingServer(Recording())
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory, upstream: RecordingServer) -> Iterator[Relay]:
    """The relay, with an upstream, a global sender and no limit of rate."""
    relay = Relay(
        tmp_path_factory.mktemp("http"),
        settings=f'inline_wait = 30.0\nglobal_sender = "{SENDER}"',
        # What one test leaves queued is not tried again in the middle of another.
        tables={"limits": "rate_per_minute = 0", "queue": 'retry = ["6h"]'},
    )
    relay.start()
    relay.upstream("main", upstream.book.port, SENDER)
    yield relay
    relay.stop()


@pytest.fixture
def book(upstream: RecordingServer) -> Iterator[Recording]:
    """What the upstream caught in this test, and how it answers."""
    upstream.book.messages.clear()
    upstream.book.answers.clear()
    yield upstream.book
    upstream.book.answers.clear()


@pytest.fixture
def account(request: pytest.FixtureRequest, house: Relay) -> str:
    """An account of this test's own, with 1000 credits."""
    name = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:20]
    house.cli("account", "create", name, "--credits", "1000")
    return name


@pytest.fixture
def client(house: Relay, account: str, book: Recording) -> Iterator[Client]:
    """Calls with a key of that account."""
    made = Client(house.http, house.key(account))
    yield made
    made.close()


@pytest.fixture(scope="session")
def _shared(house: Relay) -> Iterator[Client]:
    house.cli("account", "create", "shared", "--credits", "unlimited")
    made = Client(house.http, house.key("shared"))
    yield made
    made.close()


@pytest.fixture
def shared(_shared: Client, book: Recording) -> Client:
    """Calls of an account that all tests share: for those that ask nothing of its balance."""
    return _shared
