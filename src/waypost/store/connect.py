"""The data directory and connections to its database.

Promises: every connection writes with a log ahead (WAL) and a sync at each commit, and waits its
turn; nothing is created unless asked for. Only SQLite opens its own files. Knows nothing of tables.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from waypost.core.errors import ConfigError, StoreAway, StoreBroken, Unwritable
from waypost.store.several.turn import in_turn

WAIT_MS = 5_000
PAGE_BYTES = 4_096
CACHE_KIB = 16_384
# apsw keeps prepared statements in a ring and moves each on when it was used: with fewer places
# those that run once a batch are thrown out by those that run once a row, with many the search for
# one is dear.
STATEMENTS = 200
LOG_LIMIT_BYTES = 67_108_864  # what is left of the write-ahead log after a checkpoint
CHECKPOINT_PAGES = 4_000  # of a command; the relay has a thread for it

_OF_WHAT_IS_WRITTEN = (
    apsw.ConstraintError,
    apsw.MismatchError,
    apsw.RangeError,
    apsw.SQLError,
    apsw.TooBigError,
)


class Paths:
    """What lies where in a data directory."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.database = data / "waypost.db"
        self.spool = data / "spool"
        self.incoming = data / "incoming"
        self.shared = data / "shared"

    def lock(self, name: str) -> Path:
        return self.data / f"lock.{name}"


def prepare(data: Path) -> None:
    """Makes the data directory and its folders where they are missing, and takes others' rights
    to it away. Raises `StoreAway`."""
    paths = Paths(data)
    try:
        make_folder(data)
        keep_private(paths)
        for folder in (paths.spool, paths.incoming):
            make_folder(folder)
    except OSError as error:
        raise StoreAway(f"the data directory {data} cannot be made: {error.strerror}") from error


def keep_private(paths: Paths) -> None:
    """Gives the data directory mode 0700, where it is ours and nobody else's: it is empty, or has
    our database and no folders but ours; not a `--data /tmp`, nor a `--data /`, whose database a
    call before made. Raises OSError."""
    seen = paths.data.stat()
    if not seen.st_mode & 0o077 or seen.st_mode & stat.S_ISVTX or seen.st_uid != os.geteuid():
        return
    with os.scandir(paths.data) as entries:
        inside = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
    folders = {name for name, is_folder in inside.items() if is_folder}
    ours = {paths.spool.name, paths.incoming.name, "lost+found"}  # the last: of a whole disk
    if not inside or (paths.database.name in inside and folders <= ours):
        paths.data.chmod(0o700)


def make_data(data: Path) -> None:
    """For who serves: the data directory, made where it is missing. Raises `ConfigError` where it
    cannot be written."""
    try:
        make_folder(data)
        prepare(data)
    except OSError as error:
        raise ConfigError(
            f"the data directory {data} cannot be made: {error.strerror};"
            " name a place that this user may write to with --data"
        ) from error
    if not os.access(data, os.R_OK | os.W_OK | os.X_OK):
        raise ConfigError(
            f"the data directory {data} is not writable by this user: change its owner,"
            " or name another place with --data"
        )


def make_folder(folder: Path) -> None:
    """Makes it (mode 0700) and what it is in, where they are missing. Their names are synced: else
    a loss of power could take them with all that was synced in them. Raises OSError."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in missing:
        with contextlib.suppress(PermissionError):  # we may make names there, but not look
            sync(path.parent)


def sync(path: Path) -> None:
    """Waits until the file, or the names in the folder, are on disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def connect(
    data: Path,
    *,
    create: bool = False,
    readonly: bool = False,
    wait_ms: int = WAIT_MS,
    checkpoint_pages: int = CHECKPOINT_PAGES,
) -> apsw.Connection:
    """A connection to the database of a data directory. Raises `StoreAway` in plain words.

    `wait_ms`: how long a lock of somebody else is waited for. `checkpoint_pages`: pages of log
    after which a commit of this connection checkpoints, 0 is never.
    """
    database = Paths(data).database
    if not create and not database.exists():
        raise StoreAway(f"there is no store in {data}; `waypost serve` or --data makes one")
    flags = apsw.SQLITE_OPEN_READONLY if readonly else apsw.SQLITE_OPEN_READWRITE
    try:
        if create:
            flags |= apsw.SQLITE_OPEN_CREATE
            database.touch(mode=0o600)
        db = apsw.Connection(str(database), flags=flags, statementcachesize=STATEMENTS)
    except apsw.Error as error:
        raise StoreAway(f"{database} cannot be opened: {error}") from error
    except OSError as error:
        raise StoreAway(f"{database} cannot be made: {error.strerror}") from error
    try:
        db.set_busy_timeout(wait_ms)
        _settle(db, readonly, checkpoint_pages)
    except apsw.Error as error:
        db.close()
        raise trouble(error) from error
    return db


def _settle(db: apsw.Connection, readonly: bool, checkpoint_pages: int) -> None:
    if not readonly:
        db.pragma("page_size", PAGE_BYTES)
        db.pragma("journal_mode", "wal")
        db.pragma("journal_size_limit", LOG_LIMIT_BYTES)
        db.pragma("foreign_keys", True)
    # Else a statement is planned anew whenever a partial index might fit the value that is bound:
    # ten times the cost of running it.
    db.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    # FULL, not NORMAL: with NORMAL a loss of power takes mail that was acknowledged.
    db.pragma("synchronous", "FULL")
    db.pragma("cache_size", -CACHE_KIB)
    db.pragma("temp_store", "MEMORY")
    db.wal_autocheckpoint(checkpoint_pages)


@contextmanager
def transaction(db: apsw.Connection) -> Iterator[apsw.Connection]:
    """One writing transaction: committed at the end, rolled back by any exception.

    SQLite's errors come out as `StoreAway` or `StoreBroken`.
    """
    with in_turn(Path(db.filename).parent):
        try:
            db.execute("BEGIN IMMEDIATE")
            yield db
            db.execute("COMMIT")
        except apsw.Error as error:
            roll_back(db)
            raise trouble(error) from error
        except BaseException:
            roll_back(db)
            raise


def roll_back(db: apsw.Connection) -> None:
    """Ends the transaction, where there is one left, without keeping anything."""
    if db.in_transaction:
        db.execute("ROLLBACK")


def of_what_is_written(error: Exception) -> bool:
    """Whether it would come again however well the store is: a constraint, a value that no column
    holds, or a mistake of ours. A full disk, a lock and a failed read are not."""
    if isinstance(error, apsw.Error):
        return isinstance(error, _OF_WHAT_IS_WRITTEN)
    return not isinstance(error, StoreAway | MemoryError | OSError)


def unwritable(error: Exception) -> Unwritable:
    """That error in our words."""
    ours = Unwritable("this can never be kept as it is", repr(error))
    ours.__cause__ = error
    return ours


def trouble(error: apsw.Error) -> StoreAway:
    """SQLite's error in our words: `StoreBroken` where what is on disk is no longer known."""
    if isinstance(error, apsw.IOError | apsw.CorruptError | apsw.NotADBError):
        return StoreBroken("the store is damaged or its disk fails", str(error))
    if isinstance(error, apsw.FullError):
        return StoreAway("the disk is full", str(error))
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        return StoreAway("the store is in use by something that does not end", str(error))
    return StoreAway("the store cannot be read or written now", str(error))
