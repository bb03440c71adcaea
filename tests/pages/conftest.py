"""One relay with an upstream, two accounts and people of every role, for all tests of pages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pages.town import PEOPLE, Town, first_run, invited
from peers.recording import Recording, RecordingServer
from peers.relay import SENDER, Relay


@pytest.fixture(scope="session")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    server = RecordingServer(Recording())
    server.start()
    relay = Relay(
        tmp_path_factory.mktemp("pages"),
        settings=f'inline_wait = 30.0\nglobal_sender = "{SENDER}"',
        tables={
            "limits": "rate_per_minute = 0",
            "listen": 'trusted_proxies = ["127.0.0.1"]',
            # What one test leaves queued is not tried again in the middle of another.
            "queue": 'retry = ["6h"]',
        },
    )
    relay.start()
    try:
        relay.upstream("main", server.book.port, SENDER)
        relay.cli("account", "create", "acme", "--credits", "1000")
        relay.cli("account", "create", "other", "--credits", "1000")
        cookies = {"operator": first_run(relay)}
        for role, email in PEOPLE.items():
            place = ("other", "owner") if role == "stranger" else ("acme", role)
            cookies[role] = invited(relay, email, *place)
        yield Town(relay, server.book, cookies)
    finally:
        relay.stop()
        server.stop()
