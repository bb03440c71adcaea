"""One transaction in the making: what was read for it, and the rows that are written at its end,
table by table.

Promises: a balance or a count of places that many members change is read once and written once.
Whoever reads rows that earlier members may have added calls `flush` first. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import apsw

from waypost.core.event import Event
from waypost.store.connect import of_what_is_written

DAY_MS = 86_400_000

INSERT_MESSAGE = (
    "INSERT INTO message (id, account_id, key_id, sender_id, channel, peer, from_address, subject,"
    " smtp_message_id, repeat_hash, digest, octets, eight_bit, null_sender, status, recipients,"
    " queued, charged, hold_until) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,'queued',?,?,?,?)"
)
INSERT_RECIPIENT = "INSERT INTO recipient (message_id, number, address) VALUES (?,?,?)"
INSERT_BODY = (
    "INSERT INTO body (message_id, octets, spool, spool_offset, spool_octets) VALUES (?,?,?,?,?)"
)
INSERT_QUEUE = (
    "INSERT INTO queue (claim, sender_id, account_id, due, message_id, day, capped, reason)"
    " VALUES (?,?,?,?,?,?,?,?)"
)
INSERT_LEDGER = (
    "INSERT INTO ledger (account_id, at, amount, reason, message_id, recipient, note, balance)"
    " VALUES (?,?,?,?,?,?,?,?)"
)
INSERT_ATTEMPT = (
    "INSERT INTO attempt (message_id, number, at, upstream_id, upstream, uncertain, results,"
    " transcript) VALUES (?,?,?,?,?,?,?,?)"
)
INSERT_EVENT = (
    "INSERT INTO event (at, kind, text, account_id, message_id, upstream_id, sender_id)"
    " VALUES (?,?,?,?,?,?,?)"
)
UPDATE_RECIPIENT = (
    "UPDATE recipient SET state = ?, code = ?, text = ?, ended_at = ?"
    " WHERE message_id = ? AND number = ? AND state = 0"
)
UPDATE_MESSAGE = (
    "UPDATE message SET status = ?, queued = ?, sent = ?, failed = ?, cancelled = ?,"
    " refunded = refunded + ?, ended_at = ? WHERE id = ?"
)
DELETE_QUEUE = (
    "DELETE FROM queue WHERE claim = ? AND sender_id = ? AND account_id = ? AND due = ?"
    " AND message_id = ?"
)
DELETE_BODY = "DELETE FROM body WHERE message_id = ?"
EXPIRE_BODY = "UPDATE body SET expires_at = ? WHERE message_id = ?"
UPDATE_ACCOUNT = (
    "UPDATE account SET balance = ?, accepted = ?, sent = ?, failed = ?, cancelled = ?,"
    " counted_day = ? WHERE id = ?"
)
SELECT_BALANCE = "SELECT balance, unlimited FROM account WHERE id = ?"
SELECT_ACCOUNT = (
    "SELECT balance, unlimited, accepted, sent, failed, cancelled, counted_day FROM account"
    " WHERE id = ?"
)
WRITE_TALLY = (
    "INSERT OR REPLACE INTO tally (account_id, day, accepted, sent, failed, cancelled)"
    " VALUES (?,?,?,?,?,?)"
)
ACCEPTED = 0
"""The place of the accepted among an account's counts; recipients that ended have their state's."""
SELECT_PLACE = "SELECT used FROM place WHERE scope = ? AND scope_id = ? AND day = ?"
SELECT_LAST_DAY = (
    "SELECT day FROM place WHERE scope = ? AND scope_id = ? AND used > 0 ORDER BY day DESC LIMIT 1"
)
WRITE_PLACE = (
    "INSERT INTO place (scope, scope_id, day, used) VALUES (?,?,?,?)"
    " ON CONFLICT (scope, scope_id, day) DO UPDATE SET used = excluded.used"
)
SELECT_LAST_ATTEMPT = "SELECT max(number) FROM attempt WHERE message_id = ?"
SELECT_REFUNDED = "SELECT recipient FROM ledger WHERE message_id = ? AND reason = 'refund'"

_Thing = TypeVar("_Thing")


class Vanished(Exception):
    """A row that this process holds the claim of is not there: somebody broke the rule of
    claims."""


class Batch:
    """Rows are added to the lists; `flush` writes and empties them.

    `alone`: the batch failed with its member in it, which is tried by itself now. What stands in
    its way then (a refund that was paid, an attempt of that number) is gone round.
    """

    def __init__(self, db: apsw.Connection, now_ms: int) -> None:
        self.db = db
        self.now_ms = now_ms
        self.today = now_ms // DAY_MS
        self.alone = False
        self.generation: int | None = None  # filled by the first that asks for it
        self.balances: dict[int, int] = {}
        self.messages: list[tuple[Any, ...]] = []
        self.recipients: list[tuple[Any, ...]] = []
        self.bodies: list[tuple[Any, ...]] = []
        self.queued: list[tuple[Any, ...]] = []
        self.ledger: list[tuple[Any, ...]] = []
        self.attempts: list[tuple[Any, ...]] = []
        self.events: list[tuple[Any, ...]] = []
        self.outcomes: list[tuple[Any, ...]] = []  # UPDATE_RECIPIENT
        self.ended: list[tuple[Any, ...]] = []  # UPDATE_MESSAGE
        self.unqueued: list[tuple[Any, ...]] = []  # DELETE_QUEUE
        self.unbodied: list[tuple[Any, ...]] = []  # DELETE_BODY
        self.repeats: set[tuple[int, int]] = set()  # (key, hash) of the messages in the lists
        self.rates: dict[int, list[int]] = {}  # of a key, ids accepted lately, in order
        self.waiting: dict[tuple[int, int], bool] = {}  # (cap's mark, account): older mail waits
        self._unlimited: dict[int, bool] = {}
        self._counts: dict[int, list[int]] = {}  # [accepted, sent, failed, cancelled]
        self._was: dict[int, tuple[int, ...]] = {}  # (day of the last change, those counts then)
        self._changed_accounts: set[int] = set()
        self._places: dict[tuple[str, int, int], int] = {}
        self._changed_places: set[tuple[str, int, int]] = set()
        self._last_days: dict[tuple[str, int], int] = {}

    def balance(self, account_id: int) -> tuple[int, bool]:
        """(credits left, whether it is unlimited)."""
        if account_id not in self.balances:
            row: Any = self.db.execute(SELECT_ACCOUNT, (account_id,)).fetchone()
            self.balances[account_id] = row[0]
            self._unlimited[account_id] = bool(row[1])
            self._counts[account_id] = list(row[2:6])
            self._was[account_id] = (row[6], *row[2:6])
        return self.balances[account_id], self._unlimited[account_id]

    def book(
        self, account_id: int, amount: int, reason: str, message_id: int, recipient: int | None
    ) -> None:
        """Changes a balance by a line of the ledger."""
        balance = self.balance(account_id)[0] + amount
        self.balances[account_id] = balance
        self._changed_accounts.add(account_id)
        self.ledger.append(
            (account_id, self.now_ms, amount, reason, message_id, recipient, "", balance)
        )

    def count(self, account_id: int, what: int, recipients: int) -> None:
        """Adds to what the account has come to: `ACCEPTED`, or the state that recipients ended
        in."""
        if account_id not in self._counts:
            self.balance(account_id)
        self._counts[account_id][what] += recipients
        self._changed_accounts.add(account_id)

    def attempt_number(self, message_id: int, number: int) -> int:
        """The number of an attempt of this message, or the next that is free."""
        if not self.alone:
            return number
        last: Any = self.db.execute(SELECT_LAST_ATTEMPT, (message_id,)).get
        return max(number, (last or 0) + 1)

    def refunded(self, message_id: int) -> frozenset[int]:
        """Recipients that cannot be refunded again, where that may stand in the way."""
        if not self.alone:
            return frozenset()
        return frozenset(number for (number,) in self.db.execute(SELECT_REFUNDED, (message_id,)))

    def places(self, scope: str, scope_id: int, day: int) -> int:
        """How many places of that day are taken or planned."""
        found = self._places.get((scope, scope_id, day))
        if found is None:
            row: Any = self.db.execute(SELECT_PLACE, (scope, scope_id, day)).fetchone()
            found = self._places[scope, scope_id, day] = row[0] if row else 0
        return found

    def take_places(self, scope: str, scope_id: int, day: int, count: int) -> None:
        """Adds to them."""
        self._places[scope, scope_id, day] = self.places(scope, scope_id, day) + count
        self._changed_places.add((scope, scope_id, day))
        last = self._last_days.get((scope, scope_id))
        if last is not None and day > last:
            self._last_days[scope, scope_id] = day

    def forget_places(self) -> None:
        """They were changed past this batch; what it had changed itself was flushed."""
        self._places.clear()
        self._last_days.clear()

    def last_day(self, scope: str, scope_id: int) -> int:
        """The last day that any place was counted for; 0 is none."""
        found = self._last_days.get((scope, scope_id))
        if found is None:
            row: Any = self.db.execute(SELECT_LAST_DAY, (scope, scope_id)).fetchone()
            counted = [d for s, i, d in self._changed_places if (s, i) == (scope, scope_id)]
            found = self._last_days[scope, scope_id] = max(row[0] if row else 0, *counted, 0)
        return found

    def event(self, event: Event) -> None:
        self.events.append(
            (
                event.at_ms,
                event.kind.value,
                event.text,
                event.account_id,
                event.message_id,
                event.upstream_id,
                event.sender_id,
            )
        )

    def flush(self) -> None:
        """Writes all that was added. Raises `Vanished` if a claim that is ended was not ours."""
        db = self.db
        if self.messages:
            self._write(INSERT_MESSAGE, self.messages)
            self._write(INSERT_RECIPIENT, self.recipients)
            self._write(INSERT_BODY, self.bodies)
            self._write(INSERT_QUEUE, self.queued)
            self.repeats.clear()
        if self.unqueued:
            before = db.total_changes()
            expected = len(self.unqueued)
            self._write(DELETE_QUEUE, self.unqueued)
            if db.total_changes() - before != expected:
                raise Vanished
        for sql, rows in (
            (UPDATE_RECIPIENT, self.outcomes),
            (UPDATE_MESSAGE, self.ended),
            (DELETE_BODY, self.unbodied),
            (INSERT_ATTEMPT, self.attempts),
            (INSERT_LEDGER, self.ledger),
            (INSERT_EVENT, self.events),
        ):
            if rows:
                self._write(sql, rows)
        if self._changed_accounts:
            self._write_accounts()
        if self._changed_places:
            db.executemany(WRITE_PLACE, [(*k, self._places[k]) for k in self._changed_places])
            self._changed_places.clear()

    def _write_accounts(self) -> None:
        changed, tallies = [], []
        for account_id in self._changed_accounts:
            counts, (day, *before) = self._counts[account_id], self._was[account_id]
            if day < self.today:
                if day:
                    tallies.append((account_id, day, *before))
                day = self.today
            # A clock that went back counts for the later day.
            self._was[account_id] = (day, *counts)
            changed.append((self.balances[account_id], *counts, day, account_id))
        if tallies:
            self.db.executemany(WRITE_TALLY, tallies)
        self.db.executemany(UPDATE_ACCOUNT, changed)
        self._changed_accounts.clear()

    def _write(self, sql: str, rows: list[tuple[Any, ...]]) -> None:
        self.db.executemany(sql, rows)
        rows.clear()


def one_by_one(
    batch: Batch,
    things: Iterable[_Thing],
    do: Callable[[Batch, _Thing], bool],
    aside: Callable[[_Thing, Exception], None],
) -> None:
    """Does each, until one says False. Where the batch has failed as it was, each is done for
    itself, and `aside` is told of those that cannot be written: the others are.
    """
    for thing in things:
        if not batch.alone:
            if not do(batch, thing):
                return
            continue
        own = Batch(batch.db, batch.now_ms)
        own.alone, own.generation = True, batch.generation
        goes_on = True
        batch.db.execute("SAVEPOINT apart")
        try:
            goes_on = do(own, thing)
            own.flush()
        except Exception as error:  # raised again, unless it is this thing's own
            if not (batch.db.in_transaction and of_what_is_written(error)):
                raise  # the store is in trouble, not this thing
            batch.db.execute("ROLLBACK TO apart")
            aside(thing, error)
        batch.db.execute("RELEASE apart")
        if not goes_on:
            return
