"""Mail that has been queued for as long as any may be: failed and refunded, whoever it waits for.

Found by age, not by lane: whether its upstream is paused, its sender held, its account disabled or
its day far away. Looking costs what is that old, a page at a time. Promises that what somebody has
claimed is left to them. Knows nothing of why mail waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container
from functools import partial
from typing import Any

import apsw

from waypost.core import ident
from waypost.store.directory import Loaded
from waypost.store.sqlite.batch import Batch, one_by_one
from waypost.store.sqlite.delivering import results_json
from waypost.store.sqlite.ending import end_waiting
from waypost.store.sqlite.leftover.damaged import Finding, Means, left_alone

SELECT_OLD = (
    "SELECT message_id, (SELECT hold_until FROM message WHERE id = q.message_id)"
    " FROM queue q INDEXED BY queue_message WHERE claim = 0 AND message_id > ? AND message_id < ?"
    " ORDER BY message_id LIMIT ?"
)
SELECT_WAITING = (
    "SELECT sender_id, account_id, due, attempt, reason FROM queue"
    " WHERE claim = 0 AND message_id = ?"
)
PAGE = 500  # messages looked at without a pause
PAGES = 20  # a call: what is to be sent later may be old and have all the time in the world
ONCE = 50  # ended in one transaction
WORDS = "queued for too long"


class Expire:
    """A member of a batch: ends these messages, where they still wait."""

    patient = False

    def __init__(
        self,
        message_ids: list[int],
        means: Means,
        told: Callable[[list[str]], None],
    ) -> None:
        self.message_ids = message_ids
        self.means = means
        self.told = told
        self.findings: list[Finding] = []
        self.now_ms = 0
        self.count = 0
        self.gone: list[str] = []
        self.future: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def run(self, batch: Batch) -> None:
        self.count, self.gone, self.findings, self.now_ms = 0, [], [], batch.now_ms
        batch.flush()
        facts = self.means.facts(batch)

        def one(batch: Batch, message_id: int) -> bool:
            self._end(batch, message_id, facts)
            return True

        def aside(message_id: int, error: Exception) -> None:
            self.findings.append(left_alone(batch, message_id, error))

        one_by_one(batch, self.message_ids, one, aside)

    def _end(self, batch: Batch, message_id: int, facts: Loaded) -> None:
        row: Any = batch.db.execute(SELECT_WAITING, (message_id,)).fetchone()
        if row is None:
            return
        *key, attempt, reason = row
        sender = facts.directory.senders.get(key[0])
        upstream = facts.upstreams.get(sender.upstream_id) if sender else None
        why = reason or (sender.held if sender else "")
        why = why or (upstream.health.reason if upstream else "")
        text = f"{WORDS}: {why}" if why else WORDS
        results, gone = end_waiting(batch, (*key, message_id), 0, text, self.means.keep)
        where = (upstream.id, upstream.name) if upstream else (0, "")
        number = batch.attempt_number(message_id, attempt)
        batch.attempts.append(
            (message_id, number, batch.now_ms, *where, False, results_json(results), "")
        )
        batch.flush()
        self.gone += gone
        self.count += 1

    def done(self) -> None:
        self.means.damaged.found(self.findings, self.now_ms)
        try:
            self.told(self.gone)
        finally:
            if not self.future.done():
                self.future.set_result(self.count)

    def failed(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)
            self.future.exception()  # whoever asked may be gone


class Old:
    """Where the last look ended. `ask` reads, `end` has messages ended and says how many were,
    `skipped` knows those that cannot be."""

    def __init__(
        self,
        ask: Callable[[Callable[[apsw.Connection], list[Any]]], list[Any]],
        end: Callable[[list[int]], asyncio.Future[int]],
        skipped: Callable[[int], Container[int]],
    ) -> None:
        self._ask = ask
        self._skipped = skipped
        self._end = end
        self._above = 0

    async def expire(self, now_ms: int, hold_max_ms: int) -> int:
        """Ends what is too old; how many messages that were. A very long queue takes several
        calls."""
        below = ident.floor(now_ms - hold_max_ms + 1)
        ended, skipped = 0, self._skipped(now_ms)
        for _ in range(PAGES):
            scope = (self._above, below, PAGE)
            page = self._ask(partial(_page, scope))
            self._above = page[-1][0] if len(page) == PAGE else 0
            old = [number for number, until in page if now_ms - (until or 0) >= hold_max_ms]
            late = [number for number in old if number not in skipped]
            for at in range(0, len(late), ONCE):
                ended += await self._end(late[at : at + ONCE])
            if not self._above:
                break
            await asyncio.sleep(0)
        return ended


def _page(scope: tuple[int, int, int], db: apsw.Connection) -> list[Any]:
    return db.execute(SELECT_OLD, scope).fetchall()
