"""Recipients end: their rows, the message's counts and status, the refunds, and what becomes of the
body.

Promises: an ended recipient never moves again; failed and cancelled ones are refunded once, in the
transaction that ends them. Used by recorded attempts and by commands alike. Knows nothing of
claims.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import apsw
import msgspec

from waypost.core.event import Event, Kind
from waypost.core.lifecycle import REFUNDED, State, status
from waypost.core.message import Result
from waypost.store.sqlite import caps
from waypost.store.sqlite.batch import EXPIRE_BODY, Batch

SELECT_COUNTS = (
    "SELECT account_id, charged, queued, sent, failed, cancelled FROM message WHERE id = ?"
)
SELECT_QUEUED = "SELECT number FROM recipient WHERE message_id = ? AND state = 0"
SELECT_SPOOL = "SELECT spool FROM body WHERE message_id = ?"
# A failure is told of once, when all has ended; never about mail that came with <>, as notices do.
OWE_NOTICE = (
    "INSERT OR IGNORE INTO notice (message_id, due) SELECT m.id, ? FROM message m"
    " JOIN account a ON a.id = m.account_id"
    " WHERE m.id = ? AND a.notify IS NOT NULL AND NOT m.null_sender"
)
TOLD_MS = 5_000  # whoever still waits for the first answer is told by then
DELETE_UNCLAIMED = "DELETE FROM queue WHERE message_id = ? AND claim = 0"


class Keep(msgspec.Struct, frozen=True):
    """How long a body stays after the last recipient has ended, in milliseconds; 0: not at all."""

    body_ms: int
    failed_body_ms: int


class Counts(msgspec.Struct, frozen=True):
    """Recipients of a message by state, after what was done."""

    queued: int
    sent: int
    failed: int
    cancelled: int


def end(
    batch: Batch,
    message_id: int,
    results: Iterable[Result],
    keep: Keep,
    *,
    spooled: bool,
    before: tuple[int, int, int, int, int, int] | None = None,
) -> tuple[Counts, str | None]:
    """Keeps the results of those still queued; also the name of a spool file that nothing needs any
    more.

    `before`: (account, charged, queued, sent, failed, cancelled) where the caller knows them. The
    message's earlier rows must have been flushed. The queue row is left to the caller.
    """
    row: Any = before or batch.db.execute(SELECT_COUNTS, (message_id,)).fetchone()
    if row is None and batch.alone:
        return Counts(0, 0, 0, 0), None  # there is nothing left to end
    account_id, charged, *counted = row  # by state, in the order of its numbers
    results = tuple(results)
    if len(results) != counted[State.QUEUED]:
        queued = {number for (number,) in batch.db.execute(SELECT_QUEUED, (message_id,))}
        results = tuple(result for result in results if result.number in queued)
    refunded, paid = 0, batch.refunded(message_id)
    for result in results:
        state = result.state
        ended = None if state is State.QUEUED else batch.now_ms
        batch.outcomes.append((state, result.code, result.text, ended, message_id, result.number))
        counted[State.QUEUED] -= 1
        counted[state] += 1
        if state in REFUNDED and charged:
            refunded += 1
            if result.number not in paid:
                batch.book(account_id, 1, "refund", message_id, result.number)
    _, _, _, *earlier = row
    if charged and counted[1:] != earlier:
        for place, ended in enumerate(counted[1:], 1):
            batch.count(account_id, place, ended - earlier[place - 1])
    counts = Counts(*counted)
    ended_at = None if counts.queued else batch.now_ms
    batch.ended.append((status(*counted), *counted, refunded, ended_at, message_id))
    if counts.failed and not counts.queued:
        waits_ms = 0 if counts.sent else TOLD_MS
        batch.db.execute(OWE_NOTICE, (batch.now_ms + waits_ms, message_id))
    gone = None if counts.queued else _part_with_body(batch, message_id, counts, keep, spooled)
    return counts, gone


def end_waiting(
    batch: Batch,
    key: tuple[int, int, int, int],
    code: int,
    text: str,
    keep: Keep,
    kind: Kind = Kind.MESSAGE_FAILED,
) -> tuple[tuple[Result, ...], list[str]]:
    """Fails what is still queued of a message that nobody has claimed, with its queue row and an
    event.

    `key`: sender, account, due, message, as in the row. Returns the results, and names of files
    that nothing needs any more.
    """
    sender_id, account_id, _, message_id = key
    batch.flush()
    caps.unplan(batch.db, batch.now_ms, "q.message_id = ?", (message_id,))
    batch.forget_places()
    numbers: list[Any] = batch.db.execute(SELECT_QUEUED, (message_id,)).fetchall()
    results = tuple(Result(number, State.FAILED, code, text) for (number,) in numbers)
    gone = None
    if batch.db.execute(SELECT_COUNTS, (message_id,)).fetchone() is not None:
        _, gone = end(batch, message_id, results, keep, spooled=True)
    batch.unqueued.append((0, *key))
    words = f"{len(results)} of {len(results)} recipients failed: {code or ''} {text}"
    batch.event(
        Event(
            batch.now_ms,
            kind,
            " ".join(words.split()),
            account_id=account_id,
            message_id=message_id,
            sender_id=sender_id,
        )
    )
    batch.flush()
    return results, [gone] if gone else []


def _part_with_body(
    batch: Batch, message_id: int, counts: Counts, keep: Keep, spooled: bool
) -> str | None:
    keep_ms = max(keep.body_ms, keep.failed_body_ms if counts.failed else 0)
    if keep_ms:
        batch.db.execute(EXPIRE_BODY, (batch.now_ms + keep_ms, message_id))
        return None
    name: Any = None
    if spooled:
        row: Any = batch.db.execute(SELECT_SPOOL, (message_id,)).fetchone()
        name = row[0] if row else None
    batch.unbodied.append((message_id,))
    return name if isinstance(name, str) else None


def end_recipients(
    db: apsw.Connection,
    now_ms: int,
    message_id: int,
    numbers: Iterable[int],
    state: State,
    code: int,
    text: str,
    keep: Keep,
) -> list[str]:
    """For commands, in a transaction of theirs: ends queued recipients of a message that nobody has
    claimed.

    Returns names in the data directory of files to unlink after the commit.
    """
    batch = Batch(db, now_ms)
    queued = {number for (number,) in db.execute(SELECT_QUEUED, (message_id,))}
    results = [Result(n, state, code, text) for n in dict.fromkeys(numbers) if n in queued]
    caps.unplan(db, now_ms, "q.message_id = ?", (message_id,), len(results))
    counts, gone = end(batch, message_id, results, keep, spooled=True)
    batch.flush()
    if not counts.queued:
        db.execute(DELETE_UNCLAIMED, (message_id,))
    return [gone] if gone else []
