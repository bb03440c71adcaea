"""Search in the log, newest first, a window of it at a time.

Each way in follows one index downwards by id and looks at `WINDOW` entries at most; what does not
fit the other conditions is left out. So a page may hold less than was asked for, or nothing, and
still go on: `Found.below` says from where. Knows nothing of how things are shown.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from waypost.core import ident
from waypost.core.lifecycle import Status
from waypost.store.keep import seen
from waypost.store.read.book import Look, Value
from waypost.store.read.screens.tally import waiting_by

WINDOW = 70
"""Entries of an index looked at; each may cost a row of the index and one of the table."""
WIRE_MOST = 20
"""Messages being sent at this moment that a search for queued ones adds."""
SENDERS_MOST = 100
JUMPS = 24
"""Stretches of time that a search passes over at once, for a sender or a key."""
NEWEST = 2**63 - 1

COLUMNS = (
    "m.id, m.account_id, m.key_id, m.sender_id, m.channel, m.from_address, m.subject, m.octets,"
    " m.status, m.recipients, m.queued, m.sent, m.failed, m.cancelled, m.charged, m.refunded"
)
Marks = list[tuple[str, int | str]]
"""Kind and value, as the notes of stretches have them."""
_ENDED_BADLY = frozenset({Status.FAILED, Status.PARTIAL, Status.CANCELLED})


class Entry(msgspec.Struct, frozen=True):
    """A message in the list."""

    id: int
    account_id: int
    key_id: int | None
    sender_id: int
    channel: str
    from_address: str
    subject: str
    octets: int
    status: str
    recipients: int
    queued: int
    sent: int
    failed: int
    cancelled: int
    charged: int
    refunded: int


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which messages: all that is said must hold.

    `least` to `below` (excluded) bound the id. `sender`, `to`: whole addresses in lower case.
    `senders`: ids of senders, None any.
    """

    account_id: int | None = None
    status: str = ""
    sender: str = ""
    to: str = ""
    key_id: int | None = None
    senders: frozenset[int] | None = None
    least: int = 0
    below: int = NEWEST

    def fits(self, row: Entry) -> bool:
        return (
            self.account_id in (None, row.account_id)
            and self.status in ("", row.status)
            and self.sender in ("", row.from_address.lower())
            and self.key_id in (None, row.key_id)
            and (self.senders is None or row.sender_id in self.senders)
        )


class Found(msgspec.Struct, frozen=True):
    """`below`: where the next page begins, None where there is nothing more. `searched`: all from
    here on was looked at (an id)."""

    rows: list[Entry]
    below: int | None
    searched: int


def messages(look: Look, wanted: Wanted, most: int) -> Found:
    """Up to `most` messages."""
    if wanted.to:
        came_over = _ids(
            look,
            "SELECT message_id FROM recipient WHERE address = ? AND message_id >= ?"
            " AND message_id < ? ORDER BY message_id DESC LIMIT ?",
            (wanted.to, wanted.least, wanted.below, WINDOW),
        )
        return _page(wanted, came_over, rows(look, list(dict.fromkeys(came_over))), most)
    if wanted.status == Status.QUEUED:
        return _queued(look, wanted, most)
    marks = _marks(wanted)
    if marks and wanted.status not in _ENDED_BADLY:
        return _jumping(look, wanted, marks, most)
    found = _window(look, wanted)
    return _page(wanted, [row.id for row in found], found, most)


def newer(look: Look, account_id: int | None, after: int, most: int) -> list[Entry]:
    """The oldest that were accepted behind that id, oldest first."""
    mine = "" if account_id is None else " AND m.account_id = ?"
    values: tuple[Value, ...] = () if account_id is None else (account_id,)
    return look.rows(
        Entry,
        f"SELECT {COLUMNS} FROM message m WHERE m.id > ?{mine} ORDER BY m.id LIMIT ?",
        (after, *values, most),
    )


def newest(look: Look, account_id: int | None) -> int:
    """The greatest id, 0 where there is none."""
    mine = "" if account_id is None else " WHERE account_id = ?"
    values: tuple[Value, ...] = () if account_id is None else (account_id,)
    return int(look.value(f"SELECT max(id) FROM message{mine}", values) or 0)


def first_recipients(look: Look, ids: Sequence[int]) -> dict[int, str]:
    """The first recipient's address of each message."""
    if not ids:
        return {}
    marks = ",".join("?" * len(ids))
    sql = f"SELECT message_id, address FROM recipient WHERE message_id IN ({marks}) AND number = 1"
    return {row[0]: row[1] for row in look.tuples(sql, list(ids))}


def account_names(look: Look, ids: set[int]) -> dict[int, str]:
    if not ids:
        return {}
    marks = ",".join("?" * len(ids))
    found = look.tuples(f"SELECT id, name FROM account WHERE id IN ({marks})", list(ids))
    return {row[0]: row[1] for row in found}


def key(look: Look, account_id: int | None, text: str) -> int | None:
    """The id of a key by its id, its name, or its last four characters."""
    mine = "" if account_id is None else " AND account_id = ?"
    values: tuple[Value, ...] = () if account_id is None else (account_id,)
    for clause in ("id = ?", "name = ?", "last4 = ?"):
        sql = f"SELECT id FROM api_key WHERE {clause}{mine} ORDER BY deleted_at IS NOT NULL LIMIT 1"
        found = look.value(sql, (text, *values))
        if found is not None:
            return int(found)
    return None


def senders_of(look: Look, account_id: int | None, upstream: str) -> frozenset[int]:
    """The ids of senders that are bound to upstreams of that name: the account's own and the
    operator's, or anybody's."""
    owner = "" if account_id is None else " AND ifnull(u.account_id, 0) IN (0, ?)"
    values: tuple[Value, ...] = () if account_id is None else (account_id,)
    found = look.tuples(
        "SELECT s.id FROM upstream u JOIN sender s ON s.upstream_id = u.id"
        f" WHERE u.name = ?{owner} LIMIT ?",
        (upstream, *values, SENDERS_MOST),
    )
    return frozenset(row[0] for row in found)


def _window(look: Look, wanted: Wanted, most: int = WINDOW) -> list[Entry]:
    clauses, values = ["m.id >= ?", "m.id < ?"], [wanted.least, wanted.below]
    bound: list[Value] = []
    index = "NOT INDEXED" if wanted.account_id is None else "INDEXED BY message_account"
    if wanted.status in _ENDED_BADLY:
        clauses = ["m.refunded > 0", "m.status = ?", *clauses]
        bound = [wanted.status]
        index = "INDEXED BY message_refunded"
        index += "_all" if wanted.account_id is None else ""
    if wanted.account_id is not None:
        clauses = ["m.account_id = ?", *clauses]
        bound = [wanted.account_id, *bound]
    return look.rows(
        Entry,
        f"SELECT {COLUMNS} FROM message m {index} WHERE {' AND '.join(clauses)}"
        " ORDER BY m.id DESC LIMIT ?",
        [*bound, *values, most],
    )


def _marks(wanted: Wanted) -> Marks:
    """By what the notes of stretches know what is wanted."""
    if wanted.key_id is not None:
        return [("k", wanted.key_id)]
    if wanted.sender:
        return [("f", wanted.sender)]
    if wanted.senders is not None and len(wanted.senders) <= JUMPS:
        return [("s", ref) for ref in sorted(wanted.senders)]
    return []


def _jumping(look: Look, wanted: Wanted, marks: Marks, most: int) -> Found:
    """Goes from one stretch that has any to the next; what is not noted yet is a window first."""
    noted = seen.noted(look)
    if wanted.below > noted + 1:
        fresh = msgspec.structs.replace(wanted, least=max(wanted.least, noted + 1))
        rows = _window(look, fresh)
        found = _page(fresh, [row.id for row in rows], rows, most)
        if found.below is not None or noted < wanted.least:
            return found
        return Found(found.rows, noted + 1, noted + 1)
    fitting: list[Entry] = []
    below, left = wanted.below, WINDOW
    for _ in range(max(1, JUMPS // len(marks))):
        stretch = _stretch(look, wanted, marks, below)
        start = 0 if stretch is None else ident.floor(stretch * seen.STRETCH_MS)
        if stretch is None or ident.floor((stretch + 1) * seen.STRETCH_MS) <= wanted.least:
            return Found(fitting, None, wanted.least)
        top = min(below, ident.floor((stretch + 1) * seen.STRETCH_MS))
        part = msgspec.structs.replace(wanted, least=max(wanted.least, start), below=top)
        rows = _window(look, part, left)
        page = _page(part, [row.id for row in rows], rows, most - len(fitting), window=left)
        fitting += page.rows
        left -= len(rows)
        below = page.below if page.below is not None else part.least
        if len(fitting) >= most or left <= 0 or page.below is not None:
            break
    return Found(fitting, below, below)


def _stretch(look: Look, wanted: Wanted, marks: Marks, below: int) -> int | None:
    """The last stretch before that id in which any of them had mail."""
    last = ident.milliseconds(below - 1) // seen.STRETCH_MS
    found = [
        look.value(
            "SELECT stretch FROM seen WHERE account_id = ? AND kind = ? AND ref = ?"
            " AND stretch <= ? ORDER BY stretch DESC LIMIT 1",
            (wanted.account_id or 0, kind, ref, last),
        )
        for kind, ref in marks
    ]
    return max((int(one) for one in found if one is not None), default=None)


def _queued(look: Look, wanted: Wanted, most: int) -> Found:
    """What waits, by the queue's own index, with what is being sent."""
    index, mine, scope = waiting_by(wanted.account_id)
    bounds = (*scope, wanted.least, wanted.below)
    waiting = _ids(
        look,
        f"SELECT message_id FROM queue INDEXED BY {index} WHERE claim = 0{mine}"
        " AND message_id >= ? AND message_id < ? ORDER BY message_id DESC LIMIT ?",
        (*bounds, WINDOW - WIRE_MOST),
    )
    wire = look.tuples(
        "SELECT message_id, account_id FROM queue WHERE claim > 0 LIMIT ?", (WIRE_MOST,)
    )
    least = waiting[-1] if len(waiting) == WINDOW - WIRE_MOST else wanted.least
    sent_now = [
        ident
        for ident, account_id in wire
        if least <= ident < wanted.below and wanted.account_id in (None, account_id)
    ]
    both = sorted({*waiting, *sent_now}, reverse=True)
    full = len(waiting) == WINDOW - WIRE_MOST
    return _page(wanted, both, rows(look, both), most, full=full)


def _page(
    wanted: Wanted,
    came_over: list[int],
    rows: list[Entry],
    most: int,
    *,
    full: bool | None = None,
    window: int = WINDOW,
) -> Found:
    """What fits of a window. `came_over`: the ids it holds, newest first."""
    if full is None:
        full = len(came_over) == window
    fitting = [row for row in rows if wanted.fits(row)]
    if len(fitting) > most:
        shown = fitting[:most]
        return Found(shown, shown[-1].id, shown[-1].id)
    below = came_over[-1] if full and came_over else None
    return Found(fitting, below, wanted.least if below is None else below)


def _ids(look: Look, sql: str, values: Sequence[Value]) -> list[int]:
    return [row[0] for row in look.tuples(sql, values)]


def rows(look: Look, ids: Sequence[int]) -> list[Entry]:
    """The messages of these ids, in the order of the ids."""
    if not ids:
        return []
    marks = ",".join("?" * len(ids))
    found = look.rows(Entry, f"SELECT {COLUMNS} FROM message m WHERE m.id IN ({marks})", list(ids))
    by_id = {row.id: row for row in found}
    return [by_id[ident] for ident in ids if ident in by_id]
