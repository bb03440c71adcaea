"""check_host() (RFC 7208 4 and 5), with its limits: 10 look-ups, 2 void ones, 10 names each.

Promises the result that a receiver comes to, and which term brought it. Bounded by the limits,
whatever records say. Knows nothing of sockets.
"""

from __future__ import annotations

import enum
import ipaddress

import msgspec

from waypost.domain.answers import Answer, Ask
from waypost.domain.spf import macros, terms
from waypost.domain.spf.macros import IP, Session
from waypost.domain.spf.terms import Directive, Record

LOOKUPS = 10  # RFC 7208 4.6.4
VOIDS = 2  # 4.6.4
NAMES = 10  # of one mx or ptr, 4.6.4
LABEL_OCTETS = 63


class Result(enum.StrEnum):
    """2.6."""

    NONE = "none"
    NEUTRAL = "neutral"
    PASS = "pass"
    FAIL = "fail"
    SOFTFAIL = "softfail"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


_OF_QUALIFIER = {
    "+": Result.PASS,
    "-": Result.FAIL,
    "~": Result.SOFTFAIL,
    "?": Result.NEUTRAL,
}


class Outcome(msgspec.Struct, frozen=True):
    """`why`: the term that matched, or what is wrong. `explanation`: of a fail (6.2)."""

    result: Result
    why: str = ""
    explanation: str = ""


class _End(Exception):
    """The evaluation ends here with that result."""

    def __init__(self, result: Result, why: str) -> None:
        super().__init__(why)
        self.outcome = Outcome(result, why)


def check_host(ask: Ask, session: Session, domain: str) -> Outcome:
    """4: may this address send for `domain`?"""
    return _Evaluation(ask, session).run(domain)


def select(answer: Answer) -> tuple[list[str], str]:
    """4.5: the SPF records among TXT records; more than one is a permerror, said in words."""
    found = [text for text in answer.records if terms.is_record(text)]
    why = f"{answer.name} has {len(found)} SPF records" if len(found) > 1 else ""
    return found, why


def is_domain(name: str) -> bool:
    """4.3: a name of several labels, none empty or too long; not an address."""
    labels = name.removesuffix(".").split(".")
    return (
        len(labels) > 1
        and len(name) <= macros.NAME_CHARACTERS + 1
        and all(0 < len(label) <= LABEL_OCTETS for label in labels)
        and not name.startswith("[")
    )


class _Evaluation:
    def __init__(self, ask: Ask, session: Session) -> None:
        self._ask = ask
        local, at, domain = session.sender.rpartition("@")
        sender = f"{local or 'postmaster'}@{domain if at else session.sender or session.helo}"
        mapped = session.ip.ipv4_mapped if session.ip.version == 6 else None
        ip = mapped or session.ip  # 5: such a client is an IPv4 one
        self._session = msgspec.structs.replace(session, sender=sender, ip=ip)
        self._lookups = 0
        self._voids = 0
        self._validated: dict[str, str] = {}

    def run(self, domain: str) -> Outcome:
        try:
            return self._host(domain)
        except _End as end:
            return end.outcome

    def _host(self, domain: str) -> Outcome:
        if not is_domain(domain):
            return Outcome(Result.NONE, f"{domain[:80]!r} is not a domain")
        answer = self._ask.ask(domain, "TXT")
        if answer.failed:
            raise _End(Result.TEMPERROR, answer.could_not)
        found, many = select(answer)
        if many:
            raise _End(Result.PERMERROR, many)
        if not found:
            return Outcome(Result.NONE, f"{domain} has no SPF record")
        record = terms.parse(found[0])
        if record.problems:
            problem = record.problems[0]
            raise _End(Result.PERMERROR, f"{problem.text[:80]} at {domain}: {problem.why}")
        return self._record(domain, record)

    def _record(self, domain: str, record: Record) -> Outcome:
        for directive in record.directives:
            if self._matches(directive, domain):
                result = _OF_QUALIFIER[directive.qualifier]
                told = ""
                if result is Result.FAIL and record.exp is not None:
                    told = self._explanation(record.exp, domain)
                return Outcome(result, f"{directive.text} at {domain}", told)
        if record.redirect is None:
            return Outcome(Result.NEUTRAL, f"nothing at {domain} matches")
        self._count("redirect", domain)
        target = self._expanded(record.redirect, domain)
        outcome = self._host(target)
        if outcome.result is Result.NONE:
            raise _End(Result.PERMERROR, f"redirect={target}: {outcome.why}")
        return outcome

    def _matches(self, directive: Directive, domain: str) -> bool:
        mechanism = directive.mechanism
        if mechanism in terms.QUERYING:
            self._count(mechanism, domain)
        target = self._expanded(directive.spec, domain) if directive.spec else domain
        match mechanism:
            case "all":
                return True
            case "include":
                return self._included(target)
            case "a":
                return self._near(self._addresses(target), directive)
            case "mx":
                return self._mx(target, directive)
            case "ptr":
                return any(_within(name, target) for name in self._names(count=True))
            case "exists":
                return bool(self._query(target, "A").records)
            case _:
                return self._session.ip in ipaddress.ip_network(directive.network, strict=False)

    def _count(self, mechanism: str, domain: str) -> None:
        self._lookups += 1
        if self._lookups > LOOKUPS:
            raise _End(Result.PERMERROR, f"more than {LOOKUPS} look-ups ({mechanism} at {domain})")

    def _included(self, target: str) -> bool:
        outcome = self._host(target)
        if outcome.result is Result.NONE:
            raise _End(Result.PERMERROR, f"include:{target}: {outcome.why}")
        return outcome.result is Result.PASS

    def _mx(self, target: str, directive: Directive) -> bool:
        hosts = [host for _, host in self._query(target, "MX").exchanges if host]
        if len(hosts) > NAMES:
            raise _End(Result.PERMERROR, f"mx:{target} has more than {NAMES} names")
        return any(self._near(self._addresses(host), directive) for host in hosts)

    def _addresses(self, name: str) -> tuple[str, ...]:
        return self._query(name, "A" if self._session.ip.version == 4 else "AAAA").records

    def _near(self, addresses: tuple[str, ...], directive: Directive) -> bool:
        ip = self._session.ip
        prefix = directive.prefix4 if ip.version == 4 else directive.prefix6
        return any(
            ip in ipaddress.ip_network(f"{address}/{prefix}", strict=False) for address in addresses
        )

    def _names(self, *, count: bool) -> list[str]:
        """5.5: names of the address whose own addresses hold it; a failure is no match."""
        asked = self._ask.ask(reverse(self._session.ip), "PTR")
        if asked.void and count:
            self._void(asked)
        found = []
        for name in asked.records[:NAMES]:
            kind = "A" if self._session.ip.version == 4 else "AAAA"
            answer = self._ask.ask(name, kind)
            if str(self._session.ip) in answer.records:
                found.append(name)
        return found

    def _query(self, name: str, kind: str) -> Answer:
        answer = self._ask.ask(name, kind)
        if answer.failed:
            raise _End(Result.TEMPERROR, answer.could_not)
        if answer.void:
            self._void(answer)
        return answer

    def _void(self, answer: Answer) -> None:
        self._voids += 1
        if self._voids > VOIDS:
            raise _End(
                Result.PERMERROR, f"more than {VOIDS} look-ups found nothing ({answer.name})"
            )

    def _expanded(self, spec: str, domain: str) -> str:
        name = macros.expand(spec, self._session, domain, lambda: self._p(domain))
        return name.removesuffix(".")

    def _p(self, domain: str) -> str:
        """7.3: the domain itself, a name below it, any name; else "unknown"."""
        if domain not in self._validated:
            names = self._names(count=False)
            best = [n for n in names if n == domain] or [n for n in names if _within(n, domain)]
            self._validated[domain] = (best or names or ["unknown"])[0]
        return self._validated[domain]

    def _explanation(self, exp: str, domain: str) -> str:
        """6.2: whatever goes wrong, there is none."""
        answer = self._ask.ask(self._expanded(exp, domain), "TXT")
        if len(answer.records) != 1 or not answer.records[0].isascii():
            return ""
        try:
            text = terms.macro_string(answer.records[0], in_exp=True)
        except terms.Wrong:
            return ""
        return macros.expand(text, self._session, domain, lambda: self._p(domain), in_exp=True)


def reverse(ip: IP) -> str:
    """The name that PTR records of an address stand at."""
    return ip.reverse_pointer


def _within(name: str, target: str) -> bool:
    name, target = name.lower(), target.lower().removesuffix(".")
    return name == target or name.endswith(f".{target}")
