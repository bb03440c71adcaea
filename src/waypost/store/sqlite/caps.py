"""Places under the daily caps of senders and upstreams (recipients handed over in one UTC day).

Promises: within the caps exactly, since it runs under the store's one write lock; what waits keeps
its order within an account. A message without room is put off to the first day that has room beside
all that was put off before it, so that a long backlog is not moved on day after day. Reads no
clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw
import msgspec

from waypost.core.facts import Sender
from waypost.core.upstream import Upstream
from waypost.store.sqlite.batch import DAY_MS, Batch

SELECT_PLANNED = (
    "SELECT q.sender_id, s.upstream_id, q.due / 86400000, sum(m.queued) FROM queue q"
    " JOIN message m ON m.id = q.message_id JOIN sender s ON s.id = q.sender_id"
    " WHERE q.claim = 0 AND q.capped <> 0 AND q.due / 86400000 > ? / 86400000"
)
SELECT_TAKEN = (
    "SELECT ifnull(sum(m.queued), 0) FROM queue q JOIN message m ON m.id = q.message_id"
    " WHERE q.claim = 0 AND q.sender_id = ? AND q.day = ?"
)
BY_DAY = "GROUP BY 1, 2, 3"
UNPLAN = "UPDATE place SET used = max(used - ?, 0) WHERE scope = ? AND scope_id = ? AND day = ?"
SELECT_CAPPED = "SELECT 1 FROM queue WHERE capped = ? AND capped <> 0 AND account_id = ? LIMIT 1"


class Put(msgspec.Struct, frozen=True):
    """Where a message goes: with a place of `day` (`capped` 0), or put off until `due_ms`."""

    due_ms: int
    day: int
    capped: int
    reason: str = ""


class Caps(msgspec.Struct, frozen=True):
    """The two caps that a message is under; None is no cap."""

    sender_id: int
    upstream_id: int
    of_sender: int | None
    of_upstream: int | None

    @property
    def any(self) -> bool:
        return self.of_sender is not None or self.of_upstream is not None


def caps_of(sender: Sender, upstream: Upstream | None) -> Caps:
    """The caps for mail of a sender."""
    of_upstream = upstream.limits.daily_cap if upstream is not None else None
    return Caps(sender.id, sender.upstream_id, sender.daily_cap, of_upstream)


def too_large(caps: Caps, count: int) -> int | None:
    """The cap that a message of so many recipients alone is larger than."""
    return next(
        (cap for cap in (caps.of_sender, caps.of_upstream) if cap is not None and count > cap),
        None,
    )


def full(batch: Batch, caps: Caps, count: int) -> int:
    """0 if today has room; else whose cap is reached: an upstream's id, or minus a sender's."""
    day = batch.today
    if (
        caps.of_upstream is not None
        and batch.places("u", caps.upstream_id, day) + count > caps.of_upstream
    ):
        return caps.upstream_id
    if (
        caps.of_sender is not None
        and batch.places("s", caps.sender_id, day) + count > caps.of_sender
    ):
        return -caps.sender_id
    return 0


def take(batch: Batch, caps: Caps, count: int) -> None:
    """Takes places of today; also where there is no cap: one may be set at noon, and use is
    shown."""
    batch.take_places("s", caps.sender_id, batch.today, count)
    batch.take_places("u", caps.upstream_id, batch.today, count)


def place(batch: Batch, caps: Caps, account_id: int, count: int) -> Put:
    """Takes places of today for a new message, or puts it off behind what waits already."""
    mark = waits(batch, caps, account_id) if caps.any else 0
    if mark:
        return put_off(batch, caps, count, mark, behind=True)
    mark = full(batch, caps, count)
    if mark:
        batch.waiting[mark, account_id] = True
        return put_off(batch, caps, count, mark, behind=False)
    take(batch, caps, count)
    return Put(batch.now_ms, batch.today, 0)


def waits(batch: Batch, caps: Caps, account_id: int) -> int:
    """Whose cap older mail of this account waits for, of the two; 0 is neither's."""
    marks = ((caps.upstream_id, caps.of_upstream), (-caps.sender_id, caps.of_sender))
    for mark, cap in marks:
        if cap is None:
            continue
        known = batch.waiting.get((mark, account_id))
        if known is None:
            known = batch.db.execute(SELECT_CAPPED, (mark, account_id)).fetchone() is not None
            batch.waiting[mark, account_id] = known
        if known:
            return mark
    return 0


def put_off(batch: Batch, caps: Caps, count: int, mark: int, *, behind: bool) -> Put:
    """The first day with room beside what was put off; today only `behind` mail that waits since
    before."""
    last = batch.today + (0 if behind else 1)
    if caps.of_sender is not None:
        last = max(last, batch.last_day("S", caps.sender_id))
    if caps.of_upstream is not None:
        last = max(last, batch.last_day("U", caps.upstream_id))
    if last > batch.today:
        while not _planned_room(batch, caps, count, last):
            last += 1
        batch.take_places("S", caps.sender_id, last, count)
        batch.take_places("U", caps.upstream_id, last, count)
    due = max(last * DAY_MS, batch.now_ms)
    return Put(due, 0, mark, reason_of(mark, caps))


def unplan(
    db: apsw.Connection,
    now_ms: int,
    which: str,
    values: Sequence[int],
    recipients: int | None = None,
) -> None:
    """Gives back the later days that waiting mail was planned for, before it is moved or ended.

    Else what comes next would be put off behind mail that is no longer there. `which`: of the
    queue's rows `q`, their messages `m` and senders `s`, as a condition with `values`.
    `recipients`: of one message, how many of it; None is all that are queued.
    """
    sql = f"{SELECT_PLANNED} AND {which} {BY_DAY}"
    planned: list[Any] = db.execute(sql, (now_ms, *values)).fetchall()
    for sender_id, upstream_id, day, count in planned:
        for scope, scope_id in (("S", sender_id), ("U", upstream_id)):
            back = count if recipients is None else min(recipients, count)
            db.execute(UNPLAN, (back, scope, scope_id, day))


def give_back(db: apsw.Connection, now_ms: int, sender_id: int) -> None:
    """Gives back a sender's places of today that waiting mail has, before that is to take them
    anew. Those of the upstream stay: it may have seen what was tried."""
    day = now_ms // DAY_MS
    count: Any = db.execute(SELECT_TAKEN, (sender_id, day)).get
    db.execute(UNPLAN, (count, "s", sender_id, day))


def reason_of(mark: int, caps: Caps) -> str:
    """Why it waits, in words."""
    if mark > 0:
        return f"the upstream's daily cap of {caps.of_upstream} is reached"
    return f"the sender's daily cap of {caps.of_sender} is reached"


def _planned_room(batch: Batch, caps: Caps, count: int, day: int) -> bool:
    of_sender = caps.of_sender
    of_upstream = caps.of_upstream
    return (of_sender is None or batch.places("S", caps.sender_id, day) + count <= of_sender) and (
        of_upstream is None or batch.places("U", caps.upstream_id, day) + count <= of_upstream
    )
