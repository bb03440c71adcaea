"""What is known of a domain in use, and how it changed. Pure but for the rows that it is read from.

Promises that what could not be checked changes nothing: it is neither better nor worse. Knows
nothing of DNS.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from waypost.desk.views import DomainStateView, iso
from waypost.domain.findings import Finding, Grade, worse, worst
from waypost.store.manage import domains
from waypost.store.manage.domains import DomainRow
from waypost.store.read.book import Look

FOUND_CHARACTERS = 300
GONE = "domain"  # the check that stands alone: where it fails, nothing else could be looked at


class Known(msgspec.Struct, frozen=True):
    """What one check came to, and since when."""

    check: str
    status: Grade
    found: str
    since_ms: int


class Change(msgspec.Struct, frozen=True):
    """What is known now, and in words what became worse and what became right again."""

    known: tuple[Known, ...]
    worse: tuple[str, ...] = ()
    right: tuple[str, ...] = ()

    @property
    def status(self) -> Grade:
        return worst(one.status for one in self.known)


def compared(before: Iterable[Known] | None, findings: Iterable[Finding], now_ms: int) -> Change:
    """`before` None: it was never checked, so nothing has changed."""
    old = {one.check: one for one in before or ()}
    new = {one.check: one for one in _known(old, list(findings), now_ms)}
    if before is None:
        return Change(tuple(new.values()))
    became_worse, right = [], []
    for check in dict.fromkeys([*old, *new]):
        was = old[check].status if check in old else Grade.OK
        now = new[check].status if check in new else Grade.OK
        if worse(now, was):
            became_worse.append(f"{check} went from {was} to {now}: {new[check].found}")
        elif was is not Grade.OK and now is Grade.OK:
            right.append(f"{check} is right again")
    return Change(tuple(new.values()), tuple(became_worse), tuple(right))


def _known(old: dict[str, Known], findings: list[Finding], now_ms: int) -> list[Known]:
    made: list[Known] = []
    for check in dict.fromkeys(finding.check for finding in findings):
        of_it = [finding for finding in findings if finding.check == check]
        sure = [finding for finding in of_it if not finding.unknown]
        was = old.get(check)
        status = worst(finding.status for finding in sure)
        if len(sure) < len(of_it) and was is not None and not worse(status, was.status):
            made.append(was)
        elif sure:
            found = next(finding.found for finding in sure if finding.status is status)
            since_ms = was.since_ms if was is not None and was.status is status else now_ms
            made.append(Known(check, status, found[:FOUND_CHARACTERS], since_ms))
    if any(one.check == GONE for one in made):
        made += [one for check, one in old.items() if check != GONE]
    return made


def read(row: DomainRow | None) -> tuple[Known, ...] | None:
    """Of a row; None where there is none, or one that cannot be read."""
    if row is None:
        return None
    try:
        return msgspec.json.decode(row.findings, type=tuple[Known, ...])
    except msgspec.DecodeError:
        return None


def states(look: Look, upstream_id: int) -> tuple[DomainStateView, ...]:
    """Of the domains that send through an upstream."""
    return tuple(
        DomainStateView(
            domain=row.domain,
            status=row.status,
            checked_at=iso(row.checked_at),
            problems=tuple(
                f"{one.check}: {one.found}" for one in read(row) or () if one.status is not Grade.OK
            ),
        )
        for row in domains.of_upstream(look, upstream_id)
    )
