"""The whole reading of a received message: what its receiver saw, what holds, and what to fix.

Promises a bounded cost for any octets, and that a stated result is never taken for a checked one.
Knows nothing of sockets and of how a reading is shown.
"""

from __future__ import annotations

import ipaddress

import msgspec

from waypost.domain.answers import Ask
from waypost.domain.check.mx import reachable
from waypost.domain.dkim.check import Body, Checked, check
from waypost.domain.dmarc.walk import Walk, aligned, walk
from waypost.domain.findings import Finding, Grade, worst
from waypost.domain.spf.evaluate import Outcome, check_host
from waypost.domain.spf.macros import Session
from waypost.domain.verify import advice, message, received, results
from waypost.domain.verify.message import SIGNATURES, Message
from waypost.domain.verify.received import Hop
from waypost.domain.verify.results import Method, Stated

STATED = 20  # Authentication-Results fields read
AHEAD_S = 86_400  # a date further ahead than that is nobody's


class Signed(msgspec.Struct, frozen=True):
    """A signature, checked; `aligned`: it speaks for the author's domain."""

    checked: Checked
    aligned: bool


class Client(msgspec.Struct, frozen=True):
    """Who handed the message to its receiver, as far as the Received fields tell, and what SPF says
    of it now. `stated`: what the receiver wrote of SPF."""

    ip: str = ""
    helo: str = ""
    mail_from: str = ""
    domain: str = ""
    outcome: Outcome | None = None
    aligned: bool = False
    stated: str = ""


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """`author`: the domain of From, "" where there is not exactly one. `at_s`: when it came.
    `fields`: how many header fields there are."""

    fields: int
    author: str
    at_s: int
    signatures: tuple[Signed, ...]
    client: Client
    stated: tuple[Stated, ...]
    hops: tuple[Hop, ...]
    walked: Walk | None
    findings: tuple[Finding, ...] = ()

    @property
    def status(self) -> Grade:
        return worst(finding.status for finding in self.findings)

    @property
    def ok(self) -> bool:
        return self.status is not Grade.ERROR


def read(ask: Ask, octets: bytes, now_s: int) -> Reading:
    """The reading of a message as a file holds it."""
    whole = message.read(octets)
    authors = message.author_domains(whole)
    author = authors[0] if len(authors) == 1 else ""
    hops = tuple(received.parse(v) for v in whole.named("received")[: received.HOPS])
    stated = tuple(results.parse(v) for v in whole.named("authentication-results")[:STATED])
    at_s = _when(hops, now_s)
    walked = walk(ask, author) if author else None
    made = Reading(
        fields=len(whole.fields),
        author=author,
        at_s=at_s,
        signatures=_signatures(ask, whole, walked, at_s),
        client=_client(ask, whole, hops, stated, walked),
        stated=stated,
        hops=hops,
        walked=walked,
    )
    return msgspec.structs.replace(made, findings=advice.findings(ask, made, authors, whole))


def _when(hops: tuple[Hop, ...], now_s: int) -> int:
    """When its receiver took it: what has expired since was good then."""
    top = hops[0].at_s if hops else None
    return top if top is not None and 0 < top < now_s + AHEAD_S else now_s


def _signatures(ask: Ask, whole: Message, walked: Walk | None, at_s: int) -> tuple[Signed, ...]:
    places = [n for n, field in enumerate(whole.fields) if field.name == "dkim-signature"]
    body = Body(whole.body)
    made = []
    for place in places[:SIGNATURES]:
        checked = check(ask, whole.fields, place, body, at_s)
        strict = _record_says(walked, "dkim")
        same = bool(
            walked is not None
            and checked.signature.domain
            and aligned(ask, walked, checked.signature.domain, strict=strict)
        )
        made.append(Signed(checked, same))
    return tuple(made)


def _record_says(walked: Walk | None, what: str) -> bool:
    """Whether the record asks for strict alignment."""
    record = walked.policy.record if walked is not None and walked.policy is not None else None
    if record is None:
        return False
    return record.strict_dkim if what == "dkim" else record.strict_spf


def _client(
    ask: Ask,
    whole: Message,
    hops: tuple[Hop, ...],
    stated: tuple[Stated, ...],
    walked: Walk | None,
) -> Client:
    method = stated_of(stated, "spf")
    hop = next((hop for hop in hops if hop.ip and reachable(ipaddress.ip_address(hop.ip))), Hop())
    mail_from = _mail_from(whole, method)
    domain = mail_from.rpartition("@")[2].lower() or hop.helo.lower()
    said = _said(whole, method)
    if not hop.ip or not domain:
        return Client(hop.ip, hop.helo, mail_from, domain, stated=said)
    sender = mail_from or f"postmaster@{domain}"
    session = Session(ipaddress.ip_address(hop.ip), sender, hop.helo)
    outcome = check_host(ask, session, domain)
    strict = _record_says(walked, "spf")
    same = walked is not None and aligned(ask, walked, domain, strict=strict)
    return Client(hop.ip, hop.helo, mail_from, domain, outcome, same, said)


def stated_of(stated: tuple[Stated, ...], name: str) -> Method | None:
    """What the topmost field, which is the receiver's own, says of a method."""
    top = stated[0].methods if stated else ()
    return next((method for method in top if method.method == name), None)


def _mail_from(whole: Message, method: Method | None) -> str:
    """Of Return-Path, which the last server writes, or as the receiver states it."""
    paths = whole.named("return-path")
    if paths:
        text = paths[0].strip(" <>")[:320]
        return text if "@" in text else ""
    found = method.properties.get("smtp.mailfrom", "") if method is not None else ""
    return found if "@" in found else f"@{found}" if found else ""


def _said(whole: Message, method: Method | None) -> str:
    if method is not None:
        return method.result
    fields = whole.named("received-spf")
    return fields[0].split(" ")[0].strip("(;")[:20].lower() if fields and fields[0] else ""
