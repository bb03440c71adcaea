"""`/metrics` over a real socket: the numbers follow what happened, and nothing else is told."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from collections.abc import Callable

import pytest
from prometheus_client.parser import text_string_to_metric_families

from peers.process import free_port, wait_until
from peers.recording import Recording
from peers.relay import SENDER, Relay, mail
from waypost.clock import SystemClock
from waypost.store.sqlite.committer import CommitTimes
from waypost.watch.lag import LoopLag

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]
MakeRelay = Callable[..., Relay]


def scraped(port: int) -> Series:
    """Every sample, by name and labels; a series that is told twice fails."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        text = answer.read().decode()
    found: Series = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found, key
            found[key] = sample.value
    return found


def value(series: Series, name: str, **labels: str) -> float:
    return series[(f"waypost_{name}", tuple(sorted(labels.items())))]


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def watched(make_relay: MakeRelay, port: int) -> Relay:
    return make_relay(
        settings="inline_wait = 30", tables={"listen": f'metrics = ["127.0.0.1:{port}"]'}
    )


def test_numbers_follow_what_happens(watched: Relay, port: int, recording: Recording) -> None:
    key = watched.furnish(recording.port)
    before = scraped(port)
    assert value(before, "accepted_messages_total") == 0
    assert watched.submit(key, mail(), ["ann@example.com", "bob@example.com"])[0] == 250
    assert (
        watched.submit(key, mail(subject="no").replace(b"noreply@", b"other@"), ["a@b.example"])[0]
        == 550
    )
    recording.answers["RCPT"] = lambda line: (
        "550 5.1.1 nobody" if "gone" in line else "450 4.2.1 busy" if "busy" in line else "250 ok"
    )
    watched.submit(key, mail("gone@example.com", "gone"), ["gone@example.com"])
    watched.submit(key, mail("busy@example.com", "busy"), ["busy@example.com"])
    seen = scraped(port)
    assert value(seen, "accepted_messages_total") == 3
    assert value(seen, "accepted_recipients_total") == 4
    assert value(seen, "refused_total", reason="sender_not_allowed") == 1
    assert value(seen, "refused_total", reason="rate_limit") == 0
    assert value(seen, "delivery_recipients_total", outcome="sent") == 2
    assert value(seen, "delivery_recipients_total", outcome="failed") == 1
    assert value(seen, "delivery_recipients_total", outcome="deferred") == 1
    assert value(seen, "queue_messages", upstream="main", account="") == 1
    assert 0 <= value(seen, "queue_oldest_seconds", upstream="main", account="") < 60
    assert value(seen, "upstream_up", upstream="main", account="") == 1
    assert value(seen, "commit_seconds_count") > value(before, "commit_seconds_count")
    assert value(seen, "commit_seconds_sum") > 0
    assert value(seen, "loop_lag_seconds") >= 0


def test_a_repeat_is_not_accepted_again(watched: Relay, port: int, recording: Recording) -> None:
    key = watched.furnish(recording.port)
    same = mail(extra="Message-ID: <one@relay.test>\r\n")
    for _ in range(2):
        assert watched.submit(key, same, ["ann@example.com"])[0] == 250
    assert value(scraped(port), "accepted_messages_total") == 1


def test_sessions_and_pools(watched: Relay, port: int, recording: Recording) -> None:
    key = watched.furnish(recording.port)
    with watched.session(key):
        assert value(scraped(port), "sessions") == 1
    wait_until(lambda: value(scraped(port), "sessions") == 0, "the session to be counted out")
    watched.submit(key, mail(), ["ann@example.com"])
    assert value(scraped(port), "pool_connections", upstream="main", account="") == 1


def test_two_accounts_with_an_upstream_of_one_name(
    watched: Relay, port: int, recording: Recording
) -> None:
    watched.furnish(recording.port)
    watched.cli("account", "create", "other", "--credits", "5")
    watched.cli(
        *("upstream", "add", "main", "--sender", "me@other.test", "--host", "mx.example.com"),
        *("--account", "other", "--password-file", "-", "--no-test"),
        stdin="secret",
    )
    wait_until(
        lambda: (
            ("waypost_upstream_up", (("account", "other"), ("upstream", "main"))) in scraped(port)
        ),
        "the second upstream",
    )


def test_on_its_own_listener_alone(watched: Relay, port: int) -> None:
    for url in (f"http://127.0.0.1:{watched.http}/metrics", f"http://127.0.0.1:{port}/version"):
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(url, timeout=60)
        error.value.close()
        assert error.value.code == 404


def test_nothing_of_mail_or_keys_is_told(watched: Relay, port: int, recording: Recording) -> None:
    key = watched.furnish(recording.port)
    watched.submit(key, mail("ann@example.com", "Secret plan"), ["ann@example.com"])
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        text = answer.read().decode()
    for word in (key, "ann@example.com", "Secret plan", SENDER):
        assert word not in text


def test_each_worker_tells_its_own(make_relay: MakeRelay, port: int, recording: Recording) -> None:
    relay = make_relay(
        settings="workers = 2\ninline_wait = 30",
        tables={"listen": f'metrics = ["127.0.0.1:{port}"]'},
    )
    key = relay.furnish(recording.port)
    for number in range(6):
        letter = mail(subject=f"number {number}")
        assert relay.submit(key, letter, ["ann@example.com"])[0] == 250
    told = [scraped(port + number) for number in (0, 1)]
    assert sum(value(series, "accepted_messages_total") for series in told) == 6
    assert sum(value(s, "delivery_recipients_total", outcome="sent") for s in told) == 6


def test_the_openmetrics_form_where_it_is_asked_for(watched: Relay, port: int) -> None:
    asked = urllib.request.Request(
        f"http://127.0.0.1:{port}/metrics",
        headers={"Accept": "application/openmetrics-text; version=1.0.0"},
    )
    with urllib.request.urlopen(asked, timeout=60) as answer:
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
        assert answer.read().endswith(b"# EOF\n")


def test_commit_times_fall_where_they_belong() -> None:
    times = CommitTimes()
    for took_s in (0.0, 0.0005, 0.0006, 3.0, 99.0):
        times.add(took_s)
    assert times.counts == [2, 1, *[0] * 10, 1, 1]
    assert times.total_s == pytest.approx(102.0011)


class _Late(SystemClock):
    """A clock that jumps ahead at each look, and says when it was looked at thrice."""

    def __init__(self, looked: asyncio.Event) -> None:
        self._looked = looked
        self._looks = 0

    def monotonic(self) -> float:
        self._looks += 1
        if self._looks >= 3:
            self._looked.set()
        return self._looks * 2.5


def test_lag_is_what_something_due_had_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("waypost.watch.lag.STEP_S", 0.01)

    async def look() -> float:
        looked = asyncio.Event()
        lag = LoopLag(_Late(looked))
        lag.start()
        await asyncio.wait_for(looked.wait(), 60)
        lag.stop()
        return lag.worst_s

    assert asyncio.run(look()) == pytest.approx(2.49)
