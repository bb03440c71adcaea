"""Everything that can be told of: a closed list. An event is committed with the state it tells
of."""

from __future__ import annotations

import enum

import msgspec


class Kind(enum.StrEnum):
    """What happened."""

    MESSAGE_FAILED = "message.failed"
    MESSAGE_UNCERTAIN = "message.uncertain"
    MESSAGE_DAMAGED = "message.damaged"
    UPSTREAM_FAILING = "upstream.failing"
    UPSTREAM_PAUSED = "upstream.paused"
    UPSTREAM_LOGIN_FAILED = "upstream.login_failed"
    UPSTREAM_RECOVERED = "upstream.recovered"
    UPSTREAM_FAILOVER = "upstream.failover"
    SENDER_HELD = "sender.held"
    SENDER_RELEASED = "sender.released"
    CREDITS_LOW = "credits.low"
    DISK_LOW = "disk.low"
    DISK_RECOVERED = "disk.recovered"
    CERTIFICATE_ENDING = "certificate.ending"
    DOMAIN_WORSE = "domain.worse"
    DOMAIN_RECOVERED = "domain.recovered"


class Event(msgspec.Struct, frozen=True):
    """One fact: when (milliseconds since 1970), what, about whom, in plain words."""

    at_ms: int
    kind: Kind
    text: str
    account_id: int | None = None
    message_id: int | None = None
    upstream_id: int | None = None
    sender_id: int | None = None
