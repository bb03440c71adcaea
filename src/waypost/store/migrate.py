"""From whatever schema a store has to this program's: the numbered files under schema/, in order.

Promises: all steps are one transaction, after a copy, and nobody else uses the file meanwhile; a
store that a newer program wrote is refused. A schema file is never changed once it was released.
"""

from __future__ import annotations

import importlib.resources
from pathlib import Path

import apsw

from waypost.core.errors import SchemaTooNew, StoreAway
from waypost.store.connect import PAGE_BYTES, Paths, connect, prepare, transaction, trouble
from waypost.store.locks import WORKERS, Lock, held, hold, take

PATIENCE_S = 10.0  # for another process that migrates at the same time


def steps() -> list[tuple[int, str]]:
    """(version, SQL) of every schema file, in order."""
    folder = importlib.resources.files("waypost.store").joinpath("schema")
    found = [entry for entry in folder.iterdir() if entry.name.endswith(".sql")]
    return sorted((int(entry.name[:4]), entry.read_text("utf-8")) for entry in found)


def version(db: apsw.Connection) -> int:
    """The schema's version; 0 is an empty file."""
    value = db.pragma("user_version")
    return value if isinstance(value, int) else 0


def migrate(data: Path, db: apsw.Connection, *, serving: bool = False) -> None:
    """Brings the store to the newest schema. `serving`: the caller holds the relay's lock.

    Raises `SchemaTooNew`, or `StoreAway` if the store is in use or cannot be written.
    """
    plan = steps()
    newest = plan[-1][0]
    try:
        if _current(db, newest):
            return
        lock = hold(Paths(data).lock("migrate"), f"the store in {data}", PATIENCE_S)
        try:
            if not _current(db, newest):
                _run(data, db, plan, serving)
        finally:
            lock.close()
    except apsw.Error as error:
        raise trouble(error) from error


def refuse_newer(now: int) -> None:
    """Raises `SchemaTooNew` for a version that this program does not know."""
    newest = steps()[-1][0]
    if now > newest:
        raise SchemaTooNew(
            f"this store was written by a newer program (schema {now}, this one knows {newest})"
        )


def _current(db: apsw.Connection, newest: int) -> bool:
    now = version(db)
    if now > newest:
        refuse_newer(now)
    return now == newest


def _run(data: Path, db: apsw.Connection, plan: list[tuple[int, str]], serving: bool) -> None:
    before = version(db)
    locks = _alone(data, serving) if before else []
    try:
        if before:
            _copy(db, Paths(data).database.with_name(f"waypost.db.before-{plan[-1][0]:04d}"))
        with transaction(db):
            for number, sql in plan:
                if number > before:
                    # Draining the cursor runs every statement, not only the first.
                    for _ in db.execute(sql):
                        pass
                    db.pragma("user_version", number)
    finally:
        for lock in locks:
            lock.close()


def _copy(db: apsw.Connection, copy: Path) -> None:
    copy.unlink(missing_ok=True)
    try:
        db.execute("VACUUM INTO ?", (str(copy),)).fetchall()
    except apsw.FullError as error:
        copy.unlink(missing_ok=True)
        pages = db.pragma("page_count") - db.pragma("freelist_count")
        raise StoreAway(
            "the disk has no room for the copy of the store that is made before a newer program"
            f" changes it: make {1 + (pages * PAGE_BYTES >> 20)} MiB free"
        ) from error


def _alone(data: Path, serving: bool) -> list[Lock]:
    paths = Paths(data)
    if any(held(paths.lock(f"worker.{number}")) for number in range(WORKERS)):
        raise StoreAway(f"a relay is running on {data}: stop it, then run this again to migrate")
    if serving:
        return []
    lock = take(paths.lock("serve"))
    if lock is None:
        raise StoreAway(f"a relay is running on {data}: stop it, then run this again to migrate")
    return [lock]


def open_migrated(data: Path, *, create: bool = False, serving: bool = False) -> apsw.Connection:
    """A connection to a store of the newest schema; made if `create`, else it must be there."""
    if create:
        prepare(data)
    db = connect(data, create=create)
    try:
        migrate(data, db, serving=serving)
    except BaseException:
        db.close()
        raise
    return db
