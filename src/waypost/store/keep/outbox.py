"""The events that alerts are made of, read behind a cursor, and the marks of what was told.

Promises that the cursor moves on only by the caller's word, in a transaction of its own: an event
is read again until somebody says that it was told. Blocks: call it in a thread, from one worker.
Knows nothing of alerts.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from waypost.core.event import Event
from waypost.store.connect import connect, transaction
from waypost.store.read.book import Look
from waypost.store.sqlite.batch import INSERT_EVENT

CURSOR = "alert_cursor"
MARK = "alert_mark:"  # what stands: said once, until it is over


class Told(msgspec.Struct, frozen=True):
    """An event as an alert tells it: names for ids, None where it is about nothing of the kind.

    `fallback`: the upstream that takes the mail of `upstream` meanwhile.
    """

    id: int
    at: int
    kind: str
    text: str
    account: str | None
    upstream: str | None
    host: str | None
    fallback: str | None
    sender: str | None


class Low(msgspec.Struct, frozen=True):
    """An account that keeps a balance and has sent mail."""

    id: int
    name: str
    balance: int
    enabled: bool


class Outbox:
    """Of one data directory. Raises `StoreAway`."""

    def __init__(self, data: Path) -> None:
        self._data = data

    def begin(self, since_ms: int) -> int:
        """The cursor: where it stood, or before the first event since then."""
        db = connect(self._data)
        try:
            with transaction(db):
                look = Look(db)
                stood = look.value("SELECT value FROM meta WHERE name = ?", (CURSOR,))
                if stood is None:
                    last = "SELECT max(id) FROM event WHERE at < ?"
                    stood = look.value(last, (since_ms,)) or 0
                    _keep(look, CURSOR, stood)
                return int(stood)
        finally:
            db.close()

    def following(self, cursor: int, limit: int) -> list[Told]:
        """Events behind the cursor, oldest first."""
        db = connect(self._data, readonly=True)
        try:
            return Look(db).rows(
                Told,
                "SELECT e.id, e.at, e.kind, e.text, a.name, u.name, u.host, f.name, s.address"
                " FROM event e LEFT JOIN account a ON a.id = e.account_id"
                " LEFT JOIN upstream u ON u.id = e.upstream_id"
                " LEFT JOIN upstream f ON f.id = u.fallback_id"
                " LEFT JOIN sender s ON s.id = e.sender_id"
                " WHERE e.id > ? ORDER BY e.id LIMIT ?",
                (cursor, limit),
            )
        finally:
            db.close()

    def move(self, cursor: int) -> None:
        """All up to this event was told, or needs no telling."""
        db = connect(self._data)
        try:
            with transaction(db):
                _keep(Look(db), CURSOR, cursor)
        finally:
            db.close()

    def low(self, credits: int) -> tuple[list[Low], dict[str, str]]:
        """(accounts with so many credits left or fewer, the marks that stand with their words)."""
        db = connect(self._data, readonly=True)
        try:
            look = Look(db)
            accounts = look.rows(
                Low,
                "SELECT id, name, balance, enabled FROM account"
                " WHERE NOT unlimited AND balance <= ? AND accepted > 0",
                (credits,),
            )
            marks = look.tuples("SELECT name, value FROM meta WHERE name GLOB ?", (f"{MARK}*",))
            return accounts, {name.removeprefix(MARK): str(value) for name, value in marks}
        finally:
            db.close()

    def mark(self, events: Iterable[tuple[str, str, Event | None]]) -> None:
        """(mark, its words or nothing where it is over, what is told of it): all in one
        transaction.
        """
        db = connect(self._data)
        try:
            with transaction(db):
                look = Look(db)
                for name, words, event in events:
                    if words:
                        _keep(look, MARK + name, words)
                    else:
                        look.run("DELETE FROM meta WHERE name = ?", (MARK + name,))
                    if event is not None:
                        look.run(INSERT_EVENT, msgspec.structs.astuple(event))
        finally:
            db.close()


def _keep(look: Look, name: str, value: int | str) -> None:
    look.run(
        "INSERT INTO meta (name, value) VALUES (?, ?)"
        " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (name, value),
    )
