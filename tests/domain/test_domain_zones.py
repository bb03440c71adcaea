"""Every zone in `zones/`: its findings, the exact records proposed, and that publishing them makes
the check green. Over real UDP and TCP, with a server of ours and with Knot DNS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from domain import zone_files
from domain.zone_files import ZoneFile
from peers.dns_server import DnsServer
from peers.knot import Knot
from waypost.clock import SystemClock
from waypost.domain.answers import Answer, Fetched, Outside, Status
from waypost.domain.check.run import Report, check
from waypost.domain.findings import Grade
from waypost.domain.resolver import Resolver
from waypost.values import Endpoint


@pytest.fixture(scope="module")
def server() -> Iterator[DnsServer]:
    made = DnsServer()
    zone_files.serve(made, [zone_files.read(name) for name in zone_files.names()])
    yield made
    made.stop()


def as_expected(file: ZoneFile, report: Report) -> None:
    """What is expected is found, and nothing else is wrong."""
    expected = list(file.expected)
    for finding in report.findings:
        fits = [
            e
            for e in expected
            if e[:2] == (finding.check, finding.status) and e[2] in finding.found
        ]
        if fits:
            expected.remove(fits[0])
        else:
            assert finding.status is Grade.OK, finding
        assert finding.found
        assert finding.why
    assert expected == []
    assert report.ok == all(status != "error" for _, status, _ in file.expected)


def proposed(report: Report) -> list[tuple[str, str, str, str]]:
    return [
        (f.check, f.publish.name, f.publish.type, f.publish.value)
        for f in report.findings
        if f.publish is not None
    ]


def test_there_are_enough() -> None:
    assert len(zone_files.names()) >= 80


WAITED_OUT = {"away-garbage", "away-silence"}  # seconds each


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in WAITED_OUT else [])
        for name in zone_files.names()
    ],
)
def test_findings_and_proposals(server: DnsServer, name: str) -> None:
    file = zone_files.read(name)
    report = zone_files.checked(file, server.port)
    as_expected(file, report)
    assert proposed(report) == file.published


@pytest.mark.parametrize(
    "name", [name for name in zone_files.names() if zone_files.read(name).published]
)
def test_publishing_what_is_proposed_makes_it_green(name: str) -> None:
    file = zone_files.read(name)
    zones = {**zone_files.shared(), file.origin: file.text}
    server = DnsServer()
    try:
        zone_files.serve(server, [file])
        report = zone_files.checked(file, server.port)
        first = {f.check for f in report.findings if f.publish is not None}
        zone_files.publish(zones, [f.publish for f in report.findings if f.publish is not None])
        for origin, text in zones.items():
            server.zone(origin, text)
        after = zone_files.checked(file, server.port)
        assert proposed(after) == [], "one round of publishing has to be enough"
        for finding in after.findings:
            if finding.check in first - file.stays:
                assert finding.status is Grade.OK, finding
    finally:
        server.stop()


def test_control_what_is_not_published_stays_red(server: DnsServer) -> None:
    file = zone_files.read("spf-two")
    assert not zone_files.checked(file, server.port).ok
    assert not zone_files.checked(file, server.port).ok


class Confusing:
    """Takes no answer for no record."""

    def __init__(self, ask: Outside) -> None:
        self._ask = ask

    def ask(self, name: str, kind: str) -> Answer:
        answer = self._ask.ask(name, kind)
        return Answer(name, kind, Status.EMPTY) if answer.failed else answer

    def policy(self, domain: str) -> Fetched:
        return self._ask.policy(domain)


@pytest.mark.parametrize("name", ["away-servfail", "spf-include-away", "mx-away", "reports-away"])
def test_control_taking_no_answer_for_no_record_is_found_out(server: DnsServer, name: str) -> None:
    file = zone_files.read(name)
    asker = Resolver(SystemClock(), [Endpoint("127.0.0.1", server.port)])
    report = check(Confusing(asker), file.question)
    with pytest.raises(AssertionError):
        as_expected(file, report)


@pytest.fixture(scope="module")
def knot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Knot]:
    files = [zone_files.read(name) for name in zone_files.names()]
    zones = {**zone_files.shared(), **{file.origin: file.text for file in files}}
    away = {origin for file in files for origin, kind in file.faults if kind == "servfail"}
    zones |= dict.fromkeys(away, "")
    made = Knot(tmp_path_factory.mktemp("knot"), zones, frozenset(away))
    yield made
    made.stop()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        name
        for name in zone_files.names()
        if all(kind == "servfail" for _, kind in zone_files.read(name).faults)
    ],
)
def test_the_same_of_knot(knot: Knot, name: str) -> None:
    file = zone_files.read(name)
    report = zone_files.checked(file, knot.port)
    as_expected(file, report)
    assert proposed(report) == file.published


def test_a_large_answer_comes_over_tcp(server: DnsServer) -> None:
    file = zone_files.read("dkim-16384")
    report = zone_files.checked(file, server.port)
    assert any("16384 bits" in finding.found for finding in report.findings)
    assert len(Path(zone_files.ZONES / "dkim-16384.zone").read_text()) > 2_000
