"""Large bodies beside their commits: settled in the spool before it, put back, removed or swept
after it.

Promises: the loop does not wait for a disk; what no row names is removed, now or by a later sweep.
Knows nothing of why a message was refused.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from waypost.core import ident
from waypost.core.errors import StoreBroken
from waypost.core.message import Acceptance, Changed, Committed, SpoolPart
from waypost.store import locks, spool
from waypost.store.connect import Paths, connect, sync
from waypost.store.sqlite.accepting import Accept

SELECT_SPOOL = "SELECT 1 FROM body WHERE message_id = ? AND spool = ?"


class Files:
    """The files of one data directory, as one process handles them."""

    def __init__(self, data: Path, worker: int) -> None:
        self._data = data
        self._worker = worker
        self._errands: set[asyncio.Future[None]] = set()

    async def settle(self, acceptance: Acceptance, part: SpoolPart) -> Acceptance:
        """The acceptance with its rest in the spool, synced. Raises `StoreAway`, `StoreBroken`."""
        name = await asyncio.to_thread(spool.settle, self._data, part.name, acceptance.id)
        rest = SpoolPart(name, part.offset, part.octets)
        return msgspec.structs.replace(acceptance, rest=rest)

    def after(self, op: Accept, incoming: SpoolPart) -> None:
        """Where nothing was kept the file goes too; for another judgement it is put back.

        After a failed sync a row may name it: it stays, and the next start sweeps it if none does.
        """
        if op.unknown:
            return
        rest = op.acceptance.rest
        outcome = op.kept.outcome if op.kept is not None else None
        if not isinstance(rest, SpoolPart):
            return
        if isinstance(outcome, Changed):
            spool.put_back(self._data, rest.name, incoming.name)
        elif not isinstance(outcome, Committed) or outcome.repeat_of:
            self.unlink([rest.name])

    def unlink(self, names: list[str]) -> None:
        """Removes files that no row names any more, in a thread."""
        if names:
            errand = asyncio.ensure_future(asyncio.to_thread(spool.unlink, self._data, names))
            self._errands.add(errand)
            errand.add_done_callback(self._errands.discard)

    async def sweep_dead(self) -> int:
        """Sweeps what dead workers left; how many files they were."""
        swept = 0
        for worker in range(1 << ident.WORKER_BITS):
            path = Paths(self._data).lock(f"worker.{worker}")
            if worker == self._worker or not path.exists():
                continue
            lock = locks.take(path)
            if lock is not None:
                swept += await asyncio.to_thread(sweep, self._data, worker)
                lock.close()
        return swept

    async def close(self) -> None:
        while self._errands:
            await asyncio.wait(self._errands)


def sweep(data: Path, worker: int) -> int:
    """Removes what a worker number left that no row names; its lock must be held. How many they
    were."""
    incoming, kept = spool.left_by(data, worker)
    if kept:
        db = connect(data, readonly=True)
        try:
            named = {name for name in kept if db.execute(SELECT_SPOOL, _row_of(name)).fetchone()}
        finally:
            db.close()
        kept = [name for name in kept if name not in named]
    spool.unlink(data, [*incoming, *kept])
    return len(incoming) + len(kept)


def sync_names(data: Path) -> None:
    """The log of the store is there by now, and stays until the last process has closed it. SQLite
    syncs its name too, but does not mind when that fails."""
    try:
        sync(data)
    except OSError as error:
        raise StoreBroken("the data directory cannot be synced to disk", str(error)) from error


def _row_of(name: str) -> tuple[int, str]:
    return int(Path(name).name, 16), name
