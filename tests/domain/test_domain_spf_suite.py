"""The RFC 7208 test suite of openspf.org, every case of it (data/rfc7208, with its licence)."""

from __future__ import annotations

import functools
import ipaddress
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # it has no types

from waypost.domain.answers import Answer, Status
from waypost.domain.spf.evaluate import Result, check_host
from waypost.domain.spf.macros import Session

SUITE = Path(__file__).parent / "data" / "rfc7208" / "rfc7208-tests.yml"


class Zones:
    """A scenario's zone data. A string is TIMEOUT; records of type SPF stand for TXT, which is how
    the suite is meant to be driven, unless TXT is spoken of."""

    def __init__(self, data: dict[str, list[Any]]) -> None:
        self._data = {name.lower(): records for name, records in data.items()}

    def ask(self, name: str, kind: str) -> Answer:
        records = self._data.get(name.lower().removesuffix("."))
        if records is None or any(not 0 < len(part) < 64 for part in name.split(".")):
            return Answer(name, kind, Status.ABSENT)
        pairs = [next(iter(r.items())) for r in records if isinstance(r, dict)]
        if kind == "TXT" and not any(k == "TXT" for k, _ in pairs):
            pairs += [("TXT", value) for k, value in pairs if k == "SPF"]
        found = [_text(k, value) for k, value in pairs if k == kind and value != "NONE"]
        if "TIMEOUT" in found or (not found and "TIMEOUT" in records):
            return Answer(name, kind, Status.FAILED, why="timed out")
        for k, value in pairs:
            if k == "CNAME":
                return self.ask(value, kind)
        if not found:
            return Answer(name, kind, Status.EMPTY)
        return Answer(name, kind, Status.FOUND, tuple(found))


def _text(kind: str, value: Any) -> str:
    if kind == "MX":
        return f"{value[0]} {value[1]}"
    if kind == "AAAA":
        return str(ipaddress.IPv6Address(value))
    if kind in ("TXT", "SPF") and isinstance(value, list):
        value = "".join(value)
    return str(value).encode("utf-8").decode("latin-1")


@functools.cache
def _documents() -> list[dict[str, Any]]:
    return [d for d in yaml.safe_load_all(SUITE.read_text()) if d]


@pytest.mark.parametrize(
    ("document", "name"),
    [
        pytest.param(number, name, id=f"{document['description']}: {name}")
        for number, document in enumerate(_documents())
        for name in document["tests"]
    ],
)
def test_every_case(document: int, name: str) -> None:
    case = _documents()[document]["tests"][name]
    zones = Zones(_documents()[document]["zonedata"])
    sender = case["mailfrom"] or f"postmaster@{case['helo']}"
    session = Session(
        ipaddress.ip_address(case["host"]), sender, case["helo"], case.get("receiver", "unknown")
    )
    outcome = check_host(zones, session, sender.rpartition("@")[2])
    wanted = case["result"] if isinstance(case["result"], list) else [case["result"]]
    assert outcome.result in [Result(word) for word in wanted], outcome
    told = case.get("explanation")
    if told not in (None, "DEFAULT") and outcome.result is Result.FAIL:
        assert outcome.explanation == told
    elif told == "DEFAULT":
        assert outcome.explanation == ""
