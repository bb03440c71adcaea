"""Whether the receivers of reports have agreed to them (RFC 9990 4: external destinations).

Knows nothing of sockets.
"""

from __future__ import annotations

import msgspec

from waypost.domain.answers import Ask
from waypost.domain.dmarc import record as records
from waypost.domain.dmarc.walk import walk


class Destination(msgspec.Struct, frozen=True):
    """`name`: where the agreement stands, or belongs. `agreed` None: could not be looked up."""

    domain: str
    name: str
    agreed: bool | None
    why: str = ""


def outside(ask: Ask, policy_domain: str, reports: tuple[records.Report, ...]) -> list[Destination]:
    """The destinations of another organization than the policy's, each with its agreement."""
    own = walk(ask, policy_domain).organizational
    made: list[Destination] = []
    for domain in dict.fromkeys(report.domain for report in reports if report.domain):
        if domain in (policy_domain, own) or domain.endswith(f".{own}"):
            continue
        if walk(ask, domain).organizational == own:
            continue
        name = f"{policy_domain}._report._dmarc.{domain}"
        answer = ask.ask(name, "TXT")
        agreed = any(records.is_record(text) for text in answer.records)
        made.append(Destination(domain, name, None if answer.failed else agreed, answer.could_not))
    return made
