"""One message for a screen: its parts, each up to a bound, and its octets while they are kept.

Knows nothing of MIME.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from waypost.core.errors import StoreAway
from waypost.core.ident import milliseconds
from waypost.core.message import SpoolPart
from waypost.store.read.book import Look
from waypost.store.read.log import line_at
from waypost.store.read.rows import AttemptRow, LedgerRow, MessageRow, RecipientRow
from waypost.store.spool import chunks

RECIPIENTS_MOST = 60
ATTEMPTS_MOST = 40
LEDGER_MOST = 20
NEAR_MOST = 40
"""Ledger lines that are looked at for a message's debit, from its acceptance on."""

_LEDGER = "SELECT at, amount, reason, message_id, recipient, note, balance FROM ledger"


class Body(msgspec.Struct, frozen=True):
    """The first octets of a message as it goes out; `octets` counts all. `until_ms`: when it is let
    go of, 0: not known yet."""

    data: bytes
    octets: int
    until_ms: int


def recipients(look: Look, ident: int, above: int = 0) -> list[RecipientRow]:
    """Up to `RECIPIENTS_MOST` with greater numbers."""
    return look.rows(
        RecipientRow,
        "SELECT number, address, state, code, text, ended_at FROM recipient"
        " WHERE message_id = ? AND number > ? ORDER BY number LIMIT ?",
        (ident, above, RECIPIENTS_MOST),
    )


def attempts(look: Look, ident: int) -> list[AttemptRow]:
    """The newest, oldest first."""
    return look.rows(
        AttemptRow,
        "SELECT number, at, upstream, uncertain, results, transcript FROM attempt"
        " WHERE message_id = ? ORDER BY number DESC LIMIT ?",
        (ident, ATTEMPTS_MOST),
    )[::-1]


def ledger(look: Look, row: MessageRow) -> list[LedgerRow]:
    """Its debit, where it is found near its acceptance, and its refunds."""
    first = line_at(look, milliseconds(row.id))
    near = look.rows(LedgerRow, f"{_LEDGER} WHERE id >= ? ORDER BY id LIMIT ?", (first, NEAR_MOST))
    debits = [line for line in near if line.message_id == row.id and line.reason == "debit"]
    refunds = look.rows(
        LedgerRow,
        f"{_LEDGER} WHERE message_id = ? AND reason = 'refund' ORDER BY recipient LIMIT ?",
        (row.id, LEDGER_MOST),
    )
    return debits + refunds


def body(look: Look, data: Path, ident: int, most: int) -> Body | None:
    """Up to `most` octets; None where it is no longer kept. Raises `StoreAway`."""
    found = look.tuples(
        "SELECT substr(octets, 1, ?), length(octets), spool, spool_offset, spool_octets,"
        " expires_at FROM body WHERE message_id = ?",
        (most, ident),
    )
    if not found:
        return None
    head, whole, spool, offset, octets, until = found[0]
    if spool is None:
        return Body(head, whole, until or 0)
    left, pieces = most - len(head), [head]
    try:
        for piece in chunks(data, SpoolPart(spool, offset, octets)):
            if left <= 0:
                break
            pieces.append(piece[:left])
            left -= len(piece)
    except StoreAway:
        return None  # it ended, and was let go of, a moment ago
    return Body(b"".join(pieces), whole + octets, until or 0)


def key_name(look: Look, key_id: int) -> str:
    """The name of a key, deleted ones included."""
    return str(look.value("SELECT name FROM api_key WHERE id = ?", (key_id,)) or "")
