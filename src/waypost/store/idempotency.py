"""Idempotency keys: which messages a key of a client stands for, and what was answered.

Promises: a key is taken by the very transaction that accepts its message, so that a kill leaves
either both or neither; what is older than 24 hours is as if it had never been. Knows nothing of
HTTP and of what an answer says.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import msgspec

from waypost.clock import Clock
from waypost.core import ident
from waypost.core.errors import StoreAway
from waypost.core.message import Acceptance
from waypost.store.connect import Paths, trouble
from waypost.store.locks import held
from waypost.store.sqlite.batch import Batch
from waypost.store.sqlite.delivering import Deed

KEPT_MS = 24 * 3_600_000  # section 8 of the contract
THE_ANSWER = -1
ANSWERED_MS = 310_000  # by then every call has its answer: `inline_wait` is 300 s at most

SELECT_ONE = (
    "SELECT message_id, at FROM idempotency WHERE account_id = ? AND key = ? AND number = ?"
)
SELECT_ALL = (
    "SELECT i.number, i.body, i.status, i.answer, i.message_id, m.from_address, m.smtp_message_id"
    " FROM idempotency i LEFT JOIN message m ON m.id = i.message_id"
    " WHERE i.account_id = ? AND i.key = ? AND i.at > ? ORDER BY i.number"
)
DELETE_OLD = "DELETE FROM idempotency WHERE account_id = ? AND key = ? AND at <= ?"
DELETE = "DELETE FROM idempotency WHERE account_id = ? AND key = ?"
INSERT = (
    "INSERT INTO idempotency (account_id, key, number, body, message_id, at) VALUES (?,?,?,?,?,?)"
)
REPLACE = (
    "INSERT OR REPLACE INTO idempotency (account_id, key, number, body, message_id, at, status,"
    f" answer) VALUES (?,?,{THE_ANSWER},?,0,?,?,?)"
)


class Stood(msgspec.Struct, frozen=True):
    """A message that a key stands for, as the answer to it needs it."""

    id: int
    sender: str
    smtp_message_id: str


class Remembered(msgspec.Struct, frozen=True):
    """What a key stands for. `messages`: by number in the call; those of the log. `status` 0: no
    answer is kept. `elsewhere`: another living worker may be about to answer."""

    body: bytes
    messages: dict[int, Stood]
    status: int
    answer: bytes
    elsewhere: bool


def taken(batch: Batch, acceptance: Acceptance) -> int | None:
    """The message that this key and number stand for already."""
    key = acceptance.idempotency
    if key is None:
        return None
    scope = (acceptance.account_id, key.digest)
    row: Any = batch.db.execute(SELECT_ONE, (*scope, key.number)).fetchone()
    if row is None:
        return None
    if row[1] > batch.now_ms - KEPT_MS:
        found: int = row[0]
        return found
    batch.db.execute(DELETE_OLD, (*scope, batch.now_ms - KEPT_MS))
    return None


def take(batch: Batch, acceptance: Acceptance) -> None:
    """The key stands for this message, if the transaction is committed."""
    key = acceptance.idempotency
    if key is not None:
        values = (key.digest, key.number, key.body, acceptance.id, batch.now_ms)
        batch.db.execute(INSERT, (acceptance.account_id, *values))


class _Write(Deed):
    """One statement with the next batch. What is lost of it is made again from the messages."""

    patient = False

    def __init__(self, sql: str, values: tuple[Any, ...]) -> None:
        super().__init__()
        self._sql = sql
        self._values = values

    def run(self, batch: Batch) -> None:
        batch.db.execute(self._sql, self._values)


class Answers:
    """What the running relay asks and keeps. On the loop only."""

    def __init__(
        self,
        reader: apsw.Connection,
        submit: Callable[[_Write], None],
        clock: Clock,
        data: Path,
        worker: int,
    ) -> None:
        self._reader = reader
        self._submit = submit
        self._clock = clock
        self._paths = Paths(data)
        self._worker = worker

    def find(self, account_id: int, digest: bytes) -> Remembered | None:
        """What the key stands for. Raises `StoreAway`."""
        since = self._clock.wall_ms() - KEPT_MS
        try:
            rows: list[Any] = self._reader.execute(
                SELECT_ALL, (account_id, digest, since)
            ).fetchall()
        except apsw.Error as error:
            raise trouble(error) from error
        if not rows:
            return None
        messages = {row[0]: Stood(*row[4:]) for row in rows if row[5] is not None}
        number, body, status, answer = rows[0][:4]
        if number == THE_ANSWER:
            return Remembered(body, messages, status, answer, elsewhere=False)
        elsewhere = any(self._elsewhere(stood.id) for stood in messages.values())
        return Remembered(body, messages, 0, b"", elsewhere)

    def _elsewhere(self, message_id: int) -> bool:
        """Whether a worker that lives has accepted it just now."""
        worker = message_id >> ident.COUNTER_BITS & ((1 << ident.WORKER_BITS) - 1)
        age_ms = self._clock.wall_ms() - ident.milliseconds(message_id)
        recent = worker != self._worker and age_ms < ANSWERED_MS
        return recent and held(self._paths.lock(f"worker.{worker}"))

    async def keep(
        self, account_id: int, digest: bytes, body: bytes, status: int, answer: bytes
    ) -> None:
        """Keeps the answer; returns when it is on disk, or can not be."""
        await self._write(
            REPLACE, (account_id, digest, body, self._clock.wall_ms(), status, answer)
        )

    async def free(self, account_id: int, digest: bytes) -> None:
        """The key stands for nothing any more."""
        await self._write(DELETE, (account_id, digest))

    async def _write(self, sql: str, values: tuple[Any, ...]) -> None:
        with contextlib.suppress(StoreAway, asyncio.CancelledError):
            write = _Write(sql, values)
            self._submit(write)
            await write.future
