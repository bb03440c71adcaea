"""The zones of the tests: what a file says of itself, the servers that serve them all, one check.

A file in `zones/` is a zone `<its name>.example` in master format, with what is expected of it in
comments: `check` (the domain asked for), `source` (host and preset), `selector`, `blocklists`,
`fault` (zone and kind), `policy` (a line of the policy file of MTA-STS), `expect` (check, status,
words), `publish` (check, name, type, value) and `stays` (a check that no record can turn green).
`zones/shared/` holds other people's zones.
"""

from __future__ import annotations

import functools
from pathlib import Path

import dns.rdata
import msgspec

from peers.dns_server import DnsServer
from waypost.clock import SystemClock
from waypost.domain.answers import Fetched
from waypost.domain.check.run import Question, Report, check
from waypost.domain.check.source import Source, make
from waypost.domain.findings import Publish
from waypost.domain.resolver import Resolver
from waypost.values import Endpoint

SILENCE_S = 1.0  # how long one that keeps silent on purpose is waited for
ZONES = Path(__file__).parent / "zones"


class ZoneFile(msgspec.Struct, kw_only=True):
    """One file, read."""

    name: str
    text: str
    domain: str
    sources: tuple[Source, ...] = ()
    selectors: tuple[str, ...] = ()
    blocklists: bool = False
    faults: list[tuple[str, str]] = []
    policy: str = ""
    expected: list[tuple[str, str, str]] = []
    published: list[tuple[str, str, str, str]] = []
    stays: set[str] = set()

    @property
    def origin(self) -> str:
        return f"{self.name}.example"

    @property
    def question(self) -> Question:
        return Question(
            domain=self.domain,
            sources=self.sources,
            selectors=self.selectors,
            blocklists=self.blocklists,
        )


@functools.cache
def names() -> list[str]:
    return sorted(path.stem for path in ZONES.glob("*.zone"))


def read(name: str) -> ZoneFile:
    text = (ZONES / f"{name}.zone").read_text()
    made = ZoneFile(name=name, text=text, domain=f"{name}.example")
    for line in text.splitlines():
        word, colon, rest = line.removeprefix("; ").partition(": ")
        if not line.startswith("; ") or not colon or " " in word:
            continue
        match word:
            case "check":
                made.domain = rest
            case "source":
                host, _, preset = rest.partition(" ")
                made.sources += (make("up", host, preset, made.domain),)
            case "selector":
                made.selectors += (rest,)
            case "blocklists":
                made.blocklists = True
            case "fault":
                origin, _, kind = rest.partition(" ")
                made.faults.append((origin, kind))
            case "policy":
                made.policy += f"{rest}\r\n"
            case "expect":
                check_, status, *words = rest.split(" ", 2)
                made.expected.append((check_, status, words[0] if words else ""))
            case "publish":
                check_, where, kind, value = rest.split(" ", 3)
                made.published.append((check_, where, kind, value))
            case "stays":
                made.stays.add(rest)
            case _:
                raise AssertionError(f"{name}: what is {word}?")
    return made


def shared() -> dict[str, str]:
    return {path.stem: path.read_text() for path in (ZONES / "shared").glob("*.zone")}


def serve(server: DnsServer, files: list[ZoneFile]) -> None:
    """All of them, and everybody else's."""
    for origin, text in shared().items():
        server.zone(origin, text)
    for file in files:
        server.zone(file.origin, file.text)
        for origin, kind in file.faults:
            server.fault(origin, kind)


def checked(file: ZoneFile, port: int) -> Report:
    """The report on a file's domain, asked of the server at that port, nothing remembered."""
    silent = any(kind in ("silence", "garbage") for _, kind in file.faults)
    question_s = SILENCE_S if silent else 5.0
    servers = [Endpoint("127.0.0.1", port)]
    asking = Filed(SystemClock(), servers, question_s=question_s)
    asking.file = file.policy
    return check(asking, file.question)


class Filed(Resolver):
    """With that policy file, where it holds anything, instead of one that is served by HTTPS."""

    file = ""

    def policy(self, domain: str) -> Fetched:
        return Fetched(text=self.file) if self.file else super().policy(domain)


def publish(zones: dict[str, str], records: list[Publish]) -> None:
    """What an owner does: at each name the record takes the place of those of the same purpose."""
    for record in records:
        origin = max((o for o in zones if f".{record.name}".endswith(f".{o}")), key=len)
        lines = zones[origin].splitlines()
        label = record.name.removesuffix(origin).removesuffix(".") or "@"
        kept = [line for line in lines if not _replaced(line, label, record)]
        kept.append(f"{label} {record.type} {_entered(record)}")
        zones[origin] = "\n".join(kept) + "\n"


def _entered(record: Publish) -> str:
    if record.type != "TXT":
        return f"{record.value}."
    text = record.value.replace("\\", "\\\\").replace('"', '\\"')
    return " ".join(f'"{text[i : i + 250]}"' for i in range(0, len(text), 250))


def _replaced(line: str, label: str, record: Publish) -> bool:
    words = line.split(None, 2)
    if len(words) < 3 or words[0] != label or line.startswith(";"):
        return False
    if record.type != "TXT" or words[1] == "CNAME":
        return words[1] in (record.type, "CNAME")
    if words[1] != "TXT":
        return False
    if label.endswith("_domainkey") or "_domainkey" in label or label.startswith("_"):
        return True
    text = dns.rdata.from_text("IN", "TXT", words[2]).to_text().lower()
    return "spf" in text and "site-verification" not in text
