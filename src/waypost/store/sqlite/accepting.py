"""The instant of acceptance: what is checked and written, in one transaction, to make a message
ours.

In order: are the facts that it was judged by still so; is it (in part) a repeat; rate; caps;
credits. Then the message, its recipients, body, queue row, ledger line and places are added to the
batch.

Promises: a refusal has added nothing. Reads no clock; knows nothing of connections and commits.
"""

from __future__ import annotations

import asyncio
import bisect
import hashlib
from collections.abc import Callable
from typing import Any

import apsw
import msgspec

from waypost.core import ident
from waypost.core.errors import StoreBroken
from waypost.core.lifecycle import State
from waypost.core.message import (
    Acceptance,
    Addressee,
    Changed,
    Committed,
    Parcel,
    SpoolPart,
)
from waypost.core.verdict import Reason, Refusal
from waypost.store import idempotency
from waypost.store.directory import Loaded
from waypost.store.sqlite import caps
from waypost.store.sqlite.batch import ACCEPTED, Batch

RATE_MS = 60_000  # behaviour, section 5: a minute
HEADER_ONLY_MS = 86_400_000  # behaviour, section 3: 24 h

PROBE_EARLIER = (
    "SELECT 1 FROM message WHERE key_id = ? AND repeat_hash = ? AND id >= ?"
    " AND repeat_hash IS NOT NULL LIMIT 1"
)
SELECT_EARLIER = (
    "SELECT m.id, m.digest, r.address, r.state FROM message m"
    " JOIN recipient r ON r.message_id = m.id"
    " WHERE m.key_id = ? AND m.repeat_hash = ? AND m.id >= ? AND m.repeat_hash IS NOT NULL"
    " ORDER BY m.id"
)
TAKE_NOTICE = "DELETE FROM notice WHERE message_id = ?"
SELECT_RATE = "SELECT id FROM message WHERE account_id = ? AND id >= ? AND key_id = ?"

Outcome = Committed | Refusal | Changed


class Kept(msgspec.Struct, frozen=True):
    """What became of an acceptance in its batch. `parcel`: it is claimed. `waits`: why it is not
    tried now."""

    outcome: Outcome
    parcel: Parcel | None = None
    waits: str = ""
    due_ms: int = 0


class Accept:
    """A member of a batch: one acceptance."""

    patient = False

    def __init__(
        self,
        acceptance: Acceptance,
        claim: int,
        facts: Callable[[Batch], Loaded],
        wants: Callable[[Acceptance], bool] | None,
        told: Callable[[Accept], None],
        claimed: set[int],
    ) -> None:
        self.acceptance = acceptance
        self.claim = claim
        self.facts = facts
        self.wants = wants
        self.told = told
        self.claimed = claimed  # known before the commit is: nobody may take it for a dead worker's
        self.kept: Kept | None = None
        self.balance: int | None = None
        self.unknown = False  # whether it was kept: a sync failed
        self.incoming: SpoolPart | None = None  # where a large body was before it was settled
        self.future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def run(self, batch: Batch) -> None:
        self.kept = accept(batch, self)
        if self.kept.parcel is not None:
            self.claimed.add(self.acceptance.id)
        self.balance = batch.balances.get(self.acceptance.account_id)

    def done(self) -> None:
        assert self.kept is not None
        try:
            self.told(self)
        finally:
            if not self.future.done():
                self.future.set_result(self.kept.outcome)

    def failed(self, error: Exception) -> None:
        self.claimed.discard(self.acceptance.id)
        self.kept = None
        self.unknown = isinstance(error, StoreBroken)
        try:
            self.told(self)
        finally:
            self._answer(error)

    def _answer(self, error: Exception) -> None:
        if self.future.done():
            return
        if isinstance(error.__cause__, apsw.FullError):
            self.future.set_result(Refusal(Reason.FULL, "the disk is full: try again later"))
        else:
            self.future.set_exception(error)


def repeat_hash(message_id: str) -> int | None:
    """What messages of one Message-ID are found by; None where the client gave none."""
    if not message_id:
        return None
    return int.from_bytes(hashlib.sha256(message_id.encode()).digest()[:8], "big", signed=True)


def accept(batch: Batch, op: Accept) -> Kept:
    """Judges by what only the transaction knows, and adds the rows."""
    acceptance = op.acceptance
    facts = op.facts(batch)
    directory = facts.directory
    if acceptance.generation != directory.generation and _differs(acceptance, facts):
        return Kept(Changed())
    earlier = idempotency.taken(batch, acceptance)
    if earlier is not None:
        return Kept(Committed(earlier, 0, repeat_of=earlier, key_taken=True))
    if acceptance.notice_of and not _owed(batch, acceptance.notice_of):
        return Kept(Committed(acceptance.notice_of, 0, repeat_of=acceptance.notice_of))
    keyed = acceptance.key_id is not None
    hashed = repeat_hash(acceptance.message_id) if keyed else None
    addressees, first = _left(batch, acceptance, hashed)
    if not addressees:
        assert first is not None
        return Kept(Committed(first, 0, repeat_of=first))
    refusal = _rate(batch, acceptance)
    if refusal is not None:
        return Kept(refusal)
    sender = directory.senders[acceptance.sender_id]
    under = caps.caps_of(sender, facts.upstreams.get(acceptance.upstream_id))
    count = len(addressees)
    cap = caps.too_large(under, count)
    if cap is not None:
        text = f"{count} recipients are more than the daily cap of {cap}: send it to fewer"
        return Kept(Refusal(Reason.OVER_CAP, text))
    balance, unlimited = batch.balance(acceptance.account_id)
    if not unlimited and balance < count and not acceptance.notice_of:
        return Kept(
            Refusal(
                Reason.NO_CREDITS, f"{count} credits needed, {max(balance, 0)} left: add credits"
            )
        )
    put = _put(batch, acceptance, under, count)
    may = not put.capped and put.due_ms <= batch.now_ms and not sender.held
    enabled = directory.accounts[acceptance.account_id].enabled
    claimed = may and enabled and op.wants is not None and op.wants(acceptance)
    _add(batch, acceptance, addressees, put, op.claim if claimed else 0, hashed)
    idempotency.take(batch, acceptance)
    waits = put.reason or (sender.held and f"the sender is held: {sender.held}")
    parcel = _parcel(acceptance, addressees, put.due_ms) if claimed else None
    return Kept(Committed(acceptance.id, count), parcel, waits, put.due_ms)


def _differs(acceptance: Acceptance, facts: Loaded) -> bool:
    """Whether what it was judged by has changed or vanished."""
    directory = facts.directory
    account = directory.accounts.get(acceptance.account_id)
    if account is None or not account.enabled:
        return True
    if account.rate_per_minute not in (None, acceptance.rate_per_minute):
        return True
    if acceptance.key_id is not None:
        key = directory.keys.get(acceptance.key_id)
        if key is None or not key.enabled or key.account_id != acceptance.account_id:
            return True
    sender = directory.sender_for(acceptance.account_id, acceptance.envelope_from)
    return (
        sender is None
        or sender.id != acceptance.sender_id
        or sender.upstream_id != acceptance.upstream_id
        or sender.upstream_id not in facts.upstreams
    )


def _owed(batch: Batch, message_id: int) -> bool:
    """Whether the notice about a message is still owed: it is not, once this was asked."""
    batch.db.execute(TAKE_NOTICE, (message_id,))
    return batch.db.changes() == 1


def _left(
    batch: Batch, acceptance: Acceptance, hashed: int | None
) -> tuple[tuple[Addressee, ...], int | None]:
    """Those that it is not a repeat for, and the first message that stands for the others.

    Two rules: the same bytes again (recipients queued or sent), and the same Message-ID again for
    an address that is only in a header (a program that splits its recipients over transactions).
    """
    if hashed is None or acceptance.key_id is None:
        return acceptance.addressees, None
    header_only = any(addressee.header_only for addressee in acceptance.addressees)
    if not acceptance.repeat_window_ms and not header_only:
        return acceptance.addressees, None
    if (acceptance.key_id, hashed) in batch.repeats:
        batch.flush()
    window_ms = max(acceptance.repeat_window_ms, HEADER_ONLY_MS if header_only else 0)
    earliest = ident.floor(batch.now_ms - window_ms)
    scope = (acceptance.key_id, hashed, earliest)
    if batch.db.execute(PROBE_EARLIER, scope).fetchone() is None:
        return acceptance.addressees, None
    rows: list[Any] = batch.db.execute(SELECT_EARLIER, scope).fetchall()
    repeats, named = _earlier(batch, acceptance, rows)
    left = []
    first: int | None = None
    for addressee in acceptance.addressees:
        key = addressee.address.key
        before = repeats.get(key)
        if before is None and addressee.header_only:
            before = named.get(key)
        if before is None:
            left.append(addressee)
        elif first is None or before < first:
            first = before
    return tuple(left), first


def _earlier(
    batch: Batch, acceptance: Acceptance, rows: list[Any]
) -> tuple[dict[str, int], dict[str, int]]:
    """(addresses that these very bytes stand for, addresses that this Message-ID was accepted
    for)."""
    repeat_from = ident.floor(batch.now_ms - acceptance.repeat_window_ms)
    named_from = ident.floor(batch.now_ms - HEADER_ONLY_MS)
    repeats: dict[str, int] = {}
    named: dict[str, int] = {}
    for message_id, digest, address, state in rows:
        key = address.lower()
        if message_id >= named_from:
            named.setdefault(key, message_id)
        if (
            acceptance.repeat_window_ms
            and message_id >= repeat_from
            and digest == acceptance.digest
            and state in (State.QUEUED, State.SENT)
        ):
            repeats.setdefault(key, message_id)
    return repeats, named


def _rate(batch: Batch, acceptance: Acceptance) -> Refusal | None:
    """The sliding window, exact over all processes: under the write lock, by the ids' own times."""
    key_id = acceptance.key_id
    if not acceptance.rate_per_minute or key_id is None:
        return None
    now_ms = ident.milliseconds(acceptance.id)
    since = ident.floor(now_ms - RATE_MS + 1)
    window = batch.rates.get(key_id)
    if window is None:
        batch.flush()
        scope = (acceptance.account_id, since, key_id)
        found: list[Any] = batch.db.execute(SELECT_RATE, scope).fetchall()
        window = batch.rates[key_id] = sorted(row[0] for row in found)
    # Ids further on are of a worker whose clock was ahead: they must not count for as long.
    end = bisect.bisect_left(window, ident.floor(now_ms + RATE_MS))
    if end - bisect.bisect_left(window, since) < acceptance.rate_per_minute:
        return None
    frees_ms = ident.milliseconds(window[end - acceptance.rate_per_minute]) + RATE_MS
    wait_s = max(1, -(-(frees_ms - now_ms) // 1000))
    text = f"{acceptance.rate_per_minute} messages a minute is this key's limit: wait {wait_s} s"
    return Refusal(Reason.RATE_LIMIT, text, retry_after_s=wait_s)


def _put(batch: Batch, acceptance: Acceptance, under: caps.Caps, count: int) -> caps.Put:
    if acceptance.hold_until_ms > batch.now_ms:
        return caps.Put(acceptance.hold_until_ms, 0, 0, "to be sent later")
    return caps.place(batch, under, acceptance.account_id, count)


def _add(
    batch: Batch,
    acceptance: Acceptance,
    addressees: tuple[Addressee, ...],
    put: caps.Put,
    claim: int,
    hashed: int | None,
) -> None:
    a = acceptance
    count = len(addressees)
    batch.messages.append(
        (
            a.id,
            a.account_id,
            a.key_id,
            a.sender_id,
            a.channel,
            a.peer,
            str(a.envelope_from),
            a.subject,
            a.smtp_message_id,
            hashed,
            a.digest,
            a.raw_octets,
            a.eight_bit,
            a.null_sender,
            count,
            count,
            0 if a.notice_of else count,
            a.hold_until_ms,
        )
    )
    for number, addressee in enumerate(addressees, 1):
        batch.recipients.append((a.id, number, str(addressee.address)))
    if isinstance(a.rest, SpoolPart):
        batch.bodies.append((a.id, a.head, a.rest.name, a.rest.offset, a.rest.octets))
    else:
        batch.bodies.append((a.id, a.head + a.rest, None, 0, 0))
    batch.queued.append(
        (claim, a.sender_id, a.account_id, put.due_ms, a.id, put.day, put.capped, put.reason)
    )
    if not a.notice_of:
        batch.book(a.account_id, -count, "debit", a.id, None)
        batch.count(a.account_id, ACCEPTED, count)
    if a.key_id is not None:
        window = batch.rates.get(a.key_id)
        if window is not None:
            bisect.insort(window, a.id)
        if hashed is not None:
            batch.repeats.add((a.key_id, hashed))


def _parcel(acceptance: Acceptance, addressees: tuple[Addressee, ...], due_ms: int) -> Parcel:
    a = acceptance
    rest = a.rest.octets if isinstance(a.rest, SpoolPart) else len(a.rest)
    return Parcel(
        id=a.id,
        account_id=a.account_id,
        sender_id=a.sender_id,
        envelope_from=a.envelope_from,
        recipients=tuple((n, addressee.address) for n, addressee in enumerate(addressees, 1)),
        head=a.head,
        rest=a.rest,
        octets=len(a.head) + rest,
        eight_bit=a.eight_bit,
        accepted_ms=ident.milliseconds(a.id),
        attempt=1,
        tries=0,
        first_try_ms=0,
        held_ms=0,
        uncertain_row=0,
        due_ms=due_ms,
        notice=bool(a.notice_of),
    )
