"""The DMARC findings: the policy that applies, where its reports go, and whether mail through each
source is aligned.

Knows nothing of sockets.
"""

from __future__ import annotations

from waypost.domain.answers import Ask
from waypost.domain.check.source import Source
from waypost.domain.dmarc import record as records
from waypost.domain.dmarc import reports
from waypost.domain.dmarc.record import Record
from waypost.domain.dmarc.walk import Step, Walk
from waypost.domain.findings import Finding, Grade, Notes, Publish, could_not, shown

CHECK, REPORTS, ALIGNMENT = "dmarc", "dmarc-reports", "alignment"
WHY = "Gmail, Yahoo and Microsoft want a DMARC record of everybody who sends in bulk"
WHY_REPORTS = "receivers send no reports to another organization that has not agreed to them"
WHY_ALIGNMENT = (
    "DMARC passes only when SPF or DKIM passes for the domain of the From address itself"
)


def check(ask: Ask, walked: Walk) -> Finding:
    """The finding of the record that applies to the domain."""
    domain, own = walked.domain, walked.steps[0]
    if own.answer.failed:
        return could_not(CHECK, own.answer.could_not, WHY)
    if len(own.texts) > 1:
        return _several(own)
    if walked.policy is None or walked.policy.record is None:
        if walked.unsure:
            return could_not(CHECK, walked.unsure, WHY)
        parents = [step for step in walked.steps[1:] if len(step.texts) > 1]
        return _several(parents[0]) if parents else _missing(ask, own)
    return _record(walked.policy, walked.policy.record, domain)


def _several(step: Step) -> Finding:
    notes = Notes()
    name = f"_dmarc.{step.domain}"
    notes.error(f"{name} has {len(step.texts)} records, and receivers then use none")
    value = records.mended(step.texts, f"postmaster@{step.domain}")
    told = "; ".join(shown(text) for text in step.texts)
    return notes.finding(CHECK, told, WHY, Publish(name, "TXT", value))


def _missing(ask: Ask, own: Step) -> Finding:
    notes = Notes()
    name = f"_dmarc.{own.domain}"
    near = tuple(text for text in own.answer.records if records.near_miss(text))
    apex = ask.ask(own.domain, "TXT")
    misplaced = tuple(text for text in apex.records if records.is_record(text))
    notes.error("there is no DMARC record")
    for text in near:
        notes.error(f"{shown(text)!r} is not taken for one: it must begin with v=DMARC1;")
    if misplaced:
        notes.error(f"a record stands at {own.domain}, where nobody looks: it belongs to {name}")
    value = records.mended((*near, *misplaced), f"postmaster@{own.domain}")
    return notes.finding(CHECK, "", WHY, Publish(name, "TXT", value))


def _record(step: Step, record: Record, domain: str) -> Finding:
    notes = Notes()
    name = f"_dmarc.{step.domain}"
    below = step.domain != domain
    without: set[str] = set()
    if record.problem:
        notes.error(f"it cannot be read whole: {record.problem}")
    for tag, value, expected in record.bad:
        text = f"{tag}={shown(value)} is not {expected}"
        if tag in ("p", "sp", "np"):
            if record.usable:
                notes.error(f"{text}, so receivers take it for p=none")
            else:
                notes.error(f"{text}, so receivers take it for no record")
        else:
            notes.warning(text)
    if "p" not in record.tags:
        notes.warning("it says no p=, which is p=none")
    if record.psd == "y" and not below and "." in step.domain:
        notes.warning("psd=y is for registries such as a top-level domain")
        without.add("psd")
    for tag in record.retired:
        notes.warning(f"{tag}= is retired (RFC 9989), and readers may differ over it")
    for tag in record.unknown:
        notes.warning(f"{shown(tag)}= is no tag of DMARC")
    _reports(notes, record)
    policy = record.policy(below=below)
    if policy == "none":
        notes.good(
            "p=none asks only for reports; go on to p=quarantine when they show your own"
            " mail passing"
        )
    else:
        notes.good(f"receivers are asked to {policy} what fails")
    if record.testing:
        notes.good("t=y: receivers are asked for the next weaker policy")
    if below:
        notes.good(f"the record of {step.domain} applies")
    publish = None
    if notes.status is not Grade.OK:
        value = records.mended((record.text,), f"postmaster@{step.domain}", frozenset(without))
        publish = Publish(name, "TXT", value)
    return notes.finding(CHECK, f"{name}: {shown(record.text)}", WHY, publish)


def _reports(notes: Notes, record: Record) -> None:
    for report in (*record.rua, *record.ruf):
        if not report.domain:
            notes.warning(f"{shown(report.text)} is not mailto: and an address")
        elif report.sized:
            notes.warning(f"{shown(report.text)}: a size behind ! is retired (RFC 9989)")
    if not any(report.domain for report in record.rua):
        notes.warning("nobody gets its reports (rua=), which tell when your own mail fails")


def report_findings(ask: Ask, walked: Walk) -> list[Finding]:
    """One for each foreign destination of reports that has not agreed."""
    step = walked.policy
    if step is None or step.record is None:
        return []
    found = []
    for place in reports.outside(ask, step.domain, (*step.record.rua, *step.record.ruf)):
        if place.agreed is None:
            found.append(could_not(REPORTS, place.why, WHY_REPORTS))
        elif not place.agreed:
            found.append(
                Finding(
                    check=REPORTS,
                    status=Grade.WARNING,
                    found=f"{place.domain} has not agreed to reports of {step.domain}"
                    " (its own DNS has to say so)",
                    why=WHY_REPORTS,
                    publish=Publish(place.name, "TXT", records.VERSION),
                )
            )
    return found


def alignment(
    walked: Walk, source: Source, spf_passes: bool | None, dkim_usable: bool | None
) -> Finding:
    """Whether mail of this domain through one source passes DMARC, and by what."""
    domain, preset, title = walked.domain, source.preset, source.title
    spf = dkim = ""
    if source.keeps_envelope(domain):
        by_spf = spf_passes
        if spf_passes:
            spf = "SPF aligns: the envelope sender is of this domain, and SPF allows the server"
        elif spf_passes is None:
            spf = "whether SPF aligns could not be checked"
        else:
            spf = (
                "SPF does not align: it does when the envelope sender stays of this domain and its"
                f" SPF record allows {title}"
            )
    else:
        by_spf = False
        spf = (
            f"SPF does not align: {title} sends under {preset.envelope}, until a MAIL FROM or"
            " return path of this domain is set up there"
        )
    if not source.signs_for(domain):
        by_dkim: bool | None = False
        dkim = f"{title} signs as {preset.signs_as}, so DKIM does not align"
    else:
        by_dkim = dkim_usable
        if dkim_usable:
            dkim = f"DKIM aligns when {title} signs as {domain} with the key found"
        elif dkim_usable is None:
            dkim = "whether DKIM aligns could not be checked"
        else:
            dkim = "DKIM does not align: no usable key of this domain was found"
    known = by_spf is not None and by_dkim is not None
    if by_dkim:
        status = Grade.OK
    elif by_spf or not known:
        status = Grade.WARNING
        if by_spf:
            spf += "; forwarding breaks that, a signature of the domain's own would not"
    else:
        status = Grade.ERROR
    return Finding(
        check=ALIGNMENT,
        status=status,
        found=f"{f'{source.name}: ' if source.name else ''}{spf}; {dkim}",
        why=WHY_ALIGNMENT,
        unknown=status is Grade.WARNING and not by_spf,
    )
