"""What accounts have come to, day by day: recipients accepted, sent, failed and cancelled.

The sums are kept since ever, at the account as they stand and in `tally` as they stood at the end
of a day, so that a day is the difference of two rows. Touches a row a day.
"""

from __future__ import annotations

import msgspec

from waypost.store.read.book import Look, Value

EVERYBODY = 0
"""The account that stands for all in `tally`, written by the upkeep."""
ACCOUNTS_MOST = 50
"""Up to so many accounts are added up at once; more are known as of the last minute."""

SUMS = "counted_day, accepted, sent, failed, cancelled"


class Sums(msgspec.Struct, frozen=True):
    """Recipients since ever, as of (the end of) a UTC day."""

    day: int
    accepted: int
    sent: int
    failed: int
    cancelled: int

    @property
    def queued(self) -> int:
        return self.accepted - self.sent - self.failed - self.cancelled


def now(look: Look, account_id: int | None, today: int) -> Sums:
    """As it stands, of one account or of all."""
    if account_id is not None:
        found = look.row(Sums, f"SELECT {SUMS} FROM account WHERE id = ?", (account_id,))
        return found or Sums(0, 0, 0, 0, 0)
    rows = look.rows(Sums, f"SELECT {SUMS} FROM account LIMIT ?", (ACCOUNTS_MOST + 1,))
    if len(rows) > ACCOUNTS_MOST:
        return next(iter(_days(look, EVERYBODY, 0, 1)), Sums(0, 0, 0, 0, 0))
    return Sums(
        today,
        sum(row.accepted for row in rows),
        sum(row.sent for row in rows),
        sum(row.failed for row in rows),
        sum(row.cancelled for row in rows),
    )


def days(look: Look, account_id: int | None, today: int, count: int) -> list[Sums]:
    """What was added on each of the last `count` days, the oldest first; today is the last.

    A `Sums` here is of its day alone. Of all accounts, the line between two days is good to a
    minute.
    """
    present = now(look, account_id, today)
    first = today - count + 1
    key = EVERYBODY if account_id is None else account_id
    kept = {row.day: row for row in _days(look, key, first, count)}
    kept[present.day] = present
    before = _before(look, key, first)
    if present.day < first:
        before = present
    made = []
    for day in range(first, today + 1):
        after = kept.get(day, before)
        made.append(
            Sums(
                day,
                after.accepted - before.accepted,
                after.sent - before.sent,
                after.failed - before.failed,
                after.cancelled - before.cancelled,
            )
        )
        before = after
    return made


def oldest(look: Look, account_id: int | None) -> int | None:
    """The least id of the messages that wait, None where none does."""
    # The index is named, since the planner would rather sort what the key finds.
    index, mine, values = waiting_by(account_id)
    found = look.value(
        f"SELECT message_id FROM queue INDEXED BY {index} WHERE claim = 0{mine}"
        " ORDER BY message_id LIMIT 1",
        values,
    )
    return None if found is None else int(found)


def waiting_by(account_id: int | None) -> tuple[str, str, tuple[Value, ...]]:
    """(the index that finds waiting messages by id, its condition, the values of that)."""
    if account_id is None:
        return "queue_message", "", ()
    return "queue_account", " AND account_id = ?", (account_id,)


def _days(look: Look, key: int, first: int, count: int) -> list[Sums]:
    return look.rows(
        Sums,
        "SELECT day, accepted, sent, failed, cancelled FROM tally WHERE account_id = ?"
        " AND day >= ? ORDER BY day DESC LIMIT ?",
        (key, first, count),
    )


def _before(look: Look, key: int, day: int) -> Sums:
    found = look.row(
        Sums,
        "SELECT day, accepted, sent, failed, cancelled FROM tally WHERE account_id = ?"
        " AND day < ? ORDER BY day DESC LIMIT 1",
        (key, day),
    )
    return found or Sums(0, 0, 0, 0, 0)
