"""The daily check: what is due, what a change is, what it tells, and that nobody waits for it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from peers.dns_server import DnsServer
from peers.process import wait_until
from waypost.clock import SystemClock
from waypost.config import Dns
from waypost.core.errors import Secret
from waypost.desk import upstreams
from waypost.desk.connection.edits import Fields
from waypost.desk.domains import daily, known
from waypost.desk.domains.known import Known, compared
from waypost.desk.office import DAY_MS, Desk
from waypost.desk.secrets import FileSealer
from waypost.domain.answers import Answer, Fetched, Status
from waypost.domain.findings import Finding, Grade
from waypost.domain.resolver import Resolver
from waypost.upstream.settings import Form
from waypost.values import Endpoint

OK, WARNING, ERROR = Grade.OK, Grade.WARNING, Grade.ERROR


def finding(check: str, status: Grade, *, unknown: bool = False) -> Finding:
    return Finding(check=check, status=status, found=f"{check} {status}", why="", unknown=unknown)


def known_(check: str, status: Grade, since_ms: int = 1) -> Known:
    return Known(check, status, f"{check} {status}", since_ms)


UNKNOWN = finding("spf", WARNING, unknown=True)


@pytest.mark.parametrize(
    ("before", "findings", "status", "worse", "right"),
    [
        (None, [finding("spf", ERROR)], ERROR, 0, 0),  # the first time is no change
        ([known_("spf", OK)], [finding("spf", ERROR)], ERROR, 1, 0),
        ([known_("spf", OK)], [finding("spf", WARNING)], WARNING, 1, 0),
        ([known_("spf", WARNING)], [finding("spf", ERROR)], ERROR, 1, 0),
        ([known_("spf", ERROR)], [finding("spf", WARNING)], WARNING, 0, 0),
        ([known_("spf", ERROR)], [finding("spf", OK)], OK, 0, 1),
        ([known_("spf", OK)], [finding("spf", OK)], OK, 0, 0),
        # What could not be asked is neither better nor worse.
        ([known_("spf", OK)], [UNKNOWN], OK, 0, 0),
        ([known_("spf", ERROR)], [UNKNOWN], ERROR, 0, 0),
        (None, [UNKNOWN], OK, 0, 0),
        ([], [UNKNOWN], OK, 0, 0),
        # Of two keys the one that answered is broken.
        ([known_("spf", OK)], [UNKNOWN, finding("spf", ERROR)], ERROR, 1, 0),
        ([known_("spf", ERROR)], [UNKNOWN, finding("spf", OK)], ERROR, 0, 0),
        # A finding that is made only where something is wrong.
        ([known_("dmarc-reports", WARNING)], [finding("spf", OK)], OK, 0, 1),
        ([], [finding("dmarc-reports", WARNING)], WARNING, 1, 0),
        # A domain that is gone tells nothing of the rest.
        ([known_("spf", WARNING)], [finding("domain", ERROR)], ERROR, 1, 0),
        (
            [known_("spf", OK), known_("domain", ERROR)],
            [finding("spf", OK)],
            OK,
            0,
            1,
        ),
    ],
)
def test_what_a_change_is(
    before: list[Known] | None, findings: list[Finding], status: Grade, worse: int, right: int
) -> None:
    change = compared(before, findings, 7)
    assert (change.status, len(change.worse), len(change.right)) == (status, worse, right)
    again = compared(change.known, findings, 8)
    assert (again.worse, again.right) == ((), ()), "told once"
    assert again.known == change.known, "since when is kept"


class Clock(SystemClock):
    """A wall clock that is set."""

    def __init__(self) -> None:
        self.ms = 20_000 * DAY_MS

    def wall_ms(self) -> int:
        return self.ms


GOOD = {
    "": '@ MX 10 mx\n@ TXT "v=spf1 ip4:192.0.2.10 -all"\nmx A 192.0.2.25\nout A 192.0.2.10\n',
    "dmarc": '_dmarc TXT "v=DMARC1; p=reject; rua=mailto:a@corp.example"\n',
}


@pytest.fixture
def server() -> Iterator[DnsServer]:
    made = DnsServer()
    made.zone("corp.example", "".join(GOOD.values()))
    yield made
    made.stop()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def desk(tmp_path: Path, clock: Clock) -> Desk:
    data = tmp_path / "data"
    sealer = FileSealer(data / "sealing.keys", clock)
    made = Desk(data=data, clock=clock, sealer=sealer, key_file=data / "sealing.keys", create=True)
    fields = Fields(
        form=Form(host="out.corp.example"), password=Secret("s"), sender="a@corp.example"
    )
    upstreams.add(made, "work", fields)
    return made


def turn(desk: Desk, server: DnsServer, question_s: float = 30.0) -> None:
    """A day's round, with nothing remembered from the last."""
    places = [Endpoint("127.0.0.1", server.port)]
    for upstream_id, domain in daily.due(desk):
        resolver = Resolver(SystemClock(), places, question_s=question_s)
        daily.check_one(desk, resolver, upstream_id, domain)


def kinds(desk: Desk) -> list[str]:
    with desk.reading() as look:
        return [row[0] for row in look.tuples("SELECT kind FROM event ORDER BY id")]


def test_a_change_for_the_worse_is_told_once_and_shown(
    desk: Desk, server: DnsServer, clock: Clock
) -> None:
    turn(desk, server)
    (state,) = upstreams.show(desk, "work").domains
    assert (state.domain, state.status) == ("corp.example", "warning")  # no key is known
    assert kinds(desk) == []
    assert daily.due(desk) == []
    clock.ms += DAY_MS
    server.zone("corp.example", GOOD[""])
    turn(desk, server)
    assert kinds(desk) == ["domain.worse"]
    (state,) = upstreams.list_(desk)[0].domains
    assert state.status == "error"
    assert any("there is no DMARC record" in problem for problem in state.problems)
    clock.ms += DAY_MS
    turn(desk, server)
    assert kinds(desk) == ["domain.worse"]
    clock.ms += DAY_MS
    server.zone("corp.example", "".join(GOOD.values()))
    turn(desk, server)
    assert kinds(desk) == ["domain.worse", "domain.recovered"]
    with desk.reading() as look:
        text = look.value("SELECT text FROM event ORDER BY id")
    assert "corp.example through work: dmarc went from ok to error: there is no DMARC" in text


@pytest.mark.parametrize(
    "kind", ["servfail", "refused", pytest.param("silence", marks=pytest.mark.slow)]
)
def test_a_name_server_that_is_away_changes_nothing(
    desk: Desk, server: DnsServer, clock: Clock, kind: str
) -> None:
    turn(desk, server)
    was = upstreams.show(desk, "work").domains[0]
    clock.ms += DAY_MS
    server.fault("corp.example", kind)
    turn(desk, server, 0.1)
    now = upstreams.show(desk, "work").domains[0]
    assert kinds(desk) == []
    assert (now.status, now.problems) == (was.status, was.problems)
    assert now.checked_at > was.checked_at


def test_what_is_no_longer_in_use_is_forgotten(desk: Desk, server: DnsServer) -> None:
    turn(desk, server)
    with desk.writing() as look:
        look.run("DELETE FROM sender")
    assert daily.due(desk) == []
    assert upstreams.show(desk, "work").domains == ()


def test_a_removed_upstream_takes_it_along(desk: Desk, server: DnsServer) -> None:
    turn(desk, server)
    upstreams.remove(desk, "work")
    with desk.reading() as look:
        assert look.value("SELECT count(*) FROM domain_check") == 0


def test_a_row_that_cannot_be_read_is_a_first_time(
    desk: Desk, server: DnsServer, clock: Clock
) -> None:
    turn(desk, server)
    with desk.writing() as look:
        look.run("UPDATE domain_check SET findings = ?", (b"[[",))
    assert upstreams.show(desk, "work").domains[0].problems == ()
    clock.ms += DAY_MS
    turn(desk, server)
    assert kinds(desk) == []
    assert upstreams.show(desk, "work").domains[0].problems != ()


def test_a_step_checks_one_and_waits_at_first(desk: Desk, server: DnsServer) -> None:
    servers = (Endpoint("127.0.0.1", server.port),)

    async def story() -> None:
        early = daily.Daily(desk, Dns(servers))
        assert await early.step() == 0
        off = daily.Daily(desk, Dns(servers, watch=False), first_s=0)
        assert await off.step() == 0
        assert server.asked == []
        running = daily.Daily(desk, Dns(servers), first_s=0)
        assert await running.step() == 1
        assert await running.step() == 0
        assert await running.step() == 0

    asyncio.run(story())
    assert upstreams.show(desk, "work").domains[0].domain == "corp.example"


def asked(server: DnsServer) -> None:
    """Until somebody has asked."""
    wait_until(lambda: bool(server.asked), "a question")


def test_the_end_of_the_relay_does_not_wait_for_dns(desk: Desk, server: DnsServer) -> None:
    server.fault("corp.example", "silence")
    servers = (Endpoint("127.0.0.1", server.port),)

    async def story() -> None:
        task = asyncio.create_task(daily.Daily(desk, Dns(servers), first_s=0).step())
        await asyncio.to_thread(asked, server)
        task.cancel()
        await asyncio.wait({task}, timeout=4)  # a question alone would take five seconds
        assert task.cancelled()

    asyncio.run(story())
    assert all(t.daemon for t in threading.enumerate() if t.name == "domains")


class Broken:
    """A resolver with a fault of ours."""

    def ask(self, name: str, kind: str) -> Answer:
        return Answer(name, kind, Status.FOUND, ("not what the kind holds",))

    def policy(self, domain: str) -> Fetched:
        return Fetched(text=domain)


def test_what_breaks_reaches_whoever_logs_it(desk: Desk) -> None:
    ((upstream_id, domain),) = daily.due(desk)

    async def story() -> None:
        with pytest.raises(ValueError, match="invalid literal"):
            await daily._unwaited(lambda: daily.check_one(desk, Broken(), upstream_id, domain))

    asyncio.run(story())


def test_what_is_known_is_json(desk: Desk, server: DnsServer) -> None:
    turn(desk, server)
    with desk.reading() as look:
        octets = look.value("SELECT findings FROM domain_check")
    assert {one["check"] for one in json.loads(octets)} >= {"spf", "dkim", "dmarc", "mx"}
    assert known.read(None) is None
