"""Waypost with one protection taken out, for the controls: a test that still passes shows nothing.

    python sabotage.py NAME [arguments of waypost]

`early` answers before the commit, `unsynced` commits without a sync to disk, `normal` with
SQLite's `synchronous=NORMAL`, `unsynced-folder` does not sync the name of a large body,
`unadopted` leaves the claims of the dead, `unlogged` takes them over without a word. Of several
workers `unowned` lets each connect, `unrung` tells nobody of mail, `uncounted` counts sessions
apart. The only file here that reaches into Waypost.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import apsw

from waypost.app import App
from waypost.cli.main import main
from waypost.core.message import Acceptance, Committed
from waypost.core.verdict import Settled
from waypost.intake.bounds import SessionCaps
from waypost.store import connect, spool
from waypost.store.several.crew import Crew
from waypost.store.several.owners import Owners
from waypost.store.sqlite.batch import Batch
from waypost.store.sqlite.engine import Engine
from waypost.store.sqlite.leftover import dead

LATE_S = 0.5


def early() -> None:
    """The promise is given at once, and kept half a second later."""
    commit = Engine.commit
    later: set[asyncio.Task[None]] = set()

    async def promise(self: Engine, acceptance: Acceptance) -> Committed:
        async def keep() -> None:
            await asyncio.sleep(LATE_S)
            await commit(self, acceptance)

        task = asyncio.get_running_loop().create_task(keep())
        later.add(task)
        task.add_done_callback(later.discard)
        return Committed(acceptance.id, len(acceptance.addressees))

    async def unsettled(self: Engine, message_id: int, wait_s: float) -> Settled:
        return Settled(message_id, queued=1, sent=0, failed=0)

    setattr(Engine, "commit", promise)  # noqa: B010 - mypy knows the real one
    setattr(Engine, "settled", unsettled)  # noqa: B010


def synchronous(value: str) -> None:
    """SQLite's own syncs are those of another setting."""
    settle = connect._settle

    def less(db: apsw.Connection, *rest: Any) -> None:
        settle(db, *rest)
        db.execute(f"PRAGMA synchronous = {value}").fetchall()

    setattr(connect, "_settle", less)  # noqa: B010


def unsynced() -> None:
    """`synchronous` is off, and no file is synced."""
    synchronous("OFF")
    for name in ("fsync", "fdatasync"):
        setattr(os, name, lambda _: None)


def normal() -> None:
    """A commit is not synced, only what is moved out of the log."""
    synchronous("NORMAL")


def unsynced_folder() -> None:
    """A large body is synced, its name in the spool is not."""
    sync = connect.sync

    def files_only(path: Path) -> None:
        if not path.is_dir():
            sync(path)

    setattr(spool, "sync", files_only)  # noqa: B010


def unadopted() -> None:
    """The claims of the dead stay theirs."""

    async def adopt(self: Engine, now_ms: int) -> int:
        return 0

    setattr(Engine, "adopt", adopt)  # noqa: B010


def unlogged() -> None:
    """The claims of the dead fall, but no attempt of theirs is written down."""
    run = dead.Adopt.run

    def silent(self: dead.Adopt, batch: Batch) -> None:
        run(self, batch)
        batch.attempts.clear()

    setattr(dead.Adopt, "run", silent)  # noqa: B010


def unowned() -> None:
    """Every worker takes every upstream for its own."""

    def take(self: Owners, upstream_id: int) -> bool:
        self._mine.add(upstream_id)
        return True

    setattr(Owners, "take", take)  # noqa: B010
    setattr(Owners, "wanted", lambda _self, _upstream_id: True)  # noqa: B010


def unrung() -> None:
    """The owner of an upstream is not told of mail that another worker accepted."""
    setattr(Crew, "tell_work", lambda *_: True)  # noqa: B010


def uncounted() -> None:
    """Each worker counts its own sessions alone."""

    def caps(self: App) -> SessionCaps:
        limits = self._config.limits
        return SessionCaps(limits.sessions, limits.sessions_per_address)

    setattr(App, "_caps", caps)  # noqa: B010


if __name__ == "__main__":
    {
        "early": early,
        "normal": normal,
        "unadopted": unadopted,
        "uncounted": uncounted,
        "unlogged": unlogged,
        "unowned": unowned,
        "unrung": unrung,
        "unsynced": unsynced,
        "unsynced-folder": unsynced_folder,
    }[sys.argv.pop(1)]()
    sys.exit(main())
