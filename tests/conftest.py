"""What every test may ask for: the real peers of the stories, each ended with its test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import structlog

from peers.need import need as need_programs
from peers.recording import Recording, RecordingServer
from peers.relay import Relay
from peers.upstreams import Aiosmtpd, SmtpSink

# What holds of one tree holds again: a find by chance belongs to those who look for it (`--soak`).
# Nothing has a deadline: how fast a machine is says nothing of what is right.
_patient = hypothesis.settings(
    deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.register_profile("any", _patient)
hypothesis.settings.register_profile("steady", _patient, derandomize=True)
hypothesis.settings.load_profile("steady")


@pytest.fixture(autouse=True)
def log_of_its_own() -> Iterator[None]:
    """A command run in this process sends the log to a standard error that ends with its test."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def need() -> Callable[..., list[str]]:
    """`need("swaks")` skips the test where swaks is missing, or fails it under TEST_REQUIRE=all."""
    return need_programs


@pytest.fixture
def make_relay(tmp_path: Path) -> Iterator[Callable[..., Relay]]:
    """Makes a relay that is started; arguments are those of `Relay` without the folder."""
    with ExitStack() as stack:
        made: list[Relay] = []

        def make(**arguments: Any) -> Relay:
            relay = Relay(tmp_path / f"relay{len(made)}", **arguments)
            made.append(relay)
            stack.callback(relay.stop)
            relay.start()
            return relay

        yield make


@pytest.fixture
def relay(make_relay: Callable[..., Relay]) -> Relay:
    """A relay with every default but its ports."""
    return make_relay()


@pytest.fixture
def recording() -> Iterator[Recording]:
    """An upstream in plain text, without login, that keeps exact octets."""
    server = RecordingServer(Recording())
    yield server.start()
    server.stop()


@pytest.fixture
def recording_server() -> Iterator[RecordingServer]:
    """The same with its switch: `away()` and `start()`."""
    server = RecordingServer(Recording())
    server.start()
    yield server
    server.stop()


@pytest.fixture
def smtp_sink(tmp_path: Path) -> Iterator[SmtpSink]:
    sink = SmtpSink(tmp_path)
    yield sink
    sink.stop()


@pytest.fixture
def aiosmtpd() -> Iterator[Aiosmtpd]:
    upstream = Aiosmtpd()
    yield upstream
    upstream.stop()
