"""Finding due mail and claiming it.

A lane is what waits from one sender of one account. Looking for lanes costs a look-up each,
whatever waits in them; claiming costs what it claims. Promises: a claim is committed before its
parcel is given out; a message goes under a daily cap in its turn. Knows nothing of connections and
schedules.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import apsw
import msgspec

from waypost.core import ident
from waypost.core.event import Kind
from waypost.core.facts import Account
from waypost.core.message import DAY_MS, NOTICE, Parcel, Place, SpoolPart
from waypost.store.contract import Lane
from waypost.store.directory import Loaded, address_of
from waypost.store.spool import BODY_LOST
from waypost.store.sqlite import caps
from waypost.store.sqlite.batch import Batch, one_by_one
from waypost.store.sqlite.delivering import results_json
from waypost.store.sqlite.ending import end_waiting
from waypost.store.sqlite.leftover.damaged import Finding, Means, left_alone

NEXT_LANE = (
    "SELECT account_id, due FROM queue WHERE claim = 0 AND sender_id = ? AND account_id > ?"
    " ORDER BY account_id, due, message_id LIMIT 1"
)
SELECT_DUE = (
    "SELECT due, message_id, attempt, tries, first_try, held, uncertain_row, day FROM queue"
    " WHERE claim = 0 AND sender_id = ? AND account_id = ? AND due <= ?"
    " ORDER BY due, message_id LIMIT ?"
)
CLAIM = (
    "UPDATE queue SET claim = ?, day = ?, capped = 0 WHERE claim = 0 AND sender_id = ?"
    " AND account_id = ? AND due = ? AND message_id = ?"
)
PUT_OFF = (
    "UPDATE queue SET due = ?, day = 0, capped = ?, reason = ?, held = ? WHERE claim = 0"
    " AND sender_id = ? AND account_id = ? AND due = ? AND message_id = ?"
)
SELECT_MESSAGE = (
    "SELECT m.from_address, m.eight_bit, b.octets, b.spool, b.spool_offset, b.spool_octets,"
    " m.hold_until, m.channel FROM message m JOIN body b ON b.message_id = m.id WHERE m.id = ?"
)
SELECT_ADDRESSES = (
    "SELECT number, address FROM recipient WHERE message_id = ? AND state = 0 ORDER BY number"
)
# An attempt of today took its place then; what is older takes another.
SELECT_THROUGH = (
    "SELECT 1 FROM attempt WHERE message_id = ? AND upstream_id = ? AND at >= ? LIMIT 1"
)
SELECT_COUNT = "SELECT queued FROM message WHERE id = ?"


class DueRow(msgspec.Struct, frozen=True, array_like=True):
    """A queue row, less the lane that it is in."""

    due_ms: int
    message_id: int
    attempt: int
    tries: int
    first_try_ms: int
    held_ms: int
    uncertain_row: int
    day: int


def lanes_of(
    db: apsw.Connection, sender_ids: Iterable[int], accounts: Mapping[int, Account]
) -> list[Lane]:
    """The lanes of these senders that hold anything unclaimed, of accounts that may send."""
    found: list[Lane] = []
    for sender_id in sender_ids:
        row: Any = db.execute(NEXT_LANE, (sender_id, -1)).fetchone()
        while row is not None:
            account_id, due_ms = row
            account = accounts.get(account_id)
            if account is not None and account.enabled:
                found.append(Lane(sender_id, account_id, due_ms))
            row = db.execute(NEXT_LANE, (sender_id, account_id)).fetchone()
    return found


class Claim:
    """A member of a batch: claims what is due in a lane."""

    patient = False

    def __init__(
        self,
        lane: Lane,
        now_ms: int,
        limit: int,
        claim: int,
        means: Means,
        told: Callable[[Claim], None],
        claimed: set[int],
    ) -> None:
        self.lane = lane
        self.now_ms = now_ms
        self.limit = limit
        self.claim = claim
        self.means = means
        self.told = told
        self.claimed = claimed
        self.findings: list[Finding] = []
        self.parcels: list[Parcel] = []
        self.gone: list[str] = []
        self._full = 0
        self.future: asyncio.Future[list[Parcel]] = asyncio.get_running_loop().create_future()

    def run(self, batch: Batch) -> None:
        self.claimed.difference_update(parcel.id for parcel in self.parcels)
        self.parcels, self.gone, self.findings = [], [], []
        self._full = 0
        facts = self.means.facts(batch)
        sender = facts.directory.senders.get(self.lane.sender_id)
        account = facts.directory.accounts.get(self.lane.account_id)
        if sender is None or account is None or not account.enabled:
            return
        batch.flush()
        batch.waiting.clear()
        under = caps.caps_of(sender, facts.upstreams.get(sender.upstream_id))

        def one(batch: Batch, row: DueRow) -> bool:
            return self._one(batch, row, facts, under)

        def aside(row: DueRow, error: Exception) -> None:
            self.parcels = [parcel for parcel in self.parcels if parcel.id != row.message_id]
            self.findings.append(left_alone(batch, row.message_id, error))

        one_by_one(batch, self._due(batch), one, aside)
        self.claimed.update(parcel.id for parcel in self.parcels)

    def done(self) -> None:
        self.means.damaged.found(self.findings, self.now_ms)
        try:
            self.told(self)
        finally:
            if not self.future.done():
                self.future.set_result(self.parcels)

    def failed(self, error: Exception) -> None:
        self.claimed.difference_update(parcel.id for parcel in self.parcels)
        if not self.future.done():
            self.future.set_exception(error)

    def _due(self, batch: Batch) -> list[DueRow]:
        skipped = self.means.damaged.skipped(self.now_ms)
        limit = self.limit + len(self.means.damaged)
        scope = (self.lane.sender_id, self.lane.account_id, self.now_ms, limit)
        found: list[Any] = batch.db.execute(SELECT_DUE, scope).fetchall()
        rows = [DueRow(*values) for values in found]
        return [row for row in rows if row.message_id not in skipped][: self.limit]

    def _one(self, batch: Batch, row: DueRow, facts: Loaded, under: caps.Caps) -> bool:
        """Claims one, or deals with it otherwise; False: nothing newer of the lane may overtake
        it."""
        room, place = self._through(batch, row, facts)
        if not room:
            return False
        day = self._admit(batch, row, under)
        if day is None:
            return True
        parcel = parcel_of(batch.db, self.lane, row, place)
        if parcel is None:
            # What cannot be sent must not stand before all that can.
            self._fail(batch, row, 554, BODY_LOST)
            text = f"message {ident.show(row.message_id)} failed: {BODY_LOST}"
            self.findings.append(Finding(row.message_id, text, left=False))
            return True
        key = (self.lane.sender_id, self.lane.account_id, row.due_ms, row.message_id)
        batch.db.execute(CLAIM, (self.claim, day, *key))
        if place is not None:
            batch.take_places("u", place.upstream_id, place.day, place.count)
        self.parcels.append(parcel)
        return True

    def _through(self, batch: Batch, row: DueRow, facts: Loaded) -> tuple[bool, Place | None]:
        """Whether the upstream that it is claimed for has room for it, and the places that it needs
        there, where that is not its sender's own."""
        through = self.lane.through
        sender = facts.directory.senders[self.lane.sender_id]
        if not through or through == sender.upstream_id:
            return True, None
        today_ms = batch.today * DAY_MS
        if batch.db.execute(SELECT_THROUGH, (row.message_id, through, today_ms)).fetchone():
            return True, Place(through, batch.today, 0)
        found: Any = batch.db.execute(SELECT_COUNT, (row.message_id,)).fetchone()
        count: int = found[0] if found else 0
        upstream = facts.upstreams.get(through)
        cap = upstream.limits.daily_cap if upstream is not None else None
        full = cap is not None and batch.places("u", through, batch.today) + count > cap
        return not full, Place(through, batch.today, count)

    def _admit(self, batch: Batch, row: DueRow, under: caps.Caps) -> int | None:
        """The day whose place it goes out with; None where it was put off, or failed."""
        if row.day == batch.today or (row.first_try_ms and row.day):
            return row.day  # tried before: it had its place then, but that of a former upstream
        found: Any = batch.db.execute(SELECT_COUNT, (row.message_id,)).fetchone()
        count = found[0] if found else 0  # a row without its message is found out in a moment
        cap = caps.too_large(under, count)
        if cap is not None:
            text = f"5.7.1 {count} recipients are more than the daily cap of {cap}"
            self._fail(batch, row, 550, text)
            return None
        # Behind one without room nothing newer of the lane goes, even if it is smaller.
        self._full = self._full or caps.full(batch, under, count)
        if not self._full:
            caps.take(batch, under, count)
            return batch.today
        put = caps.put_off(batch, under, count, self._full, behind=False)
        held_ms = row.held_ms + (put.due_ms - batch.now_ms if row.first_try_ms else 0)
        key = (self.lane.sender_id, self.lane.account_id, row.due_ms, row.message_id)
        batch.db.execute(PUT_OFF, (put.due_ms, put.capped, put.reason, held_ms, *key))
        return None

    def _fail(self, batch: Batch, row: DueRow, code: int, text: str) -> None:
        key = (self.lane.sender_id, self.lane.account_id, row.due_ms, row.message_id)
        kind = Kind.MESSAGE_DAMAGED if text is BODY_LOST else Kind.MESSAGE_FAILED
        results, gone = end_waiting(batch, key, code, text, self.means.keep, kind)
        number = batch.attempt_number(row.message_id, row.attempt)
        tried = (row.message_id, number, batch.now_ms, 0, "", False, results_json(results), "")
        batch.attempts.append(tried)
        batch.flush()
        self.gone += gone


def parcel_of(
    db: apsw.Connection, lane: Lane, row: DueRow, place: Place | None = None
) -> Parcel | None:
    """The message of a queue row, with the recipients that are still queued; None if its body or
    they are gone."""
    message: Any = db.execute(SELECT_MESSAGE, (row.message_id,)).fetchone()
    addresses: list[Any] = db.execute(SELECT_ADDRESSES, (row.message_id,)).fetchall()
    if message is None or not addresses:
        return None
    from_address, eight_bit, octets, spool, offset, spool_octets, hold_until, channel = message
    return Parcel(
        id=row.message_id,
        account_id=lane.account_id,
        sender_id=lane.sender_id,
        envelope_from=address_of(from_address),
        recipients=tuple((number, address_of(text)) for number, text in addresses),
        head=octets,
        rest=SpoolPart(spool, offset, spool_octets) if spool else b"",
        octets=len(octets) + spool_octets,
        eight_bit=bool(eight_bit),
        accepted_ms=max(ident.milliseconds(row.message_id), hold_until),
        attempt=row.attempt,
        tries=row.tries,
        first_try_ms=row.first_try_ms,
        held_ms=row.held_ms,
        uncertain_row=row.uncertain_row,
        due_ms=row.due_ms,
        notice=channel == NOTICE,
        place=place,
    )
