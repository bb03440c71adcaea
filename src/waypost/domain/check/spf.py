"""The SPF finding: the record, its limits, and whether it allows the servers that send.

One finding, since one record has to answer for all of it. A proposal is tried before it is made: it
is within the limits, or there is none. Knows nothing of sockets.
"""

from __future__ import annotations

import ipaddress

import msgspec

from waypost.domain.answers import Answer, Ask, Status
from waypost.domain.check.source import Source
from waypost.domain.findings import Finding, Grade, Notes, Publish, could_not, shown
from waypost.domain.spf import evaluate, mend, survey, terms
from waypost.domain.spf.evaluate import LOOKUPS, VOIDS, Result
from waypost.domain.spf.macros import IP, Session
from waypost.domain.spf.survey import Survey

CHECK = "spf"
WHY = "receivers refuse or junk mail from servers that the domain's SPF record does not name"
SAMPLES = 4  # addresses tried of a provider


class Spf(msgspec.Struct, frozen=True):
    """`passes`: the names of sources whose mail passes for this domain; None: nobody knows."""

    finding: Finding
    passes: dict[str, bool | None]


def check(ask: Ask, domain: str, sources: tuple[Source, ...], has_mx: bool) -> Spf:
    """The finding of the domain's record."""
    answer = ask.ask(domain, "TXT")
    if answer.failed:
        unknown: dict[str, bool | None] = {source.host: None for source in sources}
        return Spf(could_not(CHECK, answer.could_not, WHY), unknown)
    found, many = evaluate.select(answer)
    if len(found) == 1:
        return _one(ask, domain, found[0], sources)
    notes = Notes()
    near = [text for text in answer.records if mend.near_miss(text)]
    own = [source for source in sources if source.keeps_envelope(domain)]
    if many:
        notes.error(f"{many}, and receivers then use none: they have to be one")
    elif sources and not own:
        notes.warning("there is no SPF record (the provider sends under a domain of its own)")
    else:
        notes.error("there is no SPF record")
    for text in near:
        notes.error(f"{shown(text)!r} is not taken for one: it must begin with v=spf1 and a space")
    texts = [*found, *near]
    always = () if texts or any(s.term for s in sources) else ("mx",) if has_mx else ("a",)
    value = _proposal(ask, domain, texts, sources, always)
    publish = Publish(domain, "TXT", value) if value else None
    told = "; ".join(shown(text) for text in found)
    return Spf(notes.finding(CHECK, told, WHY, publish), dict.fromkeys(_hosts(sources), False))


def _hosts(sources: tuple[Source, ...]) -> list[str]:
    return [source.host for source in sources]


def _one(ask: Ask, domain: str, text: str, sources: tuple[Source, ...]) -> Spf:
    record = terms.parse(text)
    surveyed = survey.survey(ask, domain, record)
    notes = Notes()
    _syntax(notes, record)
    _limits(notes, surveyed)
    broken = notes.status is Grade.ERROR
    passes: dict[str, bool | None] = {}
    for source in sources:
        if broken:
            passes[source.host] = False
            continue
        allowed, why = _allowed(ask, domain, source, surveyed)
        passes[source.host] = allowed
        if allowed:
            notes.good(f"it allows {source.title}")
        elif allowed is None:
            notes.unknown(f"whether it allows {source.title}: {shown(why)}")
        elif not source.keeps_envelope(domain):
            notes.warning(
                f"it does not name {source.title}, which sends under {source.preset.envelope}"
                " unless told otherwise"
            )
        else:
            notes.error(f"it does not allow {source.title} ({shown(why)})")
    for failure in surveyed.failures:
        notes.unknown(shown(failure))
    notes.good(f"{surveyed.lookups} of {LOOKUPS} look-ups")
    publish = None
    if notes.faulty:
        value = _proposal(ask, domain, [text], sources)
        if value is not None and value != text:
            publish = Publish(domain, "TXT", value)
        elif value is None:
            notes.error(
                f"it cannot be brought below {LOOKUPS} look-ups without leaving out a sender: move"
                " one of them to a subdomain of its own"
            )
    return Spf(notes.finding(CHECK, shown(text), WHY, publish), passes)


def _syntax(notes: Notes, record: terms.Record) -> None:
    for problem in record.problems[:5]:
        notes.error(f"{shown(problem.text)} cannot be read: {problem.why}")
    ends = record.all
    if ends is not None:
        if ends.qualifier == "+":
            notes.error(f"{ends.text} lets the whole world send as this domain")
        elif ends.qualifier == "?":
            notes.warning(f"{ends.text} says nothing of other servers")
        if record.redirect is not None:
            notes.warning(
                f"redirect={shown(record.redirect)} is never looked at beside {ends.text}"
            )
        behind = record.directives[record.directives.index(ends) + 1 :]
        if behind:
            notes.warning(f"{shown(behind[0].text)} stands behind {ends.text}, never looked at")
    elif record.redirect is None:
        notes.warning("it does not end in ~all or -all, so it says nothing of other servers")
    for directive in record.directives:
        if directive.mechanism == "ptr":
            notes.warning("ptr is slow and many receivers skip it (RFC 7208 5.5)")
            break
    if any(d.mechanism == "ip4" and d.network.endswith("/0") for d in record.directives):
        notes.error("a network of length /0 lets the whole world send as this domain")


def _limits(notes: Notes, surveyed: Survey) -> None:
    for problem in surveyed.problems[:5]:
        notes.error(f"{shown(problem)}: receivers then take the whole record for broken")
    if surveyed.lookups > LOOKUPS:
        notes.error(
            f"it costs {surveyed.lookups} look-ups, and beyond {LOOKUPS} receivers take it for"
            " broken"
        )
    if surveyed.voids > VOIDS:
        notes.error(
            f"{surveyed.voids} of its names do not exist, and beyond {VOIDS} receivers take it"
            " for broken"
        )
    else:
        for term, cost in surveyed.costs.items():
            if cost.dead and not cost.problem:
                notes.warning(f"{shown(term)} names nothing that exists")


def _allowed(ask: Ask, domain: str, source: Source, surveyed: Survey) -> tuple[bool | None, str]:
    """Whether mail through it passes, by its addresses where they can be known."""
    samples, failed = _samples(ask, source)
    why = ""
    for ip in samples:
        session = Session(ip, f"postmaster@{domain}", source.host or domain)
        outcome = evaluate.check_host(ask, session, domain)
        if outcome.result is Result.TEMPERROR:
            return None, outcome.why
        if outcome.result is not Result.PASS:
            why = why or f"{outcome.result} for {ip}: {outcome.why}"
    if samples:
        return not why, why
    if source.include and source.include in surveyed.reached:
        return True, ""
    if source.include:
        return False, f"{source.term} is missing"
    if failed is not None:
        return None, failed.could_not
    return False, f"{source.host} has no address"


def _samples(ask: Ask, source: Source) -> tuple[list[IP], Answer | None]:
    """Some addresses that it sends from, and the question that failed."""
    address = source.address
    if address is not None:
        return [address], None
    if source.include:
        networks = survey.survey_of(ask, source.include).networks
        step = max(1, len(networks) // SAMPLES)
        return [_within(network) for network in networks[::step][:SAMPLES]], None
    found: list[IP] = []
    failed: Answer | None = None
    if source.host:
        for kind in ("A", "AAAA"):
            answer = ask.ask(source.host, kind)
            failed = answer if answer.failed else failed
            found += [ipaddress.ip_address(text) for text in answer.records[:SAMPLES]]
    return found, failed


def _within(network: str) -> IP:
    """An address of a network, not its edge where it has more than two."""
    whole = ipaddress.ip_network(network, strict=False)
    return whole[1] if whole.num_addresses > 2 else whole[0]


class _Supposing:
    """DNS as it would be with that SPF record at the domain."""

    def __init__(self, ask: Ask, domain: str, text: str) -> None:
        self._ask = ask
        self._domain = domain
        self._text = text

    def ask(self, name: str, kind: str) -> Answer:
        if (name.lower().removesuffix("."), kind) == (self._domain, "TXT"):
            return Answer(name, kind, Status.FOUND, (self._text,))
        return self._ask.ask(name, kind)


def _proposal(
    ask: Ask,
    domain: str,
    texts: list[str],
    sources: tuple[Source, ...],
    always: tuple[str, ...] = (),
) -> str | None:
    """The record to publish, tried: readable, within the limits, and allowing every source; None
    where there is no such record."""
    gone = {
        directive.text
        for text in texts
        for directive in terms.parse(text).directives
        if _harmful(directive, sources)
    }
    value = mend.mended(texts, always, frozenset(gone))
    after = survey.survey(ask, domain, terms.parse(value))
    gone |= {term for term, cost in after.costs.items() if cost.dead or cost.problem}
    value = mend.mended(texts, always, frozenset(gone))
    wanted = [*always]
    for source in sources:
        after = survey.survey(ask, domain, terms.parse(value))
        allowed, _ = _allowed(_Supposing(ask, domain, value), domain, source, after)
        if allowed is False and source.term:
            wanted.append(source.term)
            value = mend.mended(texts, wanted, frozenset(gone))
    after = survey.survey(ask, domain, terms.parse(value))
    return value if after.lookups <= LOOKUPS else None


def _harmful(directive: terms.Directive, sources: tuple[Source, ...]) -> bool:
    """What a mended record leaves out: ptr, the whole world, and a denial of a source."""
    if directive.mechanism in ("ip4", "ip6"):
        return directive.network.endswith("/0")
    denied = directive.qualifier != "+" and any(
        f"{directive.mechanism}:{directive.spec}" == source.term for source in sources
    )
    return denied or directive.mechanism == "ptr"
