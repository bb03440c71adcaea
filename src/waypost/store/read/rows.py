"""The rows of the store as people ask for them: fields are columns, times milliseconds since 1970.

Knows nothing of SQL or of how things are shown.
"""

from __future__ import annotations

import msgspec


class AccountRow(msgspec.Struct, frozen=True):
    id: int
    name: str
    enabled: bool
    unlimited: bool
    balance: int
    rate_per_minute: int | None
    default_sender: str | None
    notify: str | None
    created_at: int


class KeyRow(msgspec.Struct, frozen=True):
    id: int
    account_id: int
    account: str
    name: str
    last4: str
    enabled: bool
    recipients: str
    created_at: int
    last_used_at: int | None


class UpstreamRow(msgspec.Struct, frozen=True):
    """`password` and `oauth` are sealed; `account` and `fallback` are names."""

    id: int
    account_id: int | None
    account: str | None
    name: str
    host: str
    port: int
    encryption: str
    username: str
    password: bytes | None
    validate: str
    pin: str
    preset: str
    fallback_id: int | None
    fallback: str | None
    edition: int
    connections: int
    per_connection: int
    per_minute: int
    recipients: int
    daily_cap: int | None
    state: str
    reason: str
    since: int
    probe_at: int
    probes: int
    last_success: int
    created_at: int
    login: str
    oauth: bytes | None
    last_error: str
    fallback_state: str | None


class SenderRow(msgspec.Struct, frozen=True):
    """`account` is the owner's name, `upstream` a name."""

    id: int
    address: str
    address_key: str
    account_id: int | None
    account: str | None
    everyone: bool
    upstream_id: int
    upstream: str
    from_name: str
    daily_cap: int | None
    held: str
    created_at: int


class LedgerRow(msgspec.Struct, frozen=True):
    at: int
    amount: int
    reason: str
    message_id: int | None
    recipient: int | None
    note: str
    balance: int


class MessageRow(msgspec.Struct, frozen=True):
    id: int
    account_id: int
    account: str
    key_id: int | None
    sender_id: int
    channel: str
    peer: str
    from_address: str
    subject: str
    smtp_message_id: str
    octets: int
    status: str
    recipients: int
    queued: int
    sent: int
    failed: int
    cancelled: int
    charged: int
    refunded: int
    hold_until: int
    ended_at: int | None


class RecipientRow(msgspec.Struct, frozen=True):
    number: int
    address: str
    state: int
    code: int
    text: str
    ended_at: int | None


class AttemptRow(msgspec.Struct, frozen=True):
    """`results` is JSON, [[number, state, code, text], …]."""

    number: int
    at: int
    upstream: str
    uncertain: bool
    results: str
    transcript: str


class WaitRow(msgspec.Struct, frozen=True):
    """A row of the queue that nobody has claimed."""

    message_id: int
    sender_id: int
    account_id: int
    due: int
    reason: str


class RefusalRow(msgspec.Struct, frozen=True):
    id: int
    at: int
    channel: str
    peer: str
    account: str | None
    key_id: int | None
    key_name: str | None
    from_address: str
    reason: str
    answer: str
    count: int
    recipients: str


class EventRow(msgspec.Struct, frozen=True):
    id: int
    at: int
    kind: str
    text: str
    account: str | None
    message_id: int | None
    upstream: str | None
    sender: str | None


class ClaimRow(msgspec.Struct, frozen=True):
    """The whole key of a queue row that a worker has claimed."""

    claim: int
    sender_id: int
    account_id: int
    due: int
    message_id: int


class QueueRow(msgspec.Struct, frozen=True):
    """What waits for one upstream; `oldest` is the least message id, `due` the least of the
    unclaimed.
    """

    upstream_id: int
    upstream: str
    account: str | None
    queued: int
    oldest: int | None
    due: int | None
    state: str
    probe_at: int
    reason: str
    held: str
