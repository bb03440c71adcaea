"""What is shown of a domain: names as `--json` and the API give them.

Knows nothing of how it was found.
"""

from __future__ import annotations

import msgspec

from waypost.desk.views import View, iso
from waypost.domain.check.run import Report
from waypost.domain.findings import Finding
from waypost.domain.verify.results import Stated
from waypost.domain.verify.run import Client, Reading, Signed

YEAR_9999_S = 253_370_764_800


class PublishView(View):
    """The record as it is entered at the DNS provider; it takes the place of those of the same
    purpose at that name."""

    name: str
    type: str
    value: str


class FindingView(View):
    """`status`: ok, warning or error. `unknown`: it could not be checked."""

    check: str
    status: str
    found: str
    why: str
    publish: PublishView | None
    unknown: bool


class DomainView(View):
    """`ok`: no finding is an error. `upstreams`: the names of those it was checked for; `assumed`:
    the provider assumed where there were none."""

    domain: str
    ok: bool
    status: str
    upstreams: tuple[str, ...]
    assumed: str | None
    findings: tuple[FindingView, ...]


def of_finding(finding: Finding) -> FindingView:
    record = finding.publish
    return FindingView(
        check=finding.check,
        status=finding.status.value,
        found=finding.found,
        why=finding.why,
        publish=None
        if record is None
        else PublishView(name=record.name, type=record.type, value=record.value),
        unknown=finding.unknown,
    )


def of_report(report: Report, upstreams: tuple[str, ...]) -> DomainView:
    return DomainView(
        domain=report.domain,
        ok=report.ok,
        status=report.status.value,
        upstreams=upstreams,
        assumed=report.guessed or None,
        findings=tuple(of_finding(finding) for finding in report.findings),
    )


class SignatureView(View):
    """A DKIM signature, verified here. `result`: RFC 8601. `aligned`: it is of the author's own
    organization."""

    domain: str
    selector: str
    algorithm: str
    result: str
    reason: str
    aligned: bool
    key_bits: int
    signed: tuple[str, ...]


class ResultView(View):
    """One result that a receiver stated."""

    method: str
    result: str
    reason: str
    properties: dict[str, str]


class StatedView(View):
    """An Authentication-Results field; only the first is the receiver's own."""

    server: str
    results: tuple[ResultView, ...]


class HopView(View):
    """A Received field, newest first."""

    helo: str = msgspec.field(name="from")
    ip: str
    by: str
    protocol: str
    encrypted: bool
    at: str | None


class SpfView(View):
    """SPF of the server that handed it over, checked now. `stated`: what the receiver saw."""

    result: str | None
    ip: str
    helo: str
    mail_from: str
    domain: str
    aligned: bool
    reason: str
    stated: str


class MessageReadingView(View):
    """`ok`: no finding is an error. `author`: the domain of From."""

    ok: bool
    status: str
    author: str
    received_at: str | None
    spf: SpfView
    signatures: tuple[SignatureView, ...]
    authentication_results: tuple[StatedView, ...]
    received: tuple[HopView, ...]
    findings: tuple[FindingView, ...]


def of_reading(reading: Reading) -> MessageReadingView:
    return MessageReadingView(
        ok=reading.ok,
        status=reading.status.value,
        author=reading.author,
        received_at=_at(reading.hops[0].at_s) if reading.hops else None,
        spf=_of_client(reading.client),
        signatures=tuple(_of_signed(signed) for signed in reading.signatures),
        authentication_results=tuple(_of_stated(stated) for stated in reading.stated),
        received=tuple(
            HopView(
                helo=hop.helo,
                ip=hop.ip,
                by=hop.by,
                protocol=hop.protocol,
                encrypted=hop.encrypted,
                at=_at(hop.at_s),
            )
            for hop in reading.hops
        ),
        findings=tuple(of_finding(finding) for finding in reading.findings),
    )


def _of_client(client: Client) -> SpfView:
    outcome = client.outcome
    return SpfView(
        result=None if outcome is None else outcome.result.value,
        ip=client.ip,
        helo=client.helo,
        mail_from=client.mail_from,
        domain=client.domain,
        aligned=client.aligned,
        reason="" if outcome is None else outcome.why,
        stated=client.stated,
    )


def _of_signed(signed: Signed) -> SignatureView:
    checked = signed.checked
    return SignatureView(
        domain=checked.signature.domain,
        selector=checked.signature.selector,
        algorithm=checked.signature.algorithm,
        result=checked.result.value,
        reason=checked.why,
        aligned=signed.aligned,
        key_bits=0 if checked.key is None else checked.key.bits,
        signed=checked.signature.signed,
    )


def _of_stated(stated: Stated) -> StatedView:
    return StatedView(
        server=stated.server,
        results=tuple(
            ResultView(
                method=method.method,
                result=method.result,
                reason=method.reason,
                properties=method.properties,
            )
            for method in stated.methods
        ),
    )


def _at(seconds: int | None) -> str | None:
    """Within the years that a date can have."""
    return iso(seconds * 1000) if seconds is not None and 0 <= seconds < YEAR_9999_S else None
