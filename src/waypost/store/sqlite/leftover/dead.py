"""Claims of workers that died: nobody's again, due now, each logged `uncertain`.

Promises: while a claim falls its worker's lock is held here, until that is committed, so that a
successor of the same number makes no claims meanwhile. Knows nothing of connections and schedules.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import apsw

from waypost.core.event import Event, Kind
from waypost.core.lifecycle import State
from waypost.core.message import Result
from waypost.store import locks
from waypost.store.connect import Paths
from waypost.store.directory import Loaded
from waypost.store.sqlite.batch import Batch, one_by_one
from waypost.store.sqlite.claiming import SELECT_ADDRESSES
from waypost.store.sqlite.committer import Op
from waypost.store.sqlite.delivering import results_json
from waypost.store.sqlite.leftover.damaged import Finding, Means, left_alone

NEXT_CLAIM = "SELECT min(claim) FROM queue WHERE claim > ?"
SELECT_CLAIMED = "SELECT sender_id, account_id, due, message_id, attempt FROM queue WHERE claim = ?"
FREE = (
    "UPDATE OR REPLACE queue SET claim = 0, due = ?, attempt = ?, reason = ? WHERE claim = ?"
    " AND sender_id = ? AND account_id = ? AND due = ? AND message_id = ?"
)
LOST_WORDS = "the worker that was sending it ended: a copy may have been sent"


class Adopt:
    """A member of a batch: the claims of one dead worker become nobody's."""

    patient = True

    def __init__(
        self,
        claim: int,
        live: Collection[int],
        now_ms: int,
        means: Means,
    ) -> None:
        self.claim = claim
        self.live = live
        self.now_ms = now_ms
        self.means = means
        self.findings: list[Finding] = []
        self.count = 0
        self.future: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def run(self, batch: Batch) -> None:
        batch.flush()
        facts = self.means.facts(batch)
        self.findings = []
        rows: list[Any] = batch.db.execute(SELECT_CLAIMED, (self.claim,)).fetchall()
        left = [row for row in rows if row[3] not in self.live]

        def one(batch: Batch, row: tuple[int, int, int, int, int]) -> bool:
            self._free(batch, row, facts)
            return True

        def aside(row: tuple[int, int, int, int, int], error: Exception) -> None:
            self.findings.append(left_alone(batch, row[3], error))

        one_by_one(batch, left, one, aside)
        self.count = len(left) - len(self.findings)

    def _free(self, batch: Batch, row: tuple[int, int, int, int, int], facts: Loaded) -> None:
        sender_id, account_id, due, message_id, attempt = row
        sender = facts.directory.senders.get(sender_id)
        upstream = facts.upstreams.get(sender.upstream_id) if sender else None
        queued: list[Any] = batch.db.execute(SELECT_ADDRESSES, (message_id,)).fetchall()
        results = tuple(Result(n, State.QUEUED, 0, LOST_WORDS) for n, _ in queued)
        where = (upstream.id, upstream.name) if upstream else (0, "")
        number = batch.attempt_number(message_id, attempt)
        batch.attempts.append(
            (message_id, number, self.now_ms, *where, True, results_json(results), "")
        )
        key = (self.claim, sender_id, account_id, due, message_id)
        batch.db.execute(FREE, (self.now_ms, number + 1, LOST_WORDS, *key))
        batch.event(
            Event(
                self.now_ms,
                Kind.MESSAGE_UNCERTAIN,
                LOST_WORDS,
                account_id=account_id,
                message_id=message_id,
                upstream_id=where[0] or None,
                sender_id=sender_id,
            )
        )

    def done(self) -> None:
        self.means.damaged.found(self.findings, self.now_ms)
        if not self.future.done():
            self.future.set_result(self.count)

    def failed(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)
            self.future.exception()  # whoever asked may be gone


async def adopt(
    data: Path,
    own: int,
    ask: Callable[[Callable[[apsw.Connection], int | None]], int | None],
    submit: Callable[[Op], None],
    make: Callable[[int], Adopt | None],
) -> int:
    """Frees the claims of every worker that does not live; how many they were.

    `own`: the claim of this process. `ask` reads. `make`: None leaves a claim alone.
    """

    def above(claim: int) -> int | None:
        return ask(lambda db: next_claim(db, claim))

    adopted, claim = 0, above(0)
    while claim is not None:
        op = make(claim)
        lock = None
        if op is not None and claim != own:
            lock = locks.take(Paths(data).lock(f"worker.{claim - 1}"))
        if op is not None and (claim == own or lock is not None):
            adopted += await _free(op, lock, submit)
        claim = above(claim)
    return adopted


async def _free(op: Adopt, lock: locks.Lock | None, submit: Callable[[Op], None]) -> int:
    def let_go(_: object) -> None:
        if lock is not None:
            lock.close()

    # Whoever asked may be cancelled: the lock stays until it is certain what became of it.
    op.future.add_done_callback(let_go)
    try:
        submit(op)
    except BaseException:
        let_go(None)
        raise
    return await asyncio.shield(op.future)


def next_claim(db: apsw.Connection, above: int) -> int | None:
    """The lowest claim in the queue above this one, or None."""
    row: Any = db.execute(NEXT_CLAIM, (above,)).fetchone()
    return row[0] if row else None
