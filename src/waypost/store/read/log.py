"""The log: messages with their recipients and attempts, refusals, events. Newest first, by id,
with a limit.

`account_id` narrows everything to one account: what is another's is not there. Knows nothing of how
things are shown.
"""

from __future__ import annotations

import msgspec

from waypost.core.ident import milliseconds as ident_ms
from waypost.store.read.book import Look, Value
from waypost.store.read.people import limited
from waypost.store.read.rows import (
    AttemptRow,
    EventRow,
    LedgerRow,
    MessageRow,
    RecipientRow,
    RefusalRow,
    WaitRow,
)

MESSAGE = (
    "SELECT m.id, m.account_id, a.name, m.key_id, m.sender_id, m.channel, m.peer, m.from_address,"
    " m.subject, m.smtp_message_id, m.octets, m.status, m.recipients, m.queued, m.sent, m.failed,"
    " m.cancelled, m.charged, m.refunded, m.hold_until, m.ended_at FROM message m"
    " JOIN account a ON a.id = m.account_id"
)

NEAR_MS = 60_000
"""How far from its acceptance the debit of a message is looked for first."""


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which messages: all that is said must hold. `below` and `from_id` bound the id (below
    excluded).

    `sender` and `to` are whole addresses, compared in lower case.
    """

    account_id: int | None = None
    status: str = ""
    sender: str = ""
    to: str = ""
    from_id: int = 0
    below: int | None = None


def messages(look: Look, chosen: Filter, limit: int) -> list[MessageRow]:
    """Newest first."""
    clauses = ["m.id >= ?"]
    values: list[Value] = [chosen.from_id]
    if chosen.account_id is not None:
        clauses.append("m.account_id = ?")
        values.append(chosen.account_id)
    if chosen.status:
        clauses.append("m.status = ?")
        values.append(chosen.status)
    if chosen.sender:
        clauses.append("lower(m.from_address) = ?")
        values.append(chosen.sender.lower())
    if chosen.to:
        clauses.append("m.id IN (SELECT message_id FROM recipient WHERE address = ?)")
        values.append(chosen.to)
    if chosen.below is not None:
        clauses.append("m.id < ?")
        values.append(chosen.below)
    values.append(limited(limit))
    sql = f"{MESSAGE} WHERE {' AND '.join(clauses)} ORDER BY m.id DESC LIMIT ?"
    return look.rows(MessageRow, sql, values)


def newer(look: Look, after: int, limit: int) -> list[MessageRow]:
    """The messages behind that id, oldest first."""
    return look.rows(
        MessageRow, f"{MESSAGE} WHERE m.id > ? ORDER BY m.id LIMIT ?", (after, limited(limit))
    )


def newest(look: Look) -> int:
    """The greatest id, 0 where there is none."""
    return int(look.value("SELECT max(id) FROM message") or 0)


def message(look: Look, ident: int, account_id: int | None) -> MessageRow | None:
    found = look.row(MessageRow, f"{MESSAGE} WHERE m.id = ?", (ident,))
    if found is None or account_id not in (None, found.account_id):
        return None
    return found


def recipients(look: Look, ident: int) -> list[RecipientRow]:
    return look.rows(
        RecipientRow,
        "SELECT number, address, state, code, text, ended_at FROM recipient"
        " WHERE message_id = ? ORDER BY number",
        (ident,),
    )


def attempts(look: Look, ident: int) -> list[AttemptRow]:
    return look.rows(
        AttemptRow,
        "SELECT number, at, upstream, uncertain, results, transcript FROM attempt"
        " WHERE message_id = ? ORDER BY number",
        (ident,),
    )


def wait(look: Look, ident: int) -> WaitRow | None:
    """The message's row of the queue, or None where nothing of it waits or it is being sent."""
    return look.row(
        WaitRow,
        "SELECT message_id, sender_id, account_id, due, reason FROM queue"
        " WHERE message_id = ? AND claim = 0",
        (ident,),
    )


def body_kept(look: Look, ident: int) -> bool:
    return look.value("SELECT 1 FROM body WHERE message_id = ?", (ident,)) is not None


def lines(look: Look, row: MessageRow) -> list[LedgerRow]:
    """The message's lines of the ledger: its debit, then its refunds."""
    if not row.charged:
        return []  # a notice
    sql = "SELECT at, amount, reason, message_id, recipient, note, balance FROM ledger"
    first = line_at(look, ident_ms(row.id) - NEAR_MS)
    near = f"{sql} WHERE id BETWEEN ? AND ? AND message_id = ? AND reason = 'debit'"
    last = line_at(look, ident_ms(row.id) + NEAR_MS)
    debits = look.rows(LedgerRow, near, (first, last, row.id))
    if not debits:  # the clock jumped
        debits = look.rows(
            LedgerRow,
            f"{sql} WHERE account_id = ? AND message_id = ? AND reason = 'debit'",
            (row.account_id, row.id),
        )
    refunds = f"{sql} WHERE message_id = ? AND reason = 'refund' ORDER BY id"
    return debits + look.rows(LedgerRow, refunds, (row.id,))


def line_at(look: Look, at_ms: int) -> int:
    """About the first line of the ledger of that time, by halving: its ids rise with time."""
    low, high = 1, int(look.value("SELECT max(id) FROM ledger") or 0) + 1
    while low < high:
        middle = (low + high) // 2
        found = look.value("SELECT at FROM ledger WHERE id >= ? ORDER BY id LIMIT 1", (middle,))
        if found is not None and found < at_ms:
            low = middle + 1
        else:
            high = middle
    return low


def refusals(
    look: Look, account_id: int | None, below: int | None, limit: int, to: str = ""
) -> list[RefusalRow]:
    """`to`: in lower case; part of a recipient, or of an answer that names one."""
    clauses = ["r.id < ?"]
    values: list[Value] = [below if below is not None else 2**62]
    if to:
        clauses.append("(instr(lower(r.recipients), ?) OR instr(lower(r.answer), ?))")
        values += [to, to]
    if account_id is not None:
        clauses.append("r.account_id = ?")
        values.append(account_id)
    values.append(limited(limit))
    return look.rows(
        RefusalRow,
        "SELECT r.id, r.at, r.channel, r.peer, a.name, r.key_id, k.name, r.from_address, r.reason,"
        " r.answer, r.count, r.recipients FROM refusal r LEFT JOIN account a ON a.id = r.account_id"
        f" LEFT JOIN api_key k ON k.id = r.key_id WHERE {' AND '.join(clauses)}"
        " ORDER BY r.id DESC LIMIT ?",
        values,
    )


def events(look: Look, after: int | None, limit: int) -> list[EventRow]:
    """Behind an id: oldest first. Without one: newest first."""
    where = "WHERE e.id > ? ORDER BY e.id" if after is not None else "ORDER BY e.id DESC"
    values: list[Value] = [] if after is None else [after]
    return look.rows(
        EventRow,
        "SELECT e.id, e.at, e.kind, e.text, a.name, e.message_id, u.name, s.address FROM event e"
        " LEFT JOIN account a ON a.id = e.account_id LEFT JOIN upstream u ON u.id = e.upstream_id"
        f" LEFT JOIN sender s ON s.id = e.sender_id {where} LIMIT ?",
        [*values, limited(limit)],
    )
