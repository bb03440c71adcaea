"""Waypost with one protection taken out, for the controls: a test that still passes shows nothing.

    python sabotage.py early|unsynced [arguments of waypost]

`early` answers before the commit, `unsynced` commits without a sync to disk. The only file here
that reaches into Waypost.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import apsw

from waypost.cli.main import main
from waypost.core.message import Acceptance, Committed
from waypost.core.verdict import Settled
from waypost.store import connect
from waypost.store.sqlite.engine import Engine

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


def unsynced() -> None:
    """`synchronous` is off, and no file is synced."""
    settle = connect._settle

    def off(db: apsw.Connection, *rest: Any) -> None:
        settle(db, *rest)
        db.execute("PRAGMA synchronous = OFF").fetchall()

    setattr(connect, "_settle", off)  # noqa: B010
    for name in ("fsync", "fdatasync"):
        setattr(os, name, lambda _: None)


if __name__ == "__main__":
    {"early": early, "unsynced": unsynced}[sys.argv.pop(1)]()
    sys.exit(main())
