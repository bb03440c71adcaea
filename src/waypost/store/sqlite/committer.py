"""Group commit: everything that is asked for while one commit runs goes into the next transaction.

    loop thread     BEGIN IMMEDIATE, the statements of all members, then hands over
    writer thread   COMMIT (the sync to disk), and the wait for a lock that a command holds
    checkpointer    moves the write-ahead log into the database, beside the commits

Where several processes serve, a batch first takes its turn (`several/turn`): on the loop if nobody
is there, else waiting in the thread, and then with all that came in meanwhile.

No timer: a lone member starts at the end of the loop's present round. The statements run on the
loop, since a thread that runs many small ones beside a busy loop waits for the GIL after each.

Promises: a member is told only after its commit was synced. A batch that fails is rolled back and
its members are tried one by one, so one bad row refuses nobody else; the one that cannot be written
even so is told that it never can (`Unwritable`), so that it does not come again and again. A commit
whose sync fails ends everything: `StoreBroken` for every member and every later one. Knows nothing
of mail.
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import errno
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import apsw

from waypost.clock import Clock
from waypost.core.errors import StoreAway, StoreBroken
from waypost.store.connect import (
    connect,
    of_what_is_written,
    roll_back,
    trouble,
    unwritable,
)
from waypost.store.several.turn import Turn
from waypost.store.sqlite.batch import Batch, Vanished

LOCK_WAIT_MS = 10_000  # how long a command may hold the write lock before members are refused
CHECKPOINT_PAGES = 2_000  # 8 MiB of log
AGAIN_S = 0.25  # before what must not be lost is tried again


class Op(Protocol):
    """A member of a batch. `patient`: it is tried again while the disk is full or the store
    locked."""

    patient: bool

    def run(self, batch: Batch) -> None:
        """Adds its rows. May run again from the start, in another batch. Raises what refuses it
        alone."""

    def done(self) -> None:
        """It is on disk."""

    def failed(self, error: Exception) -> None:
        """Nothing of it was kept."""


class Begin(Protocol):
    """Makes an empty batch in a transaction; not `first`: its members are tried again, one by
    one."""

    def __call__(self, db: apsw.Connection, *, first: bool) -> Batch: ...


class CommitTimes:
    """How long commits took since the start. `counts`: of those up to each of `BOUNDS_S`, and of
    the longer ones; not added up. Written by the writer thread, read by anybody."""

    BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)

    def __init__(self) -> None:
        self.counts = [0] * (len(self.BOUNDS_S) + 1)
        self.total_s = 0.0

    def add(self, took_s: float) -> None:
        self.counts[bisect.bisect_left(self.BOUNDS_S, took_s)] += 1
        self.total_s += took_s


class Committer:
    """Owns the writing connection. `times`: how long its commits took."""

    def __init__(self, data: Path, db: apsw.Connection, begin: Begin, clock: Clock) -> None:
        self.times = CommitTimes()
        self._clock = clock
        self.broken: StoreBroken | None = None
        self.turn: Turn | None = None  # of several processes
        self._db = db
        self._begin = begin
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: list[Op] = []
        self._busy = False
        self._closed = False
        self._idle: asyncio.Event | None = None
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._pages = 0
        self._checkpoint_at = CHECKPOINT_PAGES
        self._close_gap = (
            False  # a checkpoint has run: the rest of the log fits between two commits
        )
        self._checkpoints: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._checkpointing = False
        db.set_busy_timeout(0)
        db.set_wal_hook(self._grown)
        self._writer = threading.Thread(target=self._write, name="store-writer", daemon=True)
        self._checkpointer = threading.Thread(
            target=self._checkpoint, args=(data,), name="store-checkpointer", daemon=True
        )
        self._writer.start()
        self._checkpointer.start()

    def submit(self, op: Op) -> None:
        """Puts it into the next batch. Raises `StoreAway` after the end, `StoreBroken` when
        broken."""
        if self.broken is not None:
            raise StoreBroken(self.broken.public, self.broken.private)
        if self._closed and not self._busy:  # notes kept for the next batch still belong to it
            raise StoreAway("the store is closed")
        self._waiting.append(op)
        if not self._busy:
            self._busy = True
            if self._loop is None:
                self._loop = asyncio.get_running_loop()
            self._loop.call_soon(self._start)

    async def close(self) -> None:
        """Commits what was asked for, then ends the threads; the connection is left to its
        owner."""
        self._closed = True
        while self._busy:
            self._idle = asyncio.Event()
            await self._idle.wait()
        self._jobs.put(None)
        self._checkpoints.put(False)
        await asyncio.to_thread(self._writer.join)
        await asyncio.to_thread(self._checkpointer.join)
        if self.turn is not None:
            self.turn.close()

    # On the loop.

    def _start(self) -> None:
        members, self._waiting = self._waiting, []
        if not members:
            self._busy = False
            if self._idle is not None:
                self._idle.set()
            return
        if self.broken is not None:
            self._give_up(members)
            return
        self._enter(members, self._fill)

    def _enter(self, members: list[Op], then: Callable[[list[Op]], None]) -> None:
        if self.turn is not None and not self.turn.try_take():
            self._jobs.put(lambda: self._wait_for_lock(members, then))
            return
        try:
            self._db.execute("BEGIN IMMEDIATE")
        except apsw.BusyError:
            # A command writes: wait for it in the thread, the loop goes on.
            self._jobs.put(lambda: self._wait_for_lock(members, then))
        except apsw.Error as error:
            self._refuse(members, error)
        else:
            then(members)

    def _entered(
        self, members: list[Op], then: Callable[[list[Op]], None], error: apsw.Error | None
    ) -> None:
        if error is not None:
            self._refuse(members, error)
            return
        if then == self._fill:
            members += self._waiting
            self._waiting = []
        then(members)

    def _fill(self, members: list[Op]) -> None:
        try:
            batch = self._begin(self._db, first=True)
            for op in members:
                op.run(batch)
            batch.flush()
        except Exception:  # noqa: BLE001  (only the member that causes it may suffer)
            roll_back(self._db)
            self._enter(members, self._fill_singly)
        else:
            self._jobs.put(lambda: self._commit(members))

    def _fill_singly(self, members: list[Op]) -> None:
        good: list[Op] = []
        while members:
            op = members.pop(0)
            try:
                self._db.execute("SAVEPOINT one")
                batch = self._begin(self._db, first=False)
                op.run(batch)
                batch.flush()
                self._db.execute("RELEASE one")
                good.append(op)
            except Exception as error:  # noqa: BLE001  (told to the one member that caused it)
                if not self._db.in_transaction:
                    # A full disk or a failed read ends the whole transaction, not the savepoint.
                    self._refuse([*good, op, *members], error)
                    return
                self._db.execute("ROLLBACK TO one")
                self._db.execute("RELEASE one")
                own = of_what_is_written(error) and not isinstance(error, Vanished)
                self._fail(op, unwritable(error) if own else error)
        self._jobs.put(lambda: self._commit(good))

    def _committed(self, members: list[Op], error: Exception | None, more: bool) -> None:
        error = self._seen(error) if error is not None else None
        if error is None:
            for op in members:
                self._guarded(op.done)
            if not more:
                self._start()
        elif isinstance(error, apsw.Error) and isinstance(trouble(error), StoreBroken):
            self._break(error, members)
        else:
            self._refuse(members, error)

    def _seen(self, error: Exception) -> Exception:
        """A write that a read-only file system refused damages nothing: what was synced is as it
        was, and the rest is rolled back. To be asked before anything else happens on the
        connection."""
        written = getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_WRITE
        if written and self._db.system_errno == errno.EROFS:
            return StoreAway("the disk is read-only now", str(error))
        return error

    def _refuse(self, members: list[Op], error: Exception) -> None:
        error = self._seen(error)
        roll_back(self._db)
        self._end_turn()
        again: list[Op] = []
        for op in members:
            if op.patient and not self._closed and self.broken is None:
                again.append(op)
            else:
                self._fail(op, error)
        if again and self._loop is not None:
            self._waiting[:0] = again
            self._loop.call_later(AGAIN_S, self._start)
        else:
            self._start()

    def _fail(self, op: Op, error: Exception) -> None:
        if not isinstance(error, StoreAway | Vanished):
            away = StoreAway("the store cannot be read or written now", repr(error))
            ours = trouble(error) if isinstance(error, apsw.Error) else away
            ours.__cause__ = error
            error = ours
        self._guarded(lambda: op.failed(error))

    def _guarded(self, tell: Callable[[], None]) -> None:
        """One member whose telling breaks keeps it from nobody else, and the store goes on."""
        try:
            tell()
        except Exception as error:  # noqa: BLE001  (the loop's handler logs it)
            assert self._loop is not None
            told = {"message": "a member of a batch could not be told", "exception": error}
            self._loop.call_exception_handler(told)

    def _break(self, error: apsw.Error, members: list[Op]) -> None:
        self.broken = StoreBroken("the disk failed: what it holds is not known", str(error))
        self._give_up(members)

    def _give_up(self, members: list[Op]) -> None:
        assert self.broken is not None
        broken = self.broken
        for op in members:
            self._fail(op, StoreBroken(broken.public, broken.private))
        self._start()

    def stop(self, error: StoreBroken) -> None:
        """A sync elsewhere failed (a large body): nothing may be committed from now on."""
        self.broken = error

    def _end_turn(self) -> None:
        if self.turn is not None:
            self.turn.release()

    # In the writer thread.

    def _write(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _tell(self, call: Callable[[], None]) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(call)

    def _wait_for_lock(self, members: list[Op], then: Callable[[list[Op]], None]) -> None:
        failed: apsw.Error | None = None
        if self.turn is not None:
            self.turn.take()
        self._db.set_busy_timeout(LOCK_WAIT_MS)
        try:
            self._db.execute("BEGIN IMMEDIATE")
        except apsw.Error as error:
            failed = error
        self._db.set_busy_timeout(0)
        self._tell(lambda: self._entered(members, then, failed))

    def _commit(self, members: list[Op]) -> None:
        failed: Exception | None = None
        began_s = self._clock.monotonic()
        try:
            self.commit_now(self._db)
        except Exception as error:  # noqa: BLE001  (told to every member)
            failed = error
        self.times.add(self._clock.monotonic() - began_s)
        more = self._close_gap and failed is None
        if not more:
            self._end_turn()
        self._tell(lambda: self._committed(members, failed, more))
        if more:
            # The members have their answer; nobody writes now, so the log can be emptied to its
            # end, and the next commit starts it anew. Without this a busy store's log would grow
            # for ever.
            self._close_gap = False
            with contextlib.suppress(apsw.Error):  # never owed: the log is synced
                self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            self._end_turn()
            self._tell(self._start)
        elif self._pages >= self._checkpoint_at and not self._checkpointing:
            self._checkpointing = True
            # A long read keeps the log from being emptied: then not at every commit.
            self._checkpoint_at = self._pages + CHECKPOINT_PAGES
            self._checkpoints.put(True)
        elif self._pages < CHECKPOINT_PAGES:
            self._checkpoint_at = CHECKPOINT_PAGES

    def commit_now(self, db: apsw.Connection) -> None:
        """The sync to disk. Apart, so that a test can make it fail."""
        db.execute("COMMIT")

    def _grown(self, db: apsw.Connection, name: str, pages: int) -> int:
        self._pages = pages
        return apsw.SQLITE_OK

    # In the checkpointer's thread.

    def _checkpoint(self, data: Path) -> None:
        db = connect(data, checkpoint_pages=0)
        try:
            while self._checkpoints.get():
                with contextlib.suppress(apsw.Error):
                    db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
                    self._close_gap = True
                self._checkpointing = False
        finally:
            db.close()
