"""Small writes that ride along with the next batch: refusals, last uses of keys, health, pins,
holds, events.

Promises: equal refusals of one peer within a minute are one line with a count; a key's use is
written at most once a minute. With several workers a batch runs in a thread of its own while the
loop adds more. Knows nothing of mail.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from waypost.core.errors import StoreAway
from waypost.core.event import Event
from waypost.core.upstream import Health
from waypost.store.contract import RefusalNote
from waypost.store.sqlite.batch import Batch
from waypost.store.sqlite.delivering import Deed

EQUAL_MS = 60_000  # behaviour, section 7: within a minute
USED_MS = 60_000  # behaviour, section 1: at most once a minute
REMEMBERED = 4_096  # different refusals of the last minute
RECIPIENTS_CHARACTERS = 2_048  # of those that a line of the log of refusals keeps

INSERT_REFUSAL = (
    "INSERT INTO refusal (at, channel, peer, account_id, key_id, from_address, reason, answer,"
    " count, recipients) VALUES (?,?,?,?,?,?,?,?,?,?)"
)
COUNT_REFUSAL = "UPDATE refusal SET count = count + ? WHERE id = ?"
RECIPIENTS = "SELECT recipients FROM refusal WHERE id = ?"
UPDATE_RECIPIENTS = "UPDATE refusal SET recipients = ? WHERE id = ?"
UPDATE_USED = "UPDATE api_key SET last_used_at = ? WHERE id = ?"
UPDATE_HEALTH = (
    "UPDATE upstream SET state = ?, reason = ?, since = ?, probe_at = ?, probes = ?,"
    " last_success = ?, last_error = coalesce(nullif(?, ''), last_error)"
    " WHERE id = ? AND edition = ?"
)
SAME_UPSTREAM = "UPDATE upstream SET name = name WHERE id = ?"  # that it is there at all
UPDATE_PIN = "UPDATE upstream SET pin = ? WHERE id = ? AND edition = ?"
DELETE_NOTICE = "DELETE FROM notice WHERE message_id = ?"
UPDATE_HOLD = "UPDATE sender SET held = ?, probe_at = ? WHERE id = ?"

_Same = tuple[str, str, int | None, int | None, str, str, str]


class _Counted(NamedTuple):
    """Equal refusals that wait: when the first came, how many, to whom (a line each)."""

    at_ms: int
    times: int
    recipients: str


class Notes:
    """What waits to be written with the next batch, and what was written lately. A member of
    batches."""

    patient = False  # a lost line of this kind is not worth an endless queue

    def __init__(self, submit: Callable[[Notes], None]) -> None:
        self._submit = submit
        self._refusals: dict[_Same, _Counted] = {}
        self._used: dict[int, int] = {}
        self._lines: dict[_Same, tuple[int, int]] = {}  # (row, when) of the last minute
        self._last_used: dict[int, int] = {}
        self._underway: list[tuple[_Same, _Counted]] = []
        self._uses_underway: list[tuple[int, int]] = []
        self._new_lines: dict[_Same, tuple[int, int]] = {}
        self._asked = False
        self._adding = threading.Lock()
        self._waiting: list[asyncio.Future[None]] = []
        self._waiting_underway: list[asyncio.Future[None]] = []

    def refuse(self, note: RefusalNote) -> asyncio.Future[None]:
        """It ends when the line is committed, or forgotten."""
        same = (
            note.channel,
            note.peer,
            note.account_id,
            note.key_id,
            note.from_address,
            note.reason,
            note.answer,
        )
        with self._adding:
            at_ms, count, to = self._refusals.get(same, (note.at_ms, 0, ""))
            self._refusals[same] = _Counted(at_ms, count + 1, _joined(to, note.recipients))
            written = asyncio.get_running_loop().create_future()
            self._waiting.append(written)
        self._ask()
        return written

    def used(self, key_id: int, now_ms: int) -> None:
        if now_ms - self._last_used.get(key_id, -USED_MS) >= USED_MS:
            self._last_used[key_id] = now_ms
            with self._adding:
                self._used[key_id] = now_ms
            self._ask()

    def run(self, batch: Batch) -> None:
        if not self._underway and not self._uses_underway:
            self._asked = False
            with self._adding:
                self._underway = list(self._refusals.items())
                self._refusals.clear()
                self._uses_underway = [(at, key) for key, at in self._used.items()]
                self._used.clear()
                self._waiting_underway, self._waiting = self._waiting, []
        self._new_lines = {}
        for same, (at_ms, count, to) in self._underway:
            row_id, since = self._lines.get(same, (0, -EQUAL_MS))
            if at_ms - since < EQUAL_MS:
                batch.db.execute(COUNT_REFUSAL, (count, row_id))
                if to:
                    kept = str(batch.db.execute(RECIPIENTS, (row_id,)).get or "")
                    together = _joined(kept, to.split("\n"))
                    batch.db.execute(UPDATE_RECIPIENTS, (together, row_id))
            else:
                batch.db.execute(INSERT_REFUSAL, (at_ms, *same, count, to))
                self._new_lines[same] = (batch.db.last_insert_rowid(), at_ms)
        if self._uses_underway:
            batch.db.executemany(UPDATE_USED, self._uses_underway)

    def done(self) -> None:
        for same, line in self._new_lines.items():
            self._lines.pop(same, None)
            self._lines[same] = line
        while len(self._lines) > REMEMBERED:
            del self._lines[next(iter(self._lines))]
        self._end()

    def failed(self, error: Exception) -> None:
        self._forget()
        self._end()

    def _end(self) -> None:
        self._underway, self._uses_underway, self._new_lines = [], [], {}
        waiting, self._waiting_underway = self._waiting_underway, []
        _end(waiting)
        if self._refusals or self._used:
            self._ask()

    def _ask(self) -> None:
        if not self._asked and not self._underway and not self._uses_underway:
            self._asked = True
            try:
                self._submit(self)
            except StoreAway:
                self._forget()

    def _forget(self) -> None:
        """A refusal needs no store: nobody is held up."""
        self._asked = False
        with self._adding:
            self._refusals.clear()
            self._used.clear()
            waiting, self._waiting = self._waiting, []
        _end(waiting)


def _joined(lines: str, more: Iterable[str]) -> str:
    """The lines with those of `more` that are new, while there is room."""
    found = dict.fromkeys(lines.split("\n")) if lines else {}
    room = RECIPIENTS_CHARACTERS - len(lines)
    for line in more:
        if line and line not in found and len(line) < room:
            found[line] = None
            room -= len(line) + 1
    return "\n".join(found)


def _end(waiting: list[asyncio.Future[None]]) -> None:
    for written in waiting:
        if not written.done():
            written.set_result(None)


class Keep(Deed):
    """One statement, and the event that tells of it if it changed a row."""

    def __init__(
        self, sql: str, values: tuple[Any, ...], event: Event | None, told: Callable[[bool], None]
    ) -> None:
        super().__init__()
        self.sql = sql
        self.values = values
        self.event = event
        self.told = told
        self.changed = False

    def run(self, batch: Batch) -> None:
        batch.db.execute(self.sql, self.values)
        self.changed = batch.db.changes() > 0
        if self.changed and self.event is not None:
            batch.event(self.event)

    def done(self) -> None:
        self.told(self.changed)
        super().done()


def health_values(upstream_id: int, edition: int, health: Health) -> tuple[Any, ...]:
    """For `UPDATE_HEALTH`."""
    return (
        health.state.value,
        health.reason,
        health.since_ms,
        health.probe_at_ms,
        health.probes,
        health.last_success_ms,
        health.reason,
        upstream_id,
        edition,
    )
