"""Search in the log of refusals, newest first, a window of it at a time.

A page looks at `WINDOW` refusals at most and may hold none of them; `Found.below` says where the
next one begins. Knows nothing of how things are shown.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from waypost.store.read.book import Look, Value
from waypost.store.read.rows import RefusalRow

WINDOW = 60
"""Refusals looked at; each costs a row of the index, its own, and those of its key and account."""
LATE_MS = 60_000
"""How much later than its time a refusal may be written, so that its number is out of order."""
NEWEST = 2**63 - 1

_SELECT = (
    "SELECT r.id, r.at, r.channel, r.peer, a.name, r.key_id, k.name, r.from_address, r.reason,"
    " r.answer, r.count, r.recipients FROM refusal r LEFT JOIN account a ON a.id = r.account_id"
    " LEFT JOIN api_key k ON k.id = r.key_id"
)


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which refusals: of an account, of that time (milliseconds, `before_ms` excluded), with a
    number below, that fit.
    """

    fits: Callable[[RefusalRow], bool]
    account_id: int | None = None
    after_ms: int = 0
    before_ms: int = NEWEST
    below: int = NEWEST


class Found(msgspec.Struct, frozen=True):
    """`below`: where the next page begins, None where there is nothing more. `searched_ms`: all
    since then was looked at.
    """

    rows: list[RefusalRow]
    below: int | None
    searched_ms: int


def refusals(look: Look, wanted: Wanted, most: int) -> Found:
    """Up to `most` of them."""
    below, least = wanted.below, 0
    if wanted.before_ms < NEWEST:
        late = wanted.before_ms + LATE_MS
        sql = "SELECT id FROM refusal WHERE at < ? ORDER BY at DESC, id DESC LIMIT 1"
        below = min(below, int(look.value(sql, (late,)) or 0) + 1)
    if wanted.after_ms:
        sql = "SELECT id FROM refusal WHERE at >= ? ORDER BY at, id LIMIT 1"
        least = int(look.value(sql, (wanted.after_ms - LATE_MS,)) or NEWEST)
    mine = "" if wanted.account_id is None else " AND r.account_id = ?"
    values: tuple[Value, ...] = () if wanted.account_id is None else (wanted.account_id,)
    window = look.rows(
        RefusalRow,
        f"{_SELECT} WHERE r.id >= ? AND r.id < ?{mine} ORDER BY r.id DESC LIMIT ?",
        (least, below, *values, WINDOW),
    )
    fitting = [
        row for row in window if wanted.after_ms <= row.at < wanted.before_ms and wanted.fits(row)
    ]
    if len(fitting) > most:
        last = fitting[most - 1]
        return Found(fitting[:most], last.id, last.at)
    if len(window) == WINDOW:
        return Found(fitting, window[-1].id, window[-1].at)
    return Found(fitting, None, wanted.after_ms)
