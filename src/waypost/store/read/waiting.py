"""What waits in the queue: a line an upstream, and the messages of a key, a sender or an upstream.

Counting walks the queue's own index once. Knows nothing of who delivers.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from waypost.store.read.book import Look, Value
from waypost.store.read.rows import ClaimRow, QueueRow, WaitRow
from waypost.store.several.begun import Recall

CLAIMED = "SELECT claim, sender_id, account_id, due, message_id FROM queue WHERE claim > 0"
NEXT_ACCOUNT = (
    "SELECT account_id FROM queue WHERE claim = 0 AND sender_id = ? AND account_id > ?"
    " ORDER BY account_id LIMIT 1"
)
WAIT = "SELECT q.message_id, q.sender_id, q.account_id, q.due, q.reason FROM queue q"


def lines(look: Look, account_id: int | None) -> list[QueueRow]:
    """Of every upstream with mail waiting, or in trouble; of one account's mail where that is
    said.
    """
    mine = "" if account_id is None else " AND account_id = ?"
    values: list[Value] = [] if account_id is None else [account_id, account_id]
    troubled = " OR u.state <> 'ok'" if account_id is None else ""
    # Apart, for what nobody has claimed is then read in the order of its index: a million in a
    # tenth of a second.
    return look.rows(
        QueueRow,
        "WITH lane AS (SELECT sender_id, count(*) AS queued,"
        f" min(message_id) AS oldest, min(due) AS due FROM queue WHERE claim = 0{mine}"
        " GROUP BY sender_id UNION ALL SELECT sender_id, count(*), min(message_id), NULL"
        f" FROM queue WHERE claim > 0{mine} GROUP BY sender_id),"
        " w AS (SELECT s.upstream_id, sum(l.queued) AS queued, min(l.oldest) AS oldest,"
        " min(l.due) AS due, max(s.held) AS held FROM lane l"
        " JOIN sender s ON s.id = l.sender_id GROUP BY s.upstream_id)"
        " SELECT u.id, u.name, a.name, ifnull(w.queued, 0), w.oldest, w.due,"
        " u.state, u.probe_at, u.reason, ifnull(w.held, '') FROM upstream u"
        " LEFT JOIN w ON w.upstream_id = u.id LEFT JOIN account a ON a.id = u.account_id"
        f" WHERE w.queued > 0{troubled} ORDER BY u.id",
        values,
    )


def first_reason(look: Look, upstream_id: int, account_id: int | None) -> str:
    """Why the mail waits that is due first of one of the upstream's senders.

    Of one account's mail where that is said: the words may name a recipient.
    """
    mine = "" if account_id is None else " AND q.account_id = ?"
    values: list[Value] = [upstream_id] if account_id is None else [upstream_id, account_id]
    found = look.value(
        "SELECT q.reason FROM sender s JOIN queue q ON q.claim = 0 AND q.sender_id = s.id"
        f" WHERE s.upstream_id = ?{mine} LIMIT 1",
        values,
    )
    return str(found or "")


def all_disabled(look: Look, upstream_id: int, account_id: int | None) -> bool:
    """Whether everything that waits for the upstream is of disabled accounts (of that one, where
    one is said). A look-up a lane, until one is found that is not."""
    senders = look.tuples("SELECT id FROM sender WHERE upstream_id = ?", (upstream_id,))
    seen: dict[int, bool] = {}
    for (sender_id,) in senders:
        above = -1 if account_id is None else account_id - 1
        while (found := look.value(NEXT_ACCOUNT, (sender_id, above))) is not None:
            if account_id is not None and found != account_id:
                break
            if found not in seen:
                enabled = look.value("SELECT enabled FROM account WHERE id = ?", (found,))
                seen[found] = bool(enabled)
            if seen[found]:
                return False
            above = found
    return bool(seen)


def of_senders(
    look: Look, sender_ids: list[int], account_id: int | None, limit: int
) -> list[WaitRow]:
    """Unclaimed mail of these senders, of one account where that is said."""
    marks = ",".join("?" * len(sender_ids))
    mine = "" if account_id is None else " AND q.account_id = ?"
    values: list[Value] = [*sender_ids] if account_id is None else [*sender_ids, account_id]
    return look.rows(
        WaitRow,
        f"{WAIT} WHERE q.claim = 0 AND q.sender_id IN ({marks}){mine} LIMIT ?",
        [*values, limit],
    )


def of_key(
    look: Look, account_id: int, key_id: int, below: int, limit: int
) -> list[tuple[int, bool]]:
    """(message id, claimed) of the queued mail of a key below that id, newest first."""
    found = look.tuples(
        "SELECT m.id, q.message_id IS NULL FROM message m"
        " LEFT JOIN queue q ON q.message_id = m.id AND q.claim = 0"
        " WHERE m.account_id = ? AND m.key_id = ? AND m.id < ? AND m.queued > 0"
        " ORDER BY m.id DESC LIMIT ?",
        (account_id, key_id, below, limit),
    )
    return [(row[0], bool(row[1])) for row in found]


def claimed(
    look: Look,
    *,
    message_id: int | None = None,
    sender_ids: list[int] | None = None,
    account_id: int | None = None,
) -> list[ClaimRow]:
    """What workers have claimed, on the wire or about to be: few, whatever waits. Of one message,
    some senders, one account, where that is said."""
    sql = CLAIMED
    values: list[Value] = []
    if message_id is not None:
        sql, values = f"{sql} AND message_id = ?", [message_id]
    if sender_ids is not None:
        sql = f"{sql} AND sender_id IN ({','.join('?' * len(sender_ids))})"
        values += sender_ids
    if account_id is not None:
        sql, values = f"{sql} AND account_id = ?", [*values, account_id]
    return look.rows(ClaimRow, sql, values)


def on_wire(look: Look, claims: Iterable[ClaimRow]) -> set[int]:
    """The messages of those claims that are being sent at this moment."""
    with Recall(Path(look.connection.filename).parent) as recall:
        return recall.begun(row.message_id for row in claims)


def due(look: Look, sender_ids: list[int], now_ms: int) -> tuple[int, int]:
    """(messages, recipients) of these senders that nobody has claimed though they are due: what
    keeps them back is not their schedule."""
    marks = ",".join("?" * len(sender_ids))
    found = look.tuples(
        "SELECT count(*), ifnull(sum(m.queued), 0) FROM queue q JOIN message m"
        f" ON m.id = q.message_id WHERE q.claim = 0 AND q.due <= ? AND q.sender_id IN ({marks})",
        (now_ms, *sender_ids),
    )
    return found[0][0], found[0][1]


def waits(look: Look, sender_ids: list[int]) -> bool:
    """Any mail of these senders waits or is being sent."""
    if not sender_ids:
        return False
    marks = ",".join("?" * len(sender_ids))
    sql = f"SELECT 1 FROM queue WHERE sender_id IN ({marks}) LIMIT 1"
    return look.value(sql, sender_ids) is not None


def numbers(look: Look, message_id: int) -> list[int]:
    """The numbers of the message's queued recipients."""
    sql = "SELECT number FROM recipient WHERE message_id = ? AND state = 0 ORDER BY number"
    return [row[0] for row in look.tuples(sql, (message_id,))]
