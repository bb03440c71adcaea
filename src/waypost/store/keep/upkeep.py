"""Letting go of what is old: kept bodies, ended messages, refusals, events, places; a little at a
time.

Promises: what ended messages came to stays in sums at their account, so that the audit still adds
up; nothing that is queued is touched; one step is one short transaction. The ledger is never
thinned. Blocks: call it in a thread, from one worker. Knows nothing of clocks: the time is an
argument.
"""

from __future__ import annotations

from pathlib import Path

import apsw
import msgspec

from waypost.core import ident
from waypost.store.connect import connect, transaction
from waypost.store.idempotency import KEPT_MS
from waypost.store.keep import seen
from waypost.store.read.book import Look

STEP_ROWS = 200
"""Rows let go in one step at most: about a millisecond beside the relay's own commits."""
SCANNED_ROWS = 2_000
"""Messages looked at in one step: not all that is old has ended."""
DAY_MS = 86_400_000
TRAIL_MS = 400 * DAY_MS  # the audit trail: a year and a bit
PLACE_DAYS = 31
RATE_WINDOW_MS = 60_000
"""The sliding window of the rate reads accepted messages: those stay, however little is kept."""


class Keep(msgspec.Struct, frozen=True):
    """How long the log (messages, attempts, events) and refusals are kept, in milliseconds."""

    log_ms: int
    refusals_ms: int


class Upkeep:
    """The upkeep of one data directory; remembers how far its walk through the log has come."""

    def __init__(self, data: Path, keep: Keep) -> None:
        self._data = data
        self._keep = keep
        self._walked = 0
        self._tallied: tuple[tuple[int, ...], int] | None = None

    def obey(self, keep: Keep) -> None:
        """Other times from the next step on."""
        self._keep = keep

    def step(self, now_ms: int) -> int:
        """One transaction; how many rows went or were looked at, 0 when nothing is left to do for
        now.

        Raises `StoreAway`.
        """
        db = connect(self._data)
        try:
            self._tally(db, now_ms // DAY_MS)
            for part in (self._bodies, self._messages, self._seen, self._rest):
                gone: list[str] = []
                with transaction(db):
                    done = part(Look(db), now_ms, gone)
                for name in gone:
                    (self._data / name).unlink(missing_ok=True)
                if done:
                    return done
            return 0
        finally:
            db.close()

    def _tally(self, db: apsw.Connection, day: int) -> None:
        """What all accounts together have come to by now, if it changed. Days never go back."""
        if self._tallied is not None:
            day = max(day, self._tallied[1])
        look = Look(db)
        found = look.tuples(
            "SELECT ifnull(sum(accepted), 0), ifnull(sum(sent), 0), ifnull(sum(failed), 0),"
            " ifnull(sum(cancelled), 0) FROM account"
        )
        if (found[0], day) != self._tallied:
            with transaction(db):
                look.run("INSERT OR REPLACE INTO tally VALUES (0, ?, ?, ?, ?, ?)", (day, *found[0]))
            self._tallied = found[0], day

    def _bodies(self, look: Look, now_ms: int, gone: list[str]) -> int:
        found = look.tuples(
            "SELECT message_id, spool FROM body WHERE expires_at <= ? LIMIT ?", (now_ms, STEP_ROWS)
        )
        for message_id, spool in found:
            look.run("DELETE FROM body WHERE message_id = ?", (message_id,))
            if spool is not None:
                gone.append(spool)
        return len(found)

    def _messages(self, look: Look, now_ms: int, gone: list[str]) -> int:
        until = now_ms - self._keep.log_ms
        below = ident.floor(min(until, now_ms - RATE_WINDOW_MS))
        found = look.tuples(
            "SELECT id, account_id, recipients, charged, refunded, ended_at FROM message"
            " WHERE id > ? AND id < ? ORDER BY id LIMIT ?",
            (self._walked, below, SCANNED_ROWS),
        )
        rows = 0
        for number, account_id, recipients, charged, refunded, ended_at in found:
            old = ended_at is not None and ended_at <= until
            if old and rows and rows + recipients > STEP_ROWS:
                return rows
            self._walked = number
            if old:
                rows += recipients
                look.run(
                    "UPDATE account SET gone_charged = gone_charged + ?,"
                    " gone_refunded = gone_refunded + ? WHERE id = ?",
                    (charged, refunded, account_id),
                )
                _forget(look, number, gone)
        if len(found) < SCANNED_ROWS:
            self._walked = 0  # the next walk starts over
            return rows
        return rows or len(found)

    def _seen(self, look: Look, now_ms: int, _gone: list[str]) -> int:
        return seen.note(look, now_ms) or seen.forget(look, now_ms, self._keep.log_ms)

    def _rest(self, look: Look, now_ms: int, gone: list[str]) -> int:
        done = 0
        for sql, bound in (
            ("refusal WHERE id IN (SELECT id FROM refusal WHERE at", self._keep.refusals_ms),
            ("event WHERE id IN (SELECT id FROM event WHERE at", self._keep.log_ms),
            ("trail WHERE id IN (SELECT id FROM trail WHERE at", TRAIL_MS),
        ):
            values = (now_ms - bound, STEP_ROWS)
            done += look.run(f"DELETE FROM {sql} < ? LIMIT ?)", values)
        done += look.run(
            "DELETE FROM idempotency WHERE (account_id, key, number) IN"
            " (SELECT account_id, key, number FROM idempotency WHERE at < ? LIMIT ?)",
            (now_ms - KEPT_MS, STEP_ROWS),
        )
        day = now_ms // DAY_MS - PLACE_DAYS
        return done + look.run(
            "DELETE FROM place WHERE (scope, scope_id, day) IN"
            " (SELECT scope, scope_id, day FROM place WHERE day < ? LIMIT ?)",
            (day, STEP_ROWS),
        )


def _forget(look: Look, message_id: int, gone: list[str]) -> None:
    spool = look.value("SELECT spool FROM body WHERE message_id = ?", (message_id,))
    if spool is not None:
        gone.append(spool)
    for table, column in (
        ("body", "message_id"),
        ("notice", "message_id"),
        ("attempt", "message_id"),
        ("recipient", "message_id"),
        ("message", "id"),
    ):
        look.run(f"DELETE FROM {table} WHERE {column} = ?", (message_id,))
