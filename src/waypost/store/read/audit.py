"""The proof that the ledger and the queue add up, on one snapshot beside a running relay.

Each check is one pass over its tables in the order of an index, so that memory stays small whatever
they hold. Finds faults, mends none. Knows nothing of how mail is delivered.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from waypost.core import ident, lifecycle
from waypost.store.read.book import Look

NAMED = 3
"""How many of the things that are off a check names."""


class Check(msgspec.Struct, frozen=True):
    """One check; `missing` are messages whose files were not found (they may have ended since)."""

    name: str
    ok: bool
    detail: str
    missing: tuple[int, ...] = ()


def prove(look: Look, data: Path) -> list[Check]:
    """All checks. `data`: where the spool is."""
    done = [_checked(look, name, good, sql, describe) for name, good, sql, describe in _QUESTIONS]
    return [*done, _statuses(look), _bodies(look, data)]


def again(look: Look, data: Path, checks: list[Check]) -> list[Check]:
    """Looks again, on a later snapshot, for the files that were missing: who has ended needs
    none.
    """
    return [_bodies(look, data, check.missing) if check.missing else check for check in checks]


def _account(row: tuple[object, ...]) -> str:
    return f"account {row[0]}: {row[1]}, not {row[2]}"


def _line(row: tuple[object, ...]) -> str:
    return f"line {row[0]}: {row[1]} after {row[2]}"


def _message(row: tuple[object, ...]) -> str:
    shown = ident.show(row[0]) if isinstance(row[0], int) else "?"
    return f"message {shown}" + "".join(f", {cell}" for cell in row[1:])


_PER_ACCOUNT = (
    "WITH paid AS (SELECT account_id, sum(amount) AS n,"
    " sum(iif(reason = 'debit', -amount, 0)) AS d,"
    " sum(iif(reason = 'refund', amount, 0)) AS r FROM ledger INDEXED BY ledger_account"
    " GROUP BY account_id),"
    " mail AS (SELECT account_id, sum(charged) AS c, sum(refunded) AS r FROM message"
    " INDEXED BY message_account GROUP BY account_id)"
)
Describe = Callable[[tuple[object, ...]], str]

_QUESTIONS: tuple[tuple[str, str, str, Describe], ...] = (
    (
        "balance",
        "every balance is the sum of its ledger lines",
        f"{_PER_ACCOUNT} SELECT a.name, a.balance, ifnull(p.n, 0) FROM account a"
        " LEFT JOIN paid p ON p.account_id = a.id WHERE a.balance <> ifnull(p.n, 0)",
        _account,
    ),
    (
        "ledger",
        "every line carries on from the one before it",
        "SELECT id, balance, before FROM (SELECT id, amount, balance,"
        " lag(balance, 1, 0) OVER (PARTITION BY account_id ORDER BY id) AS before FROM ledger)"
        " WHERE balance <> before + amount",
        _line,
    ),
    (
        "accounts",
        "every message and ledger line belongs to an account",
        "SELECT 'message', id, account_id FROM message WHERE account_id NOT IN"
        " (SELECT id FROM account) UNION ALL SELECT 'line', id, account_id FROM ledger"
        " WHERE account_id NOT IN (SELECT id FROM account)",
        lambda row: f"{row[0]} {row[1]}: no account {row[2]}",
    ),
    (
        "paid",
        "accepted = paid, what the log has let go of included",
        f"{_PER_ACCOUNT} SELECT a.name, ifnull(p.d, 0), ifnull(m.c, 0) + a.gone_charged"
        " FROM account a LEFT JOIN paid p ON p.account_id = a.id"
        " LEFT JOIN mail m ON m.account_id = a.id"
        " WHERE ifnull(p.d, 0) <> ifnull(m.c, 0) + a.gone_charged",
        _account,
    ),
    (
        "refunded",
        "failed and cancelled = refunded, what the log has let go of included",
        f"{_PER_ACCOUNT} SELECT a.name, ifnull(p.r, 0), ifnull(m.r, 0) + a.gone_refunded"
        " FROM account a LEFT JOIN paid p ON p.account_id = a.id"
        " LEFT JOIN mail m ON m.account_id = a.id"
        " WHERE ifnull(p.r, 0) <> ifnull(m.r, 0) + a.gone_refunded",
        _account,
    ),
    (
        "refund lines",
        "every failed or cancelled recipient has its one refund, and nobody else",
        "SELECT r.message_id, r.number, 'without a refund' FROM recipient r WHERE r.state IN (2, 3)"
        " AND NOT EXISTS (SELECT 1 FROM ledger l WHERE l.reason = 'refund'"
        " AND l.message_id = r.message_id AND l.recipient = r.number AND l.amount = 1)"
        " AND NOT EXISTS (SELECT 1 FROM message m WHERE m.id = r.message_id"
        " AND m.channel = 'notice')"
        " UNION ALL SELECT l.message_id, l.recipient, 'a refund without a cause' FROM ledger l"
        " WHERE l.reason = 'refund' AND (l.message_id IS NULL OR l.recipient IS NULL"
        " OR EXISTS (SELECT 1 FROM message m WHERE m.id = l.message_id)"
        " AND NOT EXISTS (SELECT 1 FROM recipient r"
        " JOIN message m ON m.id = r.message_id AND m.channel <> 'notice'"
        " WHERE r.message_id = l.message_id AND r.number = l.recipient AND r.state IN (2, 3)))",
        _message,
    ),
    (
        "nobody below zero",
        "no account that keeps a balance is below zero",
        "SELECT name, balance, 0 FROM account WHERE balance < 0 AND NOT unlimited",
        _account,
    ),
    (
        "counters",
        "every message counts its recipients right, is paid for and refunded",
        "SELECT m.id, 'the counters do not match its recipients' FROM message m"
        " LEFT JOIN recipient r ON r.message_id = m.id GROUP BY m.id"
        " HAVING (m.recipients, m.queued, m.sent, m.failed, m.cancelled, m.charged, m.refunded)"
        " IS NOT (count(r.number), ifnull(sum(r.state = 0), 0), ifnull(sum(r.state = 1), 0),"
        " ifnull(sum(r.state = 2), 0), ifnull(sum(r.state = 3), 0),"
        " iif(m.channel = 'notice', 0, count(r.number)),"
        " iif(m.channel = 'notice', 0, ifnull(sum(r.state IN (2, 3)), 0)))"
        " UNION ALL SELECT message_id, 'recipients without a message' FROM recipient"
        " WHERE number = 1 AND NOT EXISTS (SELECT 1 FROM message WHERE id = message_id)",
        _message,
    ),
    (
        "tallies",
        "what every account has come to is the sum of its messages",
        # Notices, which cost nothing, are not among an account's counts.
        "WITH mail AS (SELECT account_id, sum(charged) AS c, sum(refunded) AS r,"
        " sum(iif(channel = 'notice', 0, queued)) AS q"
        " FROM message INDEXED BY message_account GROUP BY account_id)"
        " SELECT a.name, a.accepted || ' accepted, ' || (a.failed + a.cancelled) || ' refunded, '"
        " || (a.accepted - a.sent - a.failed - a.cancelled) || ' queued',"
        " (ifnull(m.c, 0) + a.gone_charged) || ', ' || (ifnull(m.r, 0) + a.gone_refunded) || ', '"
        " || ifnull(m.q, 0) FROM account a LEFT JOIN mail m ON m.account_id = a.id"
        " WHERE (a.accepted, a.failed + a.cancelled, a.accepted - a.sent - a.failed - a.cancelled)"
        " IS NOT (ifnull(m.c, 0) + a.gone_charged, ifnull(m.r, 0) + a.gone_refunded,"
        " ifnull(m.q, 0))",
        _account,
    ),
    (
        "queue",
        "every message with queued recipients has its one row in the queue, and nobody else",
        "SELECT m.id, 'not in the queue' FROM message m WHERE m.queued > 0 AND NOT EXISTS"
        " (SELECT 1 FROM queue q WHERE q.message_id = m.id AND q.claim = 0)"
        " AND m.id NOT IN (SELECT message_id FROM queue WHERE claim > 0)"
        " UNION ALL SELECT message_id, 'more than once in the queue' FROM queue"
        " INDEXED BY queue_message WHERE claim = 0 GROUP BY message_id HAVING count(*) > 1"
        " UNION ALL SELECT c.message_id, 'waiting and on the wire' FROM queue c"
        " JOIN queue q ON q.message_id = c.message_id AND q.claim = 0 WHERE c.claim > 0"
        " UNION ALL SELECT message_id, 'on the wire more than once' FROM queue"
        " WHERE claim > 0 GROUP BY message_id HAVING count(*) > 1"
        " UNION ALL SELECT q.message_id, 'in the queue, but ended or unknown' FROM queue q"
        " LEFT JOIN message m ON m.id = q.message_id WHERE ifnull(m.queued, 0) = 0"
        " OR q.account_id <> m.account_id OR q.sender_id <> m.sender_id",
        _message,
    ),
    (
        "senders",
        "every queued message has a sender with an upstream",
        "SELECT message_id, 'no sender' FROM queue WHERE sender_id NOT IN"
        " (SELECT s.id FROM sender s JOIN upstream u ON u.id = s.upstream_id)",
        _message,
    ),
)


def _checked(look: Look, name: str, good: str, sql: str, describe: Describe) -> Check:
    count, named = 0, []
    for row in look.walk(sql):
        count += 1
        if count <= NAMED:
            named.append(describe(row))
    if not count:
        return Check(name, True, good)
    more = f" and {count - NAMED} more" if count > NAMED else ""
    return Check(name, False, "; ".join(named) + more)


def _statuses(look: Look) -> Check:
    """The word of every message follows from its counters."""
    good = "every message's status and end follow from its recipients"
    off: list[str] = []
    for row in look.walk(
        "SELECT id, status, queued, sent, failed, cancelled, ended_at IS NOT NULL FROM message"
    ):
        number, word, queued, sent, failed, cancelled, ended = row
        right = lifecycle.status(queued, sent, failed, cancelled)
        if (word, bool(ended)) != (right.value, queued == 0):
            off.append(f"message {ident.show(number)} is {word}, not {right.value}")
            if len(off) == NAMED:
                break
    return Check("statuses", not off, "; ".join(off) or good)


def _bodies(look: Look, data: Path, only: tuple[int, ...] = ()) -> Check:
    """Every message with work left has its octets, on disk where they are large."""
    good = "the octets of every queued message are there"
    sql = (
        "SELECT m.id, b.message_id, b.spool, b.spool_offset, b.spool_octets FROM message m"
        " LEFT JOIN body b ON b.message_id = m.id WHERE m.queued > 0"
    )
    named: list[str] = []
    missing: list[int] = []
    for number, body, spool, offset, octets in look.walk(sql):
        if only and number not in only:
            continue
        if body is None:
            what = "has no body"
        elif spool is None or _octets(data / spool) == offset + octets:
            continue
        else:
            what = f"needs {spool} of {offset + octets} octets"
        missing.append(number)
        if len(named) < NAMED:
            named.append(f"message {ident.show(number)} {what}")
    more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
    return Check("bodies", not missing, "; ".join(named) + more or good, tuple(missing))


def _octets(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
