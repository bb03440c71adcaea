"""The DKIM findings: one for each selector that has, or should have, a key.

A key itself comes from the provider: a record is proposed where its text is known. Knows nothing
of sockets.
"""

from __future__ import annotations

import msgspec

from waypost.domain.answers import Ask
from waypost.domain.check.source import Source
from waypost.domain.dkim import keys
from waypost.domain.findings import Finding, Grade, Notes, Publish, could_not, shown
from waypost.upstream import presets

CHECK = "dkim"
WHY = "a signature of the domain's own is what survives forwarding and makes DMARC pass"
USUAL = ("default", "dkim", "mail", "s1", "s2", "k1", "k2", "k3", "selector", "smtp", "email")
SELECTORS = 60  # asked for, in all
UNANSWERED = 3


class Dkim(msgspec.Struct, frozen=True):
    """`usable`: some key of the domain is good; None: nobody knows."""

    findings: tuple[Finding, ...]
    usable: bool | None


def check(ask: Ask, domain: str, sources: tuple[Source, ...], said: tuple[str, ...]) -> Dkim:
    """The findings: of the selectors that were said, else of those that are usual."""
    own = next((source for source in sources if source.owns(domain)), None)
    if own is not None and not said:
        return Dkim((_provided(domain, own),), True)
    selectors = said or _usual(sources)
    findings: list[Finding] = []
    good = unknown = False
    for selector in list(dict.fromkeys(selectors))[:SELECTORS]:
        finding = _selector(ask, domain, selector, selector in said)
        if finding is None:
            continue
        good = good or (finding.status is not Grade.ERROR and not finding.unknown)
        unknown = unknown or finding.unknown
        findings.append(finding)
        if not said and len(findings) == UNANSWERED and all(f.unknown for f in findings):
            break  # whoever does not answer for the first does not for the rest
    if unknown and not said:
        findings = _one_unknown(findings)
    signing = [source for source in sources if source.signs_for(domain)]
    if sources and not signing and not said:
        if good:
            findings = [f for f in findings if f.status is Grade.OK]
        findings.append(_foreign(sources[0]))
        return Dkim(tuple(findings), False)
    if not findings:
        findings = _missing(domain, signing)
    findings.sort(key=lambda finding: (finding.unknown, _order(finding.status)))
    return Dkim(tuple(findings), True if good else None if unknown else False)


def _order(grade: Grade) -> int:
    return (Grade.ERROR, Grade.WARNING, Grade.OK).index(grade)


def _usual(sources: tuple[Source, ...]) -> list[str]:
    of_sources = [s for source in sources for s in source.preset.dkim_selectors]
    if of_sources:
        return of_sources
    return [*USUAL, *(s for p in presets.PRESETS.values() for s in p.dkim_selectors)]


def _one_unknown(findings: list[Finding]) -> list[Finding]:
    """A name server that is away is one finding, not one for each guess."""
    known = [finding for finding in findings if not finding.unknown]
    return [*known, next(finding for finding in findings if finding.unknown)]


def _selector(ask: Ask, domain: str, selector: str, said: bool) -> Finding | None:
    name = f"{selector}._domainkey.{domain}"
    answer = ask.ask(name, "TXT")
    if answer.failed:
        return could_not(CHECK, answer.could_not, WHY)
    notes = Notes()
    found = [text for text in answer.records if keys.is_record(text) or keys.mended(text)]
    where = f"{name} (CNAME to {answer.chain[-1]})" if answer.chain else name
    if not found:
        if answer.chain:
            notes.error(f"{where}: no key is there; ask the provider whether it is switched on")
        elif answer.records and said:
            notes.error(f"{where}: what is there is not a key: {shown(answer.records[0])}")
        elif said:
            notes.error(f"{where}: there is no key")
        else:
            return None
        return notes.finding(CHECK, "", WHY)
    good = [text for text in found if not keys.read(text).fault]
    if len(found) > 1:
        notes.error(f"{where}: {len(found)} keys are there, and receivers may take any")
        publish = Publish(name, "TXT", good[0]) if len(good) == 1 else None
        return notes.finding(CHECK, "", WHY, publish)
    fixed = _key(notes, found[0], where)
    publish = None if fixed is None or answer.chain else Publish(name, "TXT", fixed)
    return notes.finding(CHECK, "", WHY, publish)


def _key(notes: Notes, text: str, where: str) -> str | None:
    """Says what is wrong with one key; the record to publish in its place, where it is known."""
    key = keys.read(text)
    if key.fault:
        notes.error(f"{where}: {key.fault}")
        return keys.mended(text)
    notes.good(f"{where}: {key.type}, {key.bits} bits")
    if key.type == "rsa" and key.bits < keys.BITS_ADVISED:
        notes.warning(
            f"{where}: its {key.bits} bits are taken by receivers today; {keys.BITS_ADVISED} are"
            " advised (RFC 8301): let the provider make a new key"
        )
    if key.hashes and "sha256" not in key.hashes:
        notes.error(f"{where}: it allows only {', '.join(key.hashes)[:40]}, not sha256")
        return _without(text, "h")
    if key.testing:
        notes.warning(f"{where}: t=y says that it is only being tested")
        return _without(text, "t")
    return None


def _without(text: str, name: str) -> str:
    parts = [part.strip() for part in text.split(";") if part.strip()]
    return "; ".join(part for part in parts if part.partition("=")[0].strip().lower() != name)


def _provided(domain: str, source: Source) -> Finding:
    return Finding(
        check=CHECK,
        status=Grade.OK,
        found=f"{source.title} signs as {domain} itself",
        why=WHY,
    )


def _foreign(source: Source) -> Finding:
    return Finding(
        check=CHECK,
        status=Grade.WARNING,
        found=f"{source.title} signs as {source.preset.signs_as}, never as this domain",
        why=WHY,
    )


def _missing(domain: str, sources: list[Source]) -> list[Finding]:
    if not sources:
        return [
            Finding(
                check=CHECK,
                status=Grade.WARNING,
                found="no key is at the usual selectors; name yours with --selector (a received"
                " message tells it: domain verify)",
                why=WHY,
            )
        ]
    providers = {source.title: source for source in sources}  # two mailboxes at one are one
    return [finding for source in providers.values() for finding in _missing_of(domain, source)]


def _missing_of(domain: str, source: Source) -> list[Finding]:
    preset = source.preset
    where = f" ({preset.dkim_where} shows the record)" if preset.dkim_where else ""
    if preset.dkim_cnames:
        return [
            Finding(
                check=CHECK,
                status=Grade.ERROR,
                found=f"there is no key at {selector}._domainkey.{domain}{where}",
                why=WHY,
                publish=Publish(f"{selector}._domainkey.{domain}", "CNAME", _filled(to, domain)),
            )
            for selector, to in preset.dkim_cnames
        ]
    fixed = bool(preset.dkim_selectors) and preset.name not in ("cpanel", "mailgun", "zoho")
    names = ", ".join(preset.dkim_selectors)
    found = f"there is no key of {source.title}{f' at {names}' if names else ''}{where}"
    if not fixed:
        found += "; if it stands at another selector, name that with --selector"
    status = Grade.ERROR if fixed else Grade.WARNING
    return [Finding(check=CHECK, status=status, found=found, why=WHY)]


def _filled(text: str, domain: str) -> str:
    return text.format(domain=domain, dashed=domain.replace(".", "-"))
