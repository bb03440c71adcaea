"""What is shown: the JSON things of the command line and the API, with names in camelCase.

Times are ISO 8601 in UTC with milliseconds, ids of messages 16 hex digits, "none" is null. Nothing
here ever holds a secret but `KeyView.key`, which is set only when the key is made or rotated. Knows
nothing of the store.
"""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec


def iso(ms: int) -> str:
    """Milliseconds since 1970 as ISO 8601 in UTC."""
    text = datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def iso_or_none(ms: int | None) -> str | None:
    """The same, where 0 and None are "never"."""
    return iso(ms) if ms else None


class View(msgspec.Struct, rename="camel", kw_only=True):
    """Anything shown."""


class AccountView(View):
    """`credits` null: unlimited. `rate_limit` null: none; it is the configured default unless
    `own_rate`.
    """

    name: str
    enabled: bool
    credits: int | None
    unlimited: bool
    balance: int  # the sum of the ledger, kept for an unlimited account too
    rate_limit: int | None
    own_rate: bool
    default_sender: str | None
    notify: str | None
    created_at: str


class KeyView(View):
    """`key`: the secret, only when it was made just now."""

    id: int
    account: str
    name: str
    enabled: bool
    last4: str
    recipients: str  # headers or envelope
    created_at: str
    last_used_at: str | None
    key: str | msgspec.UnsetType = msgspec.UNSET


class LedgerView(View):
    """A line of the ledger; `recipient` is its number in the message, of a refund."""

    at: str
    amount: int
    reason: str  # topup, debit or refund
    message: str | None
    recipient: int | None
    note: str
    balance: int


class DomainStateView(View):
    """What the daily check knows of a domain that sends through an upstream. `status`: ok, warning
    or error; `problems`: what is not ok, in words."""

    domain: str
    status: str
    checked_at: str
    problems: tuple[str, ...]


class UpstreamView(View):
    """`account` null: the operator's. `state`: ok, failing for a time, paused until somebody
    acts.
    """

    id: int
    name: str
    account: str | None
    host: str
    port: int
    encryption: str
    username: str
    login: str  # password, xoauth2 or none
    has_password: bool
    connected: bool | None  # of a login by token: whether there is one
    validate: str
    pin: str
    preset: str
    fallback: str | None
    through: str | None  # the fallback, while mail goes through it
    connections: int
    per_connection: int
    per_minute: int
    recipients: int
    daily_cap: int | None
    used_today: int
    state: str
    reason: str
    since: str | None
    next_probe_at: str | None
    last_success_at: str | None
    last_error: str | None  # stays when it works again
    senders: tuple[str, ...]
    domains: tuple[DomainStateView, ...]  # those of its senders, once they were checked
    created_at: str


class SenderView(View):
    """`account`: the owner, null for the operator. `accounts`: who may use it (all, where
    `global`).
    """

    id: int
    address: str
    upstream: str
    account: str | None
    everyone: bool = msgspec.field(name="global")
    accounts: tuple[str, ...]
    from_name: str
    daily_cap: int | None
    used_today: int
    held: str | None
    default: tuple[str, ...]  # the accounts whose default sender it is
    created_at: str


class MessageLine(View):
    """A message in a list; `recipients` is their count."""

    id: str
    status: str
    account: str
    sender: str = msgspec.field(name="from")
    recipients: int
    subject: str
    created_at: str
    channel: str
    octets: int
    charged: int
    refunded: int


class AttemptView(View):
    """One attempt for one recipient; `code` 0 where the upstream said nothing."""

    at: str
    code: int
    text: str
    upstream: str
    uncertain: bool


class RecipientView(View):
    """`status`: queued, sent, failed or cancelled."""

    number: int
    address: str
    status: str
    code: int
    text: str
    ended_at: str | None
    attempts: tuple[AttemptView, ...]


class TranscriptView(View):
    """The masked dialogue of an attempt that did not end in 250."""

    attempt: int
    at: str
    upstream: str
    transcript: str


class MessageView(View):
    """A message whole. `next_at` and `reason`: while it is queued; `on_wire`: an attempt is under
    way.
    """

    id: str
    status: str
    account: str
    sender: str = msgspec.field(name="from")
    recipients: tuple[RecipientView, ...]
    subject: str
    created_at: str
    ended_at: str | None
    channel: str
    peer: str
    key: int | None
    upstream: str | None
    smtp_message_id: str
    octets: int
    charged: int
    refunded: int
    next_at: str | None
    reason: str
    on_wire: bool
    body_kept: bool
    transcripts: tuple[TranscriptView, ...]
    ledger: tuple[LedgerView, ...]


class RefusalView(View):
    """A submission that was refused; `key` is the id of the key. `to`: whom it was to, as far as it
    had said so when it was refused; of many the first.
    """

    id: int
    at: str
    channel: str
    peer: str
    account: str | None
    key: int | None
    key_name: str | None
    sender: str = msgspec.field(name="from")
    to: tuple[str, ...]
    reason: str
    answer: str
    count: int


class EventView(View):
    """Something that happened; `id` rises, so that a reader can go on behind it."""

    id: int
    at: str
    kind: str
    text: str
    account: str | None
    message: str | None
    upstream: str | None
    sender: str | None


class QueueLine(View):
    """What waits for one upstream; `queued` and `on_wire` count messages. `next_at` null: when
    somebody acts.
    """

    upstream: str
    account: str | None
    queued: int
    on_wire: int
    oldest_at: str | None
    next_at: str | None
    state: str
    reason: str


class QueueChange(View):
    """What a deed on the queue did; counts. `on_wire`: messages left alone since they are being
    sent.
    """

    messages: int
    recipients: int
    on_wire: int


class CheckView(View):
    """One check of the audit."""

    name: str
    ok: bool
    detail: str


class AuditView(View):
    """`ok`: every check is."""

    ok: bool
    checks: tuple[CheckView, ...]


class BackupView(View):
    """What was written where; `messages` are those of the log, whether they still wait or not."""

    directory: str
    messages: int
    spool_files: int
    octets: int


class UseView(View):
    """Today's use of an account: recipients of its messages accepted since midnight UTC."""

    account: AccountView
    messages_today: int
    recipients_today: int
