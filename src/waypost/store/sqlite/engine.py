"""The running relay's store on SQLite: what store/contract.py promises, put together.

One connection writes (group commit, see committer), one reads; both are used on the loop only, but
for the commit itself. Knows nothing of SMTP, HTTP, schedules and what a reply means.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import apsw
import msgspec

from waypost.clock import Clock
from waypost.core.address import Address
from waypost.core.errors import StoreAway, StoreBroken
from waypost.core.event import Event
from waypost.core.facts import Directory
from waypost.core.message import Acceptance, Attempt, Changed, Committed, Parcel, SpoolPart
from waypost.core.upstream import Health, Upstream
from waypost.core.verdict import Refusal, Settled
from waypost.store import locks
from waypost.store.connect import connect, prepare, trouble
from waypost.store.contract import Lane, RefusalNote, Taker
from waypost.store.directory import Opener
from waypost.store.idempotency import Answers
from waypost.store.known import Known, Settings
from waypost.store.migrate import open_migrated
from waypost.store.read import settled as state
from waypost.store.several.begun import Begun
from waypost.store.several.bell import Bell
from waypost.store.several.crew import Crew
from waypost.store.several.turn import Turn
from waypost.store.shared import Shared
from waypost.store.sqlite import notes
from waypost.store.sqlite.accepting import Accept
from waypost.store.sqlite.batch import Batch
from waypost.store.sqlite.claiming import Claim, lanes_of
from waypost.store.sqlite.committer import Committer, Op
from waypost.store.sqlite.delivering import SELECT_MINE, Deed, Record, Release, key_of
from waypost.store.sqlite.ending import Keep
from waypost.store.sqlite.files import Files, sweep, sync_names
from waypost.store.sqlite.leftover import dead
from waypost.store.sqlite.leftover.damaged import Damaged, Means
from waypost.store.sqlite.leftover.late import Expire, Old
from waypost.store.waiting import Waiting

SENDERS_A_ROUND = 64  # looked at before the loop gets a turn
SLOW_POLL_S = 0.05  # for the outcome of a message that another process delivers
KEEP = Keep(0, 7 * 86_400_000)
_T = TypeVar("_T")


class Engine:
    """The promises are at the methods of `contract.RelayStore`."""

    def __init__(
        self, settings: Settings, worker: int, lock: locks.Lock, db: apsw.Connection
    ) -> None:
        self.worker = worker
        self._settings = settings
        self._data = settings.data
        self._claim = worker + 1
        self._lock = lock
        self._db = db
        self._reader = connect(settings.data, checkpoint_pages=0)
        self._shared = Shared(settings.data)
        self._known = Known(settings, self._reader, self._shared)
        self._committer = Committer(settings.data, db, self._begin, settings.clock)
        self.commits = self._committer.times
        self._waiting = Waiting()
        self.answers = Answers(self._reader, self._submit, settings.clock, settings.data, worker)
        self._files = Files(settings.data, worker)
        self._claimed: set[int] = set()
        self._fresh: set[int] = set()  # those of them that were claimed when they were accepted
        self._notes = notes.Notes(self._committer.submit)
        self.damaged = Damaged()
        self._means = Means(settings.keep, self._known.within, self.damaged)
        self._old = Old(self._ask, self._end_old, self.damaged.skipped)
        self._crew: Crew | None = None
        self.bell = Bell(self._shared)
        self._begun = Begun(settings.data, worker, lambda: self._shared.generation)
        self._closed = False

    # Facts.

    @property
    def broken(self) -> bool:
        return self._committer.broken is not None

    def directory(self) -> Directory:
        if self._closed or self._committer.broken is not None:  # asked at every command
            self._check()
        return self._known.fresh().directory

    def upstreams(self) -> dict[int, Upstream]:
        self._check()
        return self._known.fresh().upstreams

    def balance(self, account_id: int) -> int | None:
        self._check()
        return self._known.balance(account_id)

    def rate_room(self, key_id: int, per_minute: int, now_ms: int) -> int:
        return self._known.rate_room(key_id, per_minute, now_ms)

    def last_id(self) -> int:
        """The greatest message id in the store: a new `IdentMaker` starts behind it. 0: none."""
        return self._ask(state.last_id)

    # Acceptance.

    async def commit(self, acceptance: Acceptance) -> Committed | Refusal | Changed:
        self._check()
        incoming = acceptance.rest if isinstance(acceptance.rest, SpoolPart) else None
        if incoming is not None:
            acceptance = await self._settle(acceptance, incoming)
        taker = self.bell.taker
        wants = taker.wants if taker is not None else None
        op = Accept(
            acceptance, self._claim, self._known.within, wants, self._accepted, self._claimed
        )
        op.incoming = incoming
        try:
            self._submit(op)
        except StoreAway as error:
            op.failed(error)
        return await op.future

    async def settled(self, message_id: int, wait_s: float) -> Settled:
        entry = self._waiting.get(message_id)
        if entry is not None:
            found = await self._waiting.wait(entry, wait_s)
            # What another worker says may get lost: in the end the rows know.
            doubt = self._crew is not None and not entry.tried and not self._closed
            return self._read_settled(message_id)[0] if doubt else found
        clock = self._settings.clock
        end = clock.monotonic() + wait_s
        while True:
            # Another process delivers it, or it ended long ago.
            settled, tried = self._read_settled(message_id)
            left = end - clock.monotonic()
            if tried or left <= 0 or self._closed:
                return settled
            await asyncio.sleep(min(left, SLOW_POLL_S))

    def no_try(self, message_id: int, hint: str, next_ms: int) -> None:
        self._waiting.no_try(message_id, hint, next_ms)

    def told(self, message_id: int) -> None:
        self._keep(notes.DELETE_NOTICE, (message_id,), None, lambda _: None)

    def refuse(self, note: RefusalNote) -> asyncio.Future[None]:
        return self._notes.refuse(note)

    def used(self, key_id: int, now_ms: int) -> None:
        with contextlib.suppress(StoreAway):
            self._notes.used(key_id, now_ms)

    def obey(self, keep: Keep, global_sender: Address | None) -> None:
        """Takes over what a reload has changed."""
        new = msgspec.structs.replace(self._settings, keep=keep, global_sender=global_sender)
        self._settings = new
        self._means = Means(keep, self._known.within, self.damaged)
        self._known.obey(new)
        self.bell.stir()

    # Delivery.

    def attach(self, taker: Taker) -> None:
        self.bell.attach(taker)

    def join(self, crew: Crew) -> None:
        """This is one of several workers: they take turns to write, and tell each other."""
        self._crew = crew
        self._committer.turn = Turn(self._data)

    def ring(self) -> None:
        """Every process looks for work, soon."""
        self._shared.ring()

    def elsewhere(self, message_id: int) -> None:
        """Another worker committed an attempt of a message that was accepted here."""
        with contextlib.suppress(StoreAway):  # whoever waits reads it when the wait is over
            self._waiting.elsewhere(message_id, lambda ident: self._read_settled(ident)[0])

    def stop(self) -> None:
        """The disk failed in another worker: nothing is committed from now on."""
        self._committer.stop(StoreBroken("the disk failed: what it holds is not known"))

    async def adopt(self, now_ms: int) -> int:
        self._check()
        # One of several asks while it runs: what is its own is on its way.
        busy = self._crew is not None and self.bell.taker is not None

        def make(claim: int) -> dead.Adopt | None:
            own = claim == self._claim
            if own and busy:
                return None
            return dead.Adopt(claim, self._claimed if own else (), now_ms, self._means)

        adopted = await dead.adopt(self._data, self._claim, self._ask, self._submit, make)
        self._begun.open_up()
        if adopted:
            self.bell.stir(ring=True)
        return adopted

    async def expire(self, now_ms: int, hold_max_ms: int) -> int:
        self._check()
        return await self._old.expire(now_ms, hold_max_ms)

    async def lanes(self, sender_ids: Iterable[int]) -> list[Lane]:
        found: list[Lane] = []
        ids, accounts = list(sender_ids), self.directory().accounts
        for at in range(0, len(ids), SENDERS_A_ROUND):
            if at:
                await asyncio.sleep(0)
            some = ids[at : at + SENDERS_A_ROUND]
            found += self._ask(partial(lanes_of, sender_ids=some, accounts=accounts))
        return found

    async def claim(self, lane: Lane, now_ms: int, limit: int) -> list[Parcel]:
        made = self._claim_made
        op = Claim(lane, now_ms, limit, self._claim, self._means, made, self._claimed)
        self._submit(op)
        try:
            return await op.future
        except asyncio.CancelledError:
            if not op.future.cancelled():  # committed, but nobody will hear of it
                self._let_go(op)
            raise

    def begin(self, parcel: Parcel) -> bool:
        key, number, claimed = key_of(self._claim, parcel), parcel.id, self._claimed

        def ours() -> bool:
            return self._ask(lambda db: db.execute(SELECT_MINE, key).fetchone()) is not None

        with contextlib.suppress(StoreAway):  # what cannot be known, or kept later, is not sent
            if not self.broken and number in claimed and self._begun.begin(number, claimed, ours):
                return True
            if not ours():
                self._claimed.discard(number)
                self._fresh.discard(number)
                self.elsewhere(number)
        return False

    def record(self, attempt: Attempt) -> asyncio.Future[None]:
        message_id = attempt.parcel.id
        keep, fresh = self._settings.keep, message_id in self._fresh
        op = Record(attempt, self._claim, keep, self._recorded, self._claimed, fresh=fresh)
        return self._with_claim(message_id, op)

    def release(self, parcel: Parcel, due_ms: int, reason: str) -> asyncio.Future[None]:
        op = Release(parcel, self._claim, due_ms, reason, self._claimed)
        if reason and (crew := self._crew) is not None:  # it waits for long: its client need not
            op.future.add_done_callback(lambda _: crew.tell_ended(parcel.id))
        return self._with_claim(parcel.id, op)

    def health(
        self, upstream_id: int, edition: int, health: Health, event: Event | None
    ) -> asyncio.Future[None]:
        def told(changed: bool) -> None:
            if changed:
                self._known.see_health(upstream_id, edition, health)

        values = notes.health_values(upstream_id, edition, health)
        return self._keep(notes.UPDATE_HEALTH, values, event, told)

    def pin(self, upstream_id: int, edition: int, pin: str) -> asyncio.Future[None]:
        return self._keep(
            notes.UPDATE_PIN, (pin, upstream_id, edition), None, lambda _: self._changed()
        )

    def hold(
        self, sender_id: int, reason: str, probe_ms: int, event: Event | None
    ) -> asyncio.Future[None]:
        return self._keep(
            notes.UPDATE_HOLD, (reason, probe_ms, sender_id), event, lambda _: self._changed()
        )

    def announce(self, upstream_id: int, event: Event) -> asyncio.Future[None]:
        return self._keep(notes.SAME_UPSTREAM, (upstream_id,), event, lambda _: None)

    async def sweep_spool(self) -> int:
        """Removes files of dead workers that no row names; how many they were."""
        return await self._files.sweep_dead()

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self.bell.close()
        await self._committer.close()
        self._waiting.end()
        await self._files.close()
        self._reader.close()
        with contextlib.suppress(apsw.Error):  # the log is synced: nothing is owed to the file
            self._db.close()
        self._begun.close()
        self._shared.close()
        self._lock.close()

    # Within.

    def _check(self) -> None:
        if self._committer.broken is not None:
            raise StoreBroken(self._committer.broken.public, self._committer.broken.private)
        if self._closed:
            raise StoreAway("the store is closed")

    def _submit(self, op: Op) -> None:
        self._check()
        self._committer.submit(op)

    def _begin(self, db: apsw.Connection, *, first: bool) -> Batch:
        batch = Batch(db, self._settings.clock.wall_ms())
        batch.alone = not first
        batch.rates = self._known.rates(db, certain=first)
        return batch

    def _ask(self, question: Callable[[apsw.Connection], _T]) -> _T:
        self._check()
        try:
            return question(self._reader)
        except apsw.Error as error:
            raise trouble(error) from error

    def _accepted(self, op: Accept) -> None:
        """A batch with it has ended, well or not."""
        kept, acceptance = op.kept, op.acceptance
        if op.incoming is not None:
            self._files.after(op, op.incoming)
        if kept is None:
            self._known.see_refused(acceptance)
        if kept is None or not isinstance(kept.outcome, Committed) or kept.outcome.repeat_of:
            return
        self._known.see_balance(acceptance.account_id, op.balance)
        taker = self.bell.taker
        if taker is None:
            self.bell.stir(ring=True)
            return
        self._waiting.expect(acceptance.id, kept.outcome.recipients)
        if kept.waits:
            self._waiting.no_try(acceptance.id, kept.waits, kept.due_ms)
        if kept.parcel is not None:
            self._fresh.add(kept.parcel.id)
            taker.take(kept.parcel)
        elif self._crew is None:
            self.bell.stir(ring=True)
        elif kept.waits or not self._crew.tell_work(
            acceptance.id, acceptance.upstream_id, (acceptance.sender_id, acceptance.account_id)
        ):
            self.bell.stir()

    def _recorded(self, op: Record) -> None:
        if op.settled is not None:
            self._waiting.outcome(op.settled)
            if self._crew is not None:
                self._crew.tell_ended(op.settled.message_id)
        self._known.see_balance(op.attempt.parcel.account_id, op.balance)
        if op.gone:
            self._files.unlink([op.gone])

    def _with_claim(self, message_id: int, op: Record | Release) -> asyncio.Future[None]:
        op.over = partial(self._begun.over, message_id)
        if message_id in self._claimed:
            self._submit(op)
            self._claimed.discard(message_id)
            self._fresh.discard(message_id)
        else:
            Deed.done(op)  # the claim is not ours: not recorded
        return op.future

    def _keep(
        self,
        sql: str,
        values: tuple[Any, ...],
        event: Event | None,
        told: Callable[[bool], None],
    ) -> asyncio.Future[None]:
        op = notes.Keep(sql, values, event, told)
        self._submit(op)
        return op.future

    def _changed(self) -> None:
        self._shared.raise_generation()
        self.bell.stir()

    def _read_settled(self, message_id: int) -> tuple[Settled, bool]:
        return self._ask(lambda db: state.settled(db, message_id))

    async def _settle(self, acceptance: Acceptance, part: SpoolPart) -> Acceptance:
        try:
            return await self._files.settle(acceptance, part)
        except StoreBroken as error:
            self._committer.stop(error)
            raise

    def _claim_made(self, op: Claim) -> None:
        self._files.unlink(op.gone)
        if op.future.cancelled():
            self._let_go(op)

    def _let_go(self, op: Claim) -> None:
        """Nobody waits for what it claimed any more."""
        with contextlib.suppress(StoreAway):  # then the next start adopts them
            for parcel in op.parcels:
                self.release(parcel, parcel.due_ms, "")

    def _end_old(self, message_ids: list[int]) -> asyncio.Future[int]:
        op = Expire(message_ids, self._means, self._files.unlink)
        self._submit(op)
        return op.future


def open_store(
    data: Path,
    *,
    clock: Clock,
    worker: int | None,
    opener: Opener,
    global_sender: Address | None = None,
    keep: Keep = KEEP,
    create: bool = False,
) -> Engine:
    """The store of a data directory, for one process. Raises `StoreAway`, `SchemaTooNew`.

    `worker` None is a command: it takes any free number; with a number the caller holds the relay's
    lock. `opener` opens the sealed password of an upstream. What a dead process of this number left
    in the spool is swept here; its claims are `adopt`'s.
    """
    db = open_migrated(data, create=create, serving=worker is not None)
    lock: locks.Lock | None = None
    try:
        prepare(data)
        sync_names(data)
        number, lock = locks.hold_worker(data, worker)
        sweep(data, number)
        return Engine(Settings(data, clock, opener, global_sender, keep), number, lock, db)
    except BaseException:
        if lock is not None:
            lock.close()
        db.close()
        raise
