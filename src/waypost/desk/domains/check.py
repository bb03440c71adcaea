"""The check of one domain, for the upstreams that send for it.

Promises that nothing but DNS and a published policy file is asked for, and that no store is needed
where no upstream is named. Knows nothing of what the records mean.
"""

from __future__ import annotations

import re

import msgspec

from waypost.clock import Clock
from waypost.core import address
from waypost.core.errors import AddressError, NotFound, UsageError
from waypost.desk.domains.views import DomainView, of_report
from waypost.desk.office import Desk, asker, shown
from waypost.domain.answers import Outside
from waypost.domain.check import run, source
from waypost.domain.check.source import Source
from waypost.domain.policy_file import Reach
from waypost.domain.resolver import Dns
from waypost.domain.verify import message as letters
from waypost.store.read import people
from waypost.store.read.book import Look
from waypost.store.read.rows import UpstreamRow
from waypost.transport.link.guard import Guard
from waypost.values import Endpoint

SELECTORS_MOST = 20
UPSTREAMS_MOST = 10  # that send for one domain, and are looked at together
_SELECTOR = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*")


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody wants to know. `upstream`: by name; None: those that the domain's senders are
    bound to. `account`: whose; None: anybody's. `message`: one that was received, for its
    selectors."""

    upstream: str | None = None
    account: str | None = None
    selectors: tuple[str, ...] = ()
    blocklists: bool = False
    message: bytes | None = None


def check(desk: Desk | None, ask: Outside, domain: str, asked: Asked) -> DomainView:
    """The findings. `desk` None: there is no store. Raises `UsageError`, `NotFound`."""
    name = domain_of(domain)
    selectors = _selectors(asked, name)
    sources = sources_of(desk, name, asked)
    question = run.Question(
        domain=name, sources=sources, selectors=selectors, blocklists=asked.blocklists
    )
    report = run.check(ask, question)
    return of_report(report, tuple(source.name for source in sources))


def asking(clock: Clock, servers: tuple[Endpoint, ...]) -> Dns:
    """Who is asked: these name servers (none: those of this machine), and public addresses alone.

    A domain is anybody's to name, and so is the address that its records point at.
    """
    return Dns(clock, servers, Reach(Guard().allows))


def domain_of(text: str) -> str:
    """The domain in A-labels, of a domain or of an address in it. Raises `UsageError`."""
    plain = text.strip().rpartition("@")[2].removesuffix(".")
    try:
        name = address.make("x", plain).domain
    except AddressError:
        name = ""
    if "." not in name or name.startswith("["):
        raise UsageError(f"{shown(text)} is not a domain such as example.com", "domain")
    return name


def sources_of(desk: Desk | None, domain: str, asked: Asked) -> tuple[Source, ...]:
    """The servers that send for the domain: the one named, or those of its senders."""
    if desk is None or not desk.exists():
        if asked.upstream is not None or asked.account is not None:
            raise NotFound("there is no data directory here: name it with --data")
        return ()
    with desk.reading() as look:
        owner = asker(look, asked.account)
        if asked.upstream is not None:
            return (_of_row(_named(look, owner, asked), domain),)
        found = people.upstreams_of_domain(look, owner, domain, UPSTREAMS_MOST)
        return tuple(_of_row(row, domain) for row in found)


def _named(look: Look, owner: int | None, asked: Asked) -> UpstreamRow:
    row = people.upstream(look, owner, asked.upstream or "")
    if row is None:
        raise NotFound(f"there is no upstream {shown(asked.upstream or '')}")
    return row


def _of_row(row: UpstreamRow, domain: str) -> Source:
    return source.make(row.name, row.host, row.preset, domain)


def _selectors(asked: Asked, domain: str) -> tuple[str, ...]:
    for selector in asked.selectors:
        if _SELECTOR.fullmatch(selector) is None:
            raise UsageError(f"{shown(selector)} is not a selector such as s1", "selector")
    found = asked.selectors
    if asked.message is not None:
        found += letters.selectors(asked.message, domain)
        if not found:
            raise UsageError(f"the message has no DKIM signature of {domain}", "message")
    if len(found) > SELECTORS_MOST:
        raise UsageError(f"up to {SELECTORS_MOST} selectors are looked at", "selector")
    return tuple(dict.fromkeys(found))
