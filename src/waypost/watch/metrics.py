"""What an operator's Prometheus asks for: `/metrics`, on a listener of its own.

Promises that nothing is done before somebody asks: all is counted elsewhere in plain numbers, and
named and labelled here. Numbers are of this process since its start; the queue is of the whole
store. Where the store is away the queue is left out, the rest is told. Knows nothing of how mail is
judged or delivered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec
from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler
from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from waypost.clock import Clock
from waypost.core import ident
from waypost.core.errors import StoreAway
from waypost.core.lifecycle import State
from waypost.core.verdict import Reason
from waypost.store.connect import connect
from waypost.store.read import waiting
from waypost.store.read.book import Look
from waypost.store.read.rows import QueueRow
from waypost.store.sqlite.committer import CommitTimes

OUTCOMES = {"sent": State.SENT, "deferred": State.QUEUED, "failed": State.FAILED}


class Doors(Protocol):
    """What counts what comes in."""

    accepted_messages: int
    accepted_recipients: int
    refused: dict[Reason, int]


class Pooled(Protocol):
    """The connections of one upstream."""

    @property
    def upstream(self) -> str: ...
    @property
    def account(self) -> str: ...
    @property
    def connections(self) -> int: ...
    @property
    def claimed(self) -> int: ...
    @property
    def able(self) -> bool: ...


class Sources(msgspec.Struct, frozen=True):
    """Where the numbers are. `results`: of recipients in attempts; `lag_s`: the event loop's."""

    version: str
    door: Doors
    results: Mapping[State, int]
    commits: CommitTimes
    sessions: Callable[[], int]
    held_octets: Callable[[], int]
    pools: Callable[[], Iterable[Pooled]]
    lag_s: Callable[[], float]


def handlers(sources: Sources, data: Path, clock: Clock) -> list[HTTPRouteHandler]:
    """The one route."""

    @get("/metrics")
    async def metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
        lines = await asyncio.to_thread(_queue, data)
        registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=registry)
        registry.register(_Told(_families(sources, lines, clock.wall_ms())))
        encode, kind = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"Content-Type": kind})

    return [metrics]


class _Told(Collector):
    """A collector of what is known already."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        return self._families

    def describe(self) -> Iterable[Metric]:
        return self._families


def _queue(data: Path) -> list[QueueRow] | None:
    """What waits, None where the store cannot be read; off the loop, since it walks the queue."""
    try:
        db = connect(data, readonly=True)
        try:
            return waiting.lines(Look(db), None)
        finally:
            db.close()
    except StoreAway:
        return None


def _families(sources: Sources, lines: list[QueueRow] | None, now_ms: int) -> Iterator[Metric]:
    yield _gauge("waypost_build_info", "The version, as a label.", {"version": sources.version}, 1)
    yield from _intake(sources)
    yield from _delivery(sources)
    yield _commits(sources.commits)
    lag = "Seconds that something due had to wait for the event loop, at worst in a minute."
    yield _gauge("waypost_loop_lag_seconds", lag, {}, sources.lag_s())
    if lines is not None:
        yield from _waiting(lines, now_ms)


def _intake(sources: Sources) -> Iterator[Metric]:
    door = sources.door
    yield CounterMetricFamily(
        "waypost_accepted_messages", "Messages committed.", value=door.accepted_messages
    )
    yield CounterMetricFamily(
        "waypost_accepted_recipients",
        "Recipients of the messages committed: credits taken.",
        value=door.accepted_recipients,
    )
    refused = CounterMetricFamily(
        "waypost_refused", "Submissions refused, by reason.", labels=["reason"]
    )
    for reason, count in door.refused.items():
        refused.add_metric([reason.value], count)
    yield refused
    yield _gauge("waypost_sessions", "SMTP sessions open.", {}, sources.sessions())
    held = "Octets of unfinished messages in memory."
    yield _gauge("waypost_message_memory_bytes", held, {}, sources.held_octets())


def _delivery(sources: Sources) -> Iterator[Metric]:
    ended = CounterMetricFamily(
        "waypost_delivery_recipients",
        "Recipients in attempts, by what became of them; deferred ones are tried again.",
        labels=["outcome"],
    )
    for word, state in OUTCOMES.items():
        ended.add_metric([word], sources.results[state])
    yield ended
    named = ["upstream", "account"]
    connections = GaugeMetricFamily(
        "waypost_pool_connections", "Connections to the upstream, open or opening.", labels=named
    )
    claimed = GaugeMetricFamily(
        "waypost_pool_claimed_messages", "Messages that wait for a connection.", labels=named
    )
    able = GaugeMetricFamily(
        "waypost_upstream_up", "1 where the upstream takes mail, 0 where it rests.", labels=named
    )
    for pool in sources.pools():
        names = [pool.upstream, pool.account]
        connections.add_metric(names, pool.connections)
        claimed.add_metric(names, pool.claimed)
        able.add_metric(names, int(pool.able))
    yield from (connections, claimed, able)


def _commits(times: CommitTimes) -> Metric:
    buckets: list[tuple[str, float]] = []
    added_up = 0
    bounds = (*map(str, times.BOUNDS_S), "+Inf")
    for bound, count in zip(bounds, tuple(times.counts), strict=True):
        added_up += count
        buckets.append((bound, added_up))
    return HistogramMetricFamily(
        "waypost_commit_seconds",
        "Seconds a commit took, its sync to disk with it.",
        buckets=buckets,
        sum_value=times.total_s,
    )


def _waiting(lines: list[QueueRow], now_ms: int) -> Iterator[Metric]:
    named = ["upstream", "account"]
    size = GaugeMetricFamily(
        "waypost_queue_messages",
        "Messages that wait for the upstream or are on their way to it.",
        labels=named,
    )
    age = GaugeMetricFamily(
        "waypost_queue_oldest_seconds", "Age of the oldest of them.", labels=named
    )
    for line in lines:
        names = [line.upstream, line.account or ""]
        oldest_ms = ident.milliseconds(line.oldest) if line.oldest is not None else now_ms
        size.add_metric(names, line.queued)
        age.add_metric(names, max(now_ms - oldest_ms, 0) / 1000)
    yield from (size, age)


def _gauge(name: str, text: str, labels: dict[str, str], value: float) -> Metric:
    family = GaugeMetricFamily(name, text, labels=list(labels))
    family.add_metric(list(labels.values()), value)
    return family
