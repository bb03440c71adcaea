"""Others on the same zones: pyspf and checkdmarc. Where they differ from us it is said why."""

from __future__ import annotations

import ipaddress
import re
import warnings
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any

import checkdmarc.dmarc  # type: ignore[import-untyped]  # it has no types
import checkdmarc.spf  # type: ignore[import-untyped]  # it has no types
import dns.nameserver
import dns.resolver
import pytest
import spf as pyspf  # type: ignore[import-untyped]  # it has no types
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from domain import zone_files
from peers.dns_server import DnsServer
from waypost.clock import SystemClock
from waypost.domain.answers import Answer, Status
from waypost.domain.dmarc.walk import walk
from waypost.domain.resolver import Resolver
from waypost.domain.spf import evaluate, survey, terms
from waypost.domain.spf.evaluate import Outcome
from waypost.domain.spf.macros import Session
from waypost.values import Endpoint

ADDRESSES = ("192.0.2.10", "198.51.100.7", "2001:db8::1")
NAMES = [
    name
    for name in zone_files.names()
    if all(kind in ("servfail", "refused") for _, kind in zone_files.read(name).faults)
]

SPF_DIFFERS = MappingProxyType(
    {
        "right-capitals": "checkdmarc wants the version in small letters; RFC 7208 4.5 and 12 make"
        " it a case-insensitive literal, and pyspf takes it",
    }
)
DMARC_DIFFERS = MappingProxyType(
    {
        "dmarc-bad-policy": "RFC 9989 4.7: with somewhere for reports it counts, as p=none;"
        " checkdmarc stops at the tag (we too call it an error)",
        "dmarc-bad-subpolicy": "the same of sp",
        "dmarc-bare-address": "RFC 9989 4.7: an address that cannot be read is passed over;"
        " checkdmarc calls the record invalid, we warn",
    }
)


@pytest.fixture(scope="module")
def server() -> Iterator[DnsServer]:
    made = DnsServer()
    zone_files.serve(made, [zone_files.read(name) for name in zone_files.names()])
    yield made
    made.stop()


@pytest.fixture(scope="module")
def theirs(server: DnsServer) -> dns.resolver.Resolver:
    made = dns.resolver.Resolver(configure=False)
    made.nameservers = [dns.nameserver.Do53Nameserver("127.0.0.1", server.port)]
    return made


def ours(server: DnsServer) -> Resolver:
    return Resolver(SystemClock(), [Endpoint("127.0.0.1", server.port)])


def by_pyspf(address: str, domain: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result: str = pyspf.check2(address, f"postmaster@{domain}", "h.example", querytime=0)[0]
    return result


def by_us(ask: Any, address: str, domain: str) -> Outcome:
    session = Session(ipaddress.ip_address(address), f"postmaster@{domain}", "h.example")
    return evaluate.check_host(ask, session, domain)


@pytest.mark.parametrize("name", NAMES)
def test_pyspf_comes_to_the_same(
    server: DnsServer, theirs: dns.resolver.Resolver, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dns.resolver, "default_resolver", theirs)
    domain = zone_files.read(name).domain
    ask = ours(server)
    for address in ADDRESSES:
        outcome = by_us(ask, address, domain)
        assert outcome.result.value == by_pyspf(address, domain), outcome


@pytest.mark.parametrize("name", NAMES)
def test_checkdmarc_comes_to_the_same_of_spf(
    server: DnsServer, theirs: dns.resolver.Resolver, name: str
) -> None:
    """Whether the record holds, and how many look-ups it costs."""
    ask = ours(server)
    domain = zone_files.read(name).domain
    told = checkdmarc.spf.check_spf(domain, resolver=theirs, retries=0)
    found, _ = evaluate.select(ask.ask(domain, "TXT"))
    holds, lookups = False, None
    if len(found) == 1:
        record = terms.parse(found[0])
        surveyed = survey.survey(ask, domain, record)
        lookups = surveyed.lookups
        holds = not (record.problems or surveyed.problems or surveyed.failures)
        holds = holds and lookups <= evaluate.LOOKUPS and surveyed.voids <= evaluate.VOIDS
    same = told["valid"] == holds and (not holds or told["dns_lookups"] == lookups)
    assert same != (name in SPF_DIFFERS), told


@pytest.mark.parametrize("name", NAMES)
def test_checkdmarc_comes_to_the_same_of_dmarc(
    server: DnsServer, theirs: dns.resolver.Resolver, name: str
) -> None:
    """Whether a record applies, and whose."""
    ask = ours(server)
    domain = zone_files.read(name).domain
    told: Any = checkdmarc.dmarc.check_dmarc(domain, resolver=theirs, retries=0)
    walked = walk(ask, domain)
    record = walked.policy.record if walked.policy is not None else None
    holds = record is not None and record.usable and not record.problem and not walked.unsure
    where = walked.policy.domain if walked.policy is not None else None
    same = told["valid"] == holds and (not holds or told["location"] == where)
    assert same != (name in DMARC_DIFFERS), told


HOSTS = ("a.example", "b.example", "c.example", "gone.example")
HOST = st.sampled_from(HOSTS)
ADDRESS4 = st.sampled_from(["192.0.2.10", "192.0.2.99", "198.51.100.0/24", "192.0.2.0/25", "bad"])
TERM = st.one_of(
    st.builds("{}{}:{}".format, st.sampled_from(["", "-", "~", "?"]), st.sampled_from(
        ["include", "a", "mx", "exists", "ptr"]), HOST),
    st.builds("ip4:{}".format, ADDRESS4),
    st.builds("redirect={}".format, HOST),
    st.builds("a:{}/{}".format, HOST, st.sampled_from(["0", "24", "32", "33", "/64"])),
    st.sampled_from(
        ["all", "-all", "~all", "?all", "mx", "a", "a/24", "ptr", "ip6:2001:db8::/32", "ip6:::1",
         "exists:%{i}.a.example", "exists:%{d2}", "a:%{d}", "x=y", "bad", "ip4:1.2.3", "mx//128",
         "exists:%{l1r-}.b.example", "include:%{o}", "redirect=%{d}", "a:"]
    ),
)  # fmt: skip
RECORDS = st.lists(TERM, max_size=6).map(lambda terms_: " ".join(["v=spf1", *terms_]))
ZONE = st.fixed_dictionaries(
    {
        "TXT": st.lists(RECORDS, max_size=1),
        "A": st.lists(st.sampled_from(["192.0.2.10", "192.0.2.77"]), max_size=2, unique=True),
        "MX": st.lists(HOST, max_size=2, unique=True),
    }
)


class World:
    """Three domains with whatever records."""

    def __init__(self, zones: dict[str, dict[str, list[str]]]) -> None:
        self.zones = zones

    def ask(self, name: str, kind: str) -> Answer:
        records = self.zones.get(name.lower())
        if records is None:
            return Answer(name, kind, Status.ABSENT)
        found = tuple(f"10 {r}" if kind == "MX" else r for r in records.get(kind, []))
        return Answer(name, kind, Status.FOUND if found else Status.EMPTY, found)

    def pyspf(self, name: str, kind: str, *_: object) -> Iterator[tuple[tuple[str, str], object]]:
        for text in self.zones.get(name.rstrip(".").lower(), {}).get(kind, []):
            value: object = (10, text) if kind == "MX" else text
            yield (name, kind), (text.encode(),) if kind == "TXT" else value


@settings(max_examples=300, deadline=None)
@given(st.fixed_dictionaries(dict.fromkeys(HOSTS[:3], ZONE)), st.sampled_from(ADDRESSES[:2]))
def test_pyspf_comes_to_the_same_of_any_records(
    zones: dict[str, dict[str, list[str]]], address: str
) -> None:
    """But of a record that names itself: pyspf calls that a permerror whatever stands before it; by
    4.6.4 it is one when a receiver comes to it. And of one that says an unknown modifier twice: an
    error to pyspf, by 6 to be ignored however often it is there."""
    for name, records in zones.items():
        own = re.compile(rf"(?:include:|redirect=)(?:{name}|%{{[od]}})")
        assume(not any(own.search(text) for text in records["TXT"]))
        assume(not any(text.count("x=y") > 1 for text in records["TXT"]))
    world = World(zones)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pyspf, "DNSLookup", world.pyspf)
        outcome = by_us(world, address, "a.example")
        assert outcome.result.value == by_pyspf(address, "a.example"), (outcome, zones)
