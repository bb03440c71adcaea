"""The whole check of one domain, in order.

Promises one report, whatever DNS answers, and no proposal that contradicts another. Knows nothing
of sockets and of how a report is shown.
"""

from __future__ import annotations

import msgspec

from waypost.domain.answers import Outside, Status
from waypost.domain.check import dkim, dmarc, extras, mx, spf
from waypost.domain.check.source import Source, guess
from waypost.domain.dmarc.walk import walk
from waypost.domain.findings import Finding, Grade, worst

WHY_DOMAIN = "mail from a domain that does not exist is refused"


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """`sources`: the servers that send for it; none: the one that hosts its mailboxes, if that can
    be told. `selectors`: said; none: the usual ones."""

    domain: str
    sources: tuple[Source, ...] = ()
    selectors: tuple[str, ...] = ()
    blocklists: bool = False


class Report(msgspec.Struct, frozen=True):
    """`ok`: no finding is an error. `guessed`: the provider that was assumed, "" where none was."""

    domain: str
    findings: tuple[Finding, ...]
    guessed: str = ""

    @property
    def status(self) -> Grade:
        return worst(finding.status for finding in self.findings)

    @property
    def ok(self) -> bool:
        return self.status is not Grade.ERROR


def check(ask: Outside, question: Question) -> Report:
    """Everything of section 10 of the contract."""
    domain = question.domain
    exchange = ask.ask(domain, "MX")
    if exchange.status is Status.ABSENT:
        return Report(domain, (_absent(domain),))
    sources = question.sources
    guessed = ""
    if not sources:
        likely = guess(domain, [host for _, host in exchange.exchanges if host])
        if likely is not None:
            sources, guessed = (likely,), likely.title
    by_spf = spf.check(ask, domain, sources, bool(exchange.exchanges))
    by_dkim = dkim.check(ask, domain, sources, question.selectors)
    walked = walk(ask, domain)
    findings = [by_spf.finding, *by_dkim.findings, dmarc.check(ask, walked)]
    findings += dmarc.report_findings(ask, walked)
    for source in sources:
        passes = by_spf.passes.get(source.host)
        findings.append(dmarc.alignment(walked, source, passes, by_dkim.usable))
    findings.append(mx.check(ask, domain, exchange, sources))
    findings += [extras.mta_sts(ask, domain, exchange), extras.tls_rpt(ask, domain)]
    if question.blocklists:
        findings.append(extras.blocklists(ask, domain, sources))
    return Report(domain, tuple(findings), guessed)


def _absent(domain: str) -> Finding:
    return Finding(
        check="domain",
        status=Grade.ERROR,
        found=f"{domain} does not exist in DNS",
        why=WHY_DOMAIN,
    )
