"""The daily check of the domains in use: of every pair of a domain and an upstream of senders.

Promises that mail never waits for it: it asks in a thread that nobody waits for, one domain at a
time. A change for the worse is an event, committed with what is known from then on. Knows nothing
of what the findings mean.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

import msgspec

from waypost.config import Dns as Config
from waypost.core.event import Kind
from waypost.desk.domains import known
from waypost.desk.domains.check import asking
from waypost.desk.domains.known import Change
from waypost.desk.office import DAY_MS, Desk
from waypost.domain.answers import Outside
from waypost.domain.check import run, source
from waypost.log import get
from waypost.store.manage import domains, rows
from waypost.store.manage.domains import DomainRow
from waypost.store.read import people
from waypost.store.read.book import Value
from waypost.store.read.rows import UpstreamRow

FIRST_S = 60.0  # after a start: one that lasts shorter asks nobody
LOOK_S = 900.0  # between looks for what is due
PAIRS_MOST = 2_000

T = TypeVar("T")


class Daily:
    """Ask `step` now and then, from one worker."""

    def __init__(
        self,
        desk: Desk,
        config: Config,
        *,
        first_s: float = FIRST_S,
    ) -> None:
        self._desk = desk
        self._dns = asking(desk.clock, config.servers)
        self._on = config.watch
        self._every_ms = config.watch_every_ms
        self._not_before_s = desk.clock.monotonic() + min(first_s, self._every_ms / 1_000)
        self._due: list[tuple[int, str]] = []

    async def step(self) -> int:
        """Checks one domain that is due; how many that was. Raises `StoreAway`."""
        if not self._on or self._desk.clock.monotonic() < self._not_before_s:
            return 0
        if not self._due:
            self._due = await asyncio.to_thread(due, self._desk, self._every_ms)
        if not self._due:
            self._not_before_s = self._desk.clock.monotonic() + min(LOOK_S, self._every_ms / 1_000)
            return 0
        upstream_id, domain = self._due.pop()
        resolver = self._dns.resolver()
        try:
            await _unwaited(lambda: check_one(self._desk, resolver, upstream_id, domain))
        except asyncio.CancelledError:
            resolver.stop()
            raise
        return 1


async def _unwaited(work: Callable[[], T]) -> T:
    """In a thread that the end of the process does not wait for, as it does for a pool's."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def told(result: T | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]  # a T, where there is no error

    def run_() -> None:
        try:
            outcome: tuple[T | None, BaseException | None] = (work(), None)
        except Exception as error:  # noqa: BLE001  (handed to whoever awaits it)
            outcome = (None, error)
        try:
            loop.call_soon_threadsafe(told, *outcome)
        except RuntimeError:
            get("domains").debug("loop_ended_first")

    threading.Thread(target=run_, name="domains", daemon=True).start()
    return await done


def due(desk: Desk, every_ms: int = DAY_MS) -> list[tuple[int, str]]:
    """(upstream's id, domain) of what was not checked for so long, the oldest last; what is no
    longer in use is forgotten."""
    with desk.reading() as look:
        used = {
            (upstream_id, address.rpartition("@")[2])
            for upstream_id, address in domains.bound(look)
        }
        kept = {(row.upstream_id, row.domain): row.checked_at for row in domains.all_(look)}
    gone = set(kept) - used
    if gone:
        with desk.writing() as look:
            for upstream_id, domain in gone:
                domains.drop(look, upstream_id, domain)
    now_ms = desk.clock.wall_ms()
    found = [
        pair
        for pair in used
        if _checkable(pair[1]) and not 0 <= now_ms - kept.get(pair, 0) < every_ms
    ]
    return sorted(found, key=lambda pair: -kept.get(pair, 0))[-PAIRS_MOST:]


def _checkable(domain: str) -> bool:
    """A provider's own domain, such as gmail.com, is its own affair."""
    if source.owner(domain):
        return False
    return "." in domain and not domain.startswith("[")


def check_one(desk: Desk, ask: Outside, upstream_id: int, domain: str) -> Change | None:
    """Checks one domain through one upstream and keeps what is known; None: it is gone."""
    with desk.reading() as look:
        row = people.upstream_by_id(look, upstream_id)
    if row is None:
        return None
    sources = (source.make(row.name, row.host, row.preset, domain),)
    report = run.check(ask, run.Question(domain=domain, sources=sources))
    now_ms = desk.clock.wall_ms()
    with desk.writing() as look:
        if people.upstream_by_id(look, upstream_id) is None:
            return None
        before = known.read(domains.one(look, upstream_id, domain))
        change = known.compared(before, report.findings, now_ms)
        octets = msgspec.json.encode(change.known)
        domains.keep(look, DomainRow(upstream_id, domain, now_ms, change.status.value, octets))
        for kind, words in (
            (Kind.DOMAIN_WORSE, change.worse),
            (Kind.DOMAIN_RECOVERED, change.right),
        ):
            if words:
                text = f"{domain} through {row.name}: {'; '.join(words)}"
                rows.tell(look, _event(now_ms, kind, text, row))
    return change


def _event(now_ms: int, kind: Kind, text: str, row: UpstreamRow) -> dict[str, Value]:
    return {
        "at": now_ms,
        "kind": kind.value,
        "text": text,
        "account_id": row.account_id,
        "upstream_id": row.id,
    }
