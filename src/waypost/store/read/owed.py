"""The notices that are owed: which are due, and what they have to tell.

Promises that a row stays until its notice is accepted or it is let go of here. Knows nothing of how
a notice reads.
"""

from __future__ import annotations

import msgspec

from waypost.core.lifecycle import State
from waypost.store.read.book import Look


class Owed(msgspec.Struct, frozen=True):
    """A message of whose failure nobody was told. Counts are of recipients; `enabled`: its account
    is.
    """

    message_id: int
    account_id: int
    account: str
    enabled: bool
    sender: str
    subject: str
    smtp_message_id: str
    recipients: int
    failed: int


class Failed(msgspec.Struct, frozen=True):
    """A recipient that failed, and the words that it ended with (code 0: none of an upstream)."""

    address: str
    code: int
    text: str


def due(look: Look, now_ms: int, limit: int) -> list[Owed]:
    """The notices that are due, the longest first."""
    return look.rows(
        Owed,
        "SELECT n.message_id, m.account_id, a.name, a.enabled, m.from_address, m.subject,"
        " m.smtp_message_id, m.recipients, m.failed FROM notice n"
        " JOIN message m ON m.id = n.message_id JOIN account a ON a.id = m.account_id"
        " WHERE n.due <= ? ORDER BY n.due LIMIT ?",
        (now_ms, limit),
    )


def failed(look: Look, message_id: int, limit: int) -> list[Failed]:
    """The first of its recipients that failed."""
    return look.rows(
        Failed,
        "SELECT address, code, text FROM recipient WHERE message_id = ? AND state = ?"
        " ORDER BY number LIMIT ?",
        (message_id, int(State.FAILED), limit),
    )


def upstream(look: Look, message_id: int) -> str:
    """The name of the upstream that was tried last, or nothing."""
    return str(
        look.value(
            "SELECT upstream FROM attempt WHERE message_id = ? ORDER BY number DESC LIMIT 1",
            (message_id,),
        )
        or ""
    )


def put_off(look: Look, message_id: int, until_ms: int) -> None:
    """It is due then."""
    look.run("UPDATE notice SET due = ? WHERE message_id = ?", (until_ms, message_id))


def let_go(look: Look, message_id: int) -> None:
    """It is owed no longer."""
    look.run("DELETE FROM notice WHERE message_id = ?", (message_id,))
