"""What came of an attempt: outcomes, refunds, events and the queue row, in one transaction.

Promises: only who holds the claim records; what is recorded of a recipient is never taken back.
Knows nothing of schedules and of what a reply means: it is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from waypost.core.event import Event, Kind
from waypost.core.lifecycle import State
from waypost.core.message import Attempt, Parcel, Result, SpoolPart
from waypost.core.reply import ENHANCED
from waypost.core.verdict import Settled
from waypost.store.sqlite.batch import Batch, Vanished
from waypost.store.sqlite.ending import Counts, Keep, end

REQUEUE = (  # a second row of the message, which there must not be, gives way
    "UPDATE OR REPLACE queue SET claim = 0, due = ?, attempt = ?, tries = ?, first_try = ?,"
    " held = ?, uncertain_row = ?, reason = ? WHERE claim = ? AND sender_id = ? AND account_id = ?"
    " AND due = ? AND message_id = ?"
)
SELECT_MINE = (
    "SELECT 1 FROM queue WHERE claim = ? AND sender_id = ? AND account_id = ? AND due = ?"
    " AND message_id = ?"
)
EVENT_OCTETS = 400

_encode = msgspec.json.Encoder().encode


def key_of(claim: int, parcel: Parcel) -> tuple[int, int, int, int, int]:
    """The whole key of the queue row that this parcel was claimed from."""
    return (claim, parcel.sender_id, parcel.account_id, parcel.due_ms, parcel.id)


def results_json(results: tuple[Result, ...]) -> str:
    """As the attempt's row keeps them: [[number, state, code, text], …]."""
    rows = [(r.number, r.state, r.code, r.text) for r in results]
    return _encode(rows).decode()


class Deed:
    """A member of a batch that delivery asks for; it must not be lost, so it is tried until it is
    kept."""

    patient = True

    def __init__(self) -> None:
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.over: Callable[[], None] | None = None  # called when it is kept, or of no use

    def done(self) -> None:
        if not self.future.done():
            self.future.set_result(None)
        if self.over is not None:
            self.over()

    def failed(self, error: Exception) -> None:
        if isinstance(error, Vanished):
            Deed.done(self)  # the claim was not ours: not recorded, and nothing more to do
        elif not self.future.done():
            self.future.set_exception(error)
            # Whoever does not wait for it must not be told of it by the loop's own log.
            self.future.exception()


class Record(Deed):
    """An attempt. `told` is called after the commit, with what was settled and files to unlink."""

    def __init__(
        self,
        attempt: Attempt,
        claim: int,
        keep: Keep,
        told: Callable[[Record], None],
        claimed: set[int],
        fresh: bool,
    ) -> None:
        super().__init__()
        self.fresh = fresh  # claimed when it was accepted: its counts have never moved
        self.attempt = attempt
        self.claim = claim
        self.keep = keep
        self.told = told
        self.claimed = claimed
        self.settled: Settled | None = None
        self.gone: str | None = None
        self.balance: int | None = None

    def run(self, batch: Batch) -> None:
        attempt, parcel = self.attempt, self.attempt.parcel
        counts, self.gone = end(
            batch,
            parcel.id,
            attempt.results,
            self.keep,
            spooled=isinstance(parcel.rest, SpoolPart),
            before=self._before(),
        )
        number = batch.attempt_number(parcel.id, parcel.attempt)
        batch.attempts.append(
            (
                parcel.id,
                number,
                attempt.at_ms,
                attempt.upstream_id,
                attempt.upstream_name,
                attempt.uncertain,
                results_json(attempt.results),
                attempt.transcript,
            )
        )
        if counts.queued:
            self._requeue(batch, number + 1)
        else:
            batch.unqueued.append(key_of(self.claim, parcel))
        if counts.failed or attempt.uncertain:
            self._tell_of(batch)
        self.settled = self._settle(counts)
        self.balance = batch.balances.get(parcel.account_id)

    def done(self) -> None:
        try:
            self.told(self)
        finally:
            super().done()

    def failed(self, error: Exception) -> None:
        if not isinstance(error, Vanished):
            self.claimed.add(self.attempt.parcel.id)  # the row is claimed still: it may be released
        super().failed(error)

    def _before(self) -> tuple[int, int, int, int, int, int] | None:
        """The counts of a message that was just accepted, without a look at its row."""
        parcel = self.attempt.parcel
        count = len(parcel.recipients)
        charged = 0 if parcel.notice else count
        return (parcel.account_id, charged, count, 0, 0, 0) if self.fresh else None

    def _requeue(self, batch: Batch, next_number: int) -> None:
        attempt, parcel = self.attempt, self.attempt.parcel
        first = parcel.first_try_ms
        if not first and (attempt.counted or attempt.uncertain):
            first = attempt.at_ms
        row = parcel.uncertain_row
        if attempt.uncertain:
            row += 1
        elif attempt.counted:
            row = 0
        values = (
            attempt.next_ms,
            next_number,
            parcel.tries + attempt.counted,
            first,
            parcel.held_ms + attempt.held_ms,
            row,
            attempt.reason,
        )
        batch.db.execute(REQUEUE, (*values, *key_of(self.claim, parcel)))
        if batch.db.changes() != 1:
            raise Vanished

    def _tell_of(self, batch: Batch) -> None:
        attempt, parcel = self.attempt, self.attempt.parcel
        failed = [result for result in attempt.results if result.state is State.FAILED]
        if failed:
            words = f"{failed[0].code} {failed[0].text}".strip("0 ")[:EVENT_OCTETS]
            text = f"{len(failed)} of {len(attempt.results)} recipients failed: {words}"
            kind = Kind.MESSAGE_DAMAGED if attempt.damaged else Kind.MESSAGE_FAILED
            batch.event(_event(attempt, kind, text))
        if attempt.uncertain:
            text = f"the connection was lost after the final dot (attempt {parcel.attempt})"
            batch.event(_event(attempt, Kind.MESSAGE_UNCERTAIN, text))

    def _settle(self, counts: Counts) -> Settled:
        attempt = self.attempt
        refused = None
        if not counts.queued and not counts.sent:
            failed = [r for r in attempt.results if r.state is State.FAILED]
            refused = min(failed, key=lambda r: r.number, default=None)
        return Settled(
            attempt.parcel.id,
            counts.queued,
            counts.sent,
            counts.failed,
            counts.cancelled,
            code=refused.code if refused else 0,
            enhanced=enhanced(refused.text) if refused else "",
            words=refused.text if refused else "",
            hint=attempt.reason if counts.queued else "",
            next_at_ms=max(attempt.next_ms, attempt.probe_ms) if counts.queued else 0,
        )


class Release(Deed):
    """A claim given back untried; so are the places that a fallback had for it, of today."""

    def __init__(
        self,
        parcel: Parcel,
        claim: int,
        due_ms: int,
        reason: str,
        claimed: set[int],
    ) -> None:
        super().__init__()
        self.parcel = parcel
        self.claim = claim
        self.due_ms = due_ms
        self.reason = reason
        self.claimed = claimed

    def run(self, batch: Batch) -> None:
        p = self.parcel
        values = (self.due_ms, p.attempt, p.tries, p.first_try_ms, p.held_ms)
        batch.flush()
        key = key_of(self.claim, p)
        batch.db.execute(REQUEUE, (*values, p.uncertain_row, self.reason, *key))
        if batch.db.changes() != 1:
            raise Vanished
        if p.place is not None and p.place.day == batch.today:
            batch.take_places("u", p.place.upstream_id, p.place.day, -p.place.count)

    def failed(self, error: Exception) -> None:
        if not isinstance(error, Vanished):
            self.claimed.add(self.parcel.id)
        super().failed(error)


def enhanced(text: str) -> str:
    """The enhanced status code (RFC 3463) at the start of an upstream's words, or an empty
    string."""
    found = ENHANCED.match(text)
    return found.group(1) if found else ""


def _event(attempt: Attempt, kind: Kind, text: str) -> Event:
    parcel = attempt.parcel
    return Event(
        attempt.at_ms,
        kind,
        text,
        account_id=parcel.account_id,
        message_id=parcel.id,
        upstream_id=attempt.upstream_id,
        sender_id=parcel.sender_id,
    )
