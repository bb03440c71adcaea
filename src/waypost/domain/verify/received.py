"""The way of a message by its Received fields (RFC 5321 4.4). Pure, linear, and bounded.

Promises to say what is plain in a field and to leave out the rest. Knows nothing of whether a field
tells the truth: below the receiver's own anybody may have written it.
"""

from __future__ import annotations

import ipaddress
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import msgspec

VALUE_CHARACTERS = 4_096
HOPS = 100
_FROM = re.compile(r"^from\s+(\S+)", re.I)
_BY = re.compile(r"\bby\s+([^\s;()]+)", re.I)
_WITH = re.compile(r"\bwith\s+([A-Za-z0-9]+)", re.I)
_BRACKETED = re.compile(r"\[(?:ipv6:)?([0-9a-f:.]{3,45})\]", re.I)
_BARE = re.compile(r"\(\s*(?:[^\s()\[\]]+\s+)?([0-9a-f:.]{7,45})\s*\)", re.I)


class Hop(msgspec.Struct, frozen=True):
    """One field. `ip`: of the client, "" where none is told. `at_s`: seconds since 1970."""

    helo: str = ""
    ip: str = ""
    by: str = ""
    protocol: str = ""
    at_s: int | None = None

    @property
    def encrypted(self) -> bool:
        """RFC 3848: the protocol says that TLS was used."""
        return self.protocol.upper() in ("ESMTPS", "ESMTPSA", "LMTPS", "LMTPSA", "UTF8SMTPS")


def parse(value: str) -> Hop:
    """One field's value, unfolded."""
    text = value[:VALUE_CHARACTERS]
    route, _, date = text.rpartition(";")
    route = route or text
    by = _BY.search(route)
    client = route[: by.start()] if by is not None else route
    helo, protocol = _FROM.match(route), _WITH.search(route)
    return Hop(
        helo=helo[1][:255] if helo is not None else "",
        ip=_address(client) if helo is not None else "",
        by=by[1][:255] if by is not None else "",
        protocol=protocol[1] if protocol is not None else "",
        at_s=_time(date),
    )


def _address(client: str) -> str:
    for pattern in (_BRACKETED, _BARE):
        for found in pattern.findall(client):
            try:
                return str(ipaddress.ip_address(found))
            except ValueError:
                continue
    return ""


def _time(text: str) -> int | None:
    try:
        moment = parsedate_to_datetime(text.strip()[:100])
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
