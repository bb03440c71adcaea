"""A DMARC record (RFC 9989 4.7 and 4.8). Pure: text in, policy and problems out.

Knows nothing of DNS.
"""

from __future__ import annotations

import re

import msgspec

from waypost.domain import tags

VERSION = "v=DMARC1"
POLICIES = ("none", "quarantine", "reject")
RETIRED = ("pct", "rf", "ri")  # RFC 9989 Appendix C
KNOWN = frozenset({"v", "p", "sp", "np", "psd", "t", "adkim", "aspf", "fo", "rua", "ruf", *RETIRED})
_VERSION = re.compile(r"v[ \t]*=[ \t]*DMARC1[ \t]*(?:;|$)")
_URI = re.compile(r"mailto:([^@\s!,;]+@([A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)+))(!\d+[kmgt]?)?", re.I)


class Report(msgspec.Struct, frozen=True):
    """Where reports go. `domain` is "" where the address cannot be read."""

    text: str
    domain: str = ""
    sized: bool = False  # has a size after "!", retired


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """`p`, `sp`, `np`: "" where not said or not valid. `bad`: (tag, value, what it should be)."""

    text: str
    p: str = ""
    sp: str = ""
    np: str = ""
    psd: str = "u"
    testing: bool = False
    strict_dkim: bool = False
    strict_spf: bool = False
    rua: tuple[Report, ...] = ()
    ruf: tuple[Report, ...] = ()
    retired: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    bad: tuple[tuple[str, str, str], ...] = ()
    problem: str = ""
    tags: dict[str, str] = {}

    @property
    def usable(self) -> bool:
        """4.7: without a valid p, or with an invalid sp or np, it counts only (as p=none) if it
        names somewhere for reports. A record that says no p at all is p=none."""
        wrong = any(name in ("p", "sp", "np") for name, _, _ in self.bad)
        return not wrong or any(report.domain for report in self.rua)

    def policy(self, *, below: bool = False, exists: bool = True) -> str:
        """What is asked for of mail from the domain itself, or from one `below` it."""
        if any(name in ("p", "sp", "np") for name, _, _ in self.bad):
            return "none"
        own = self.p or "none"
        if not below:
            return own
        return (self.sp or own) if exists else (self.np or self.sp or own)


def is_record(text: str) -> bool:
    """4.7: the version stands first, in capitals."""
    return _VERSION.match(text) is not None


def near_miss(text: str) -> bool:
    """It was meant to be a DMARC record, and no receiver takes it for one."""
    plain = text.strip(" \t\"'").lower()
    meant = re.match(r"v?\s*=?\s*dmarc ?1?\b", plain) or re.search(r";\s*v\s*=\s*dmarc1", plain)
    return not is_record(text) and meant is not None


def parse(text: str) -> Record:
    """The record; `is_record` is true of the text, or it was nearly."""
    found = tags.parse(text)
    bad: list[tuple[str, str, str]] = []

    def one_of(name: str, allowed: tuple[str, ...], default: str = "") -> str:
        value = found.get(name, default).lower()
        if name in found.values and value not in allowed:
            bad.append((name, found.get(name)[:40], " or ".join(allowed)))
            return default
        return value

    made = Record(
        text=text,
        p=one_of("p", POLICIES),
        sp=one_of("sp", POLICIES),
        np=one_of("np", POLICIES),
        psd=one_of("psd", ("y", "n", "u"), "u"),
        testing=one_of("t", ("y", "n"), "n") == "y",
        strict_dkim=one_of("adkim", ("r", "s"), "r") == "s",
        strict_spf=one_of("aspf", ("r", "s"), "r") == "s",
        rua=_reports(found.get("rua")),
        ruf=_reports(found.get("ruf")),
        retired=tuple(name for name in RETIRED if name in found.values),
        unknown=tuple(name for name in found.values if name not in KNOWN),
        problem=found.problem,
        tags=found.values,
    )
    return msgspec.structs.replace(made, bad=tuple(bad))


def _reports(text: str) -> tuple[Report, ...]:
    made = []
    for part in text.split(",")[:20]:
        uri = part.strip()
        if uri:
            found = _URI.fullmatch(uri)
            made.append(
                Report(uri) if found is None else Report(uri, found[2].lower(), bool(found[3]))
            )
    return tuple(made)


def mended(texts: tuple[str, ...], reports_to: str, without: frozenset[str] = frozenset()) -> str:
    """One right record of what is there: valid tags of the first record that has each, retired and
    unknown ones left out; of several policies the mildest. `reports_to`: where none are asked
    for; `without`: tags to leave out."""
    values: dict[str, str] = {}
    policies: dict[str, list[str]] = {}
    for text in sorted(texts):  # DNS gives them in any order
        record = parse(_typed(text))
        wrong = {name for name, _, _ in record.bad}
        for name, value in record.tags.items():
            if name in ("p", "sp", "np") and name not in wrong:
                policies.setdefault(name, []).append(value.lower())
            elif (
                name in KNOWN - {*RETIRED, *wrong, *without, "v", "p", "sp", "np", "rua", "ruf"}
                and tags.PLAIN.fullmatch(value) is not None
            ):
                values.setdefault(name, value)
        for name, reports in (("rua", record.rua), ("ruf", record.ruf)):
            mended_ = ",".join(filter(None, (_mended_uri(report) for report in reports)))
            if mended_:
                values.setdefault(name, mended_)
    values.setdefault("rua", f"mailto:{reports_to}")
    chosen = {name: min(said, key=POLICIES.index) for name, said in policies.items()}
    first = {"p": chosen.pop("p", "none"), **chosen}
    return "; ".join([VERSION, *(f"{name}={value}" for name, value in (first | values).items())])


def _typed(text: str) -> str:
    """The text with the usual slips of copying put right."""
    plain = re.sub(r"^[\s\"']+|[\s\"']+$", "", text).replace("\\;", ";")
    return plain if is_record(plain) else re.sub(r",\s*(?=[A-Za-z]+\s*=)", "; ", plain)


def _mended_uri(report: Report) -> str:
    if tags.PLAIN.fullmatch(report.text) is None:
        return ""
    if report.domain:
        return re.sub(r"![0-9]+[kmgt]?$", "", report.text, flags=re.I)
    plain = re.sub(r"^(?:mailto:?|mail:|//)*", "", report.text.strip("<> "), flags=re.I)
    return f"mailto:{plain}" if _URI.fullmatch(f"mailto:{plain}") else ""
