"""Copies of a whole store, of one instant, made beside a running relay; and bringing them back.

A backup holds the rows, every spool file that they name, the sealing keys and the certificate; its
last file, written when all else is synced, says that it is whole. Knows nothing of what the rows
mean.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import apsw
import msgspec

from waypost.core import ident
from waypost.core.errors import StoreAway, WrongState
from waypost.store.connect import Paths, connect, make_folder, transaction, trouble
from waypost.store.locks import Lock, take
from waypost.store.migrate import refuse_newer, version

WHOLE = "waypost-backup.json"
DATABASE = "waypost.db"
KEYS = "sealing.keys"
EXTRAS = ("*.pem", "alerts.secret")  # the certificate that was made here, its key; what signs
FORMAT = 1
STEP_PAGES = 256
BUSY_WAIT_MS = 30_000
VERSION_AT = (60, 4)  # where a whole database file keeps it: sqlite.org/fileformat2.html 1.3
LINKS = "backup."
"""How the folder begins that holds on to spool files while they are copied."""
LEFT = re.compile(r"backup\.(\d+)\.[a-z0-9_]{8}")
"""Such a folder, whole: of that process, with what `mkdtemp` adds. Not a backup that somebody keeps
in the data directory."""
LOGS = ("-wal", "-journal")
"""What SQLite keeps beside a database, and would write into another one of that name."""


class Copied(msgspec.Struct, frozen=True):
    """What a copy holds: messages of the log, spool files, octets in all."""

    messages: int
    spool_files: int
    octets: int


class Manifest(msgspec.Struct, frozen=True, rename="camel"):
    """The last file of a backup. `files`: SHA-256 by name."""

    format: int
    messages: int
    spool_files: int
    octets: int
    files: dict[str, str]


def backup(data: Path, key_file: Path, target: Path) -> Copied:
    """Copies the store into an empty directory, made when missing.

    Raises `WrongState` where it is not empty, `StoreAway` where it cannot be written,
    `SchemaTooNew` for a store that a newer program wrote.
    """
    with contextlib.closing(connect(data, wait_ms=BUSY_WAIT_MS)) as db:
        refuse_newer(version(db))
    with _plainly(target):
        make_folder(target)
        if any(target.iterdir()):
            raise WrongState(f"{target} is not empty: a backup needs a directory of its own")
        try:
            return _fill(data, key_file, target)
        except BaseException:
            # Half a backup is of no use, and on the relay's own disk it would stop the mail.
            for made in target.iterdir():
                _remove(made)
            raise


def _fill(data: Path, key_file: Path, target: Path) -> Copied:
    (target / "spool").mkdir(mode=0o700)
    with _instant(data) as (snapshot, links):
        _copy_rows(snapshot, target / DATABASE)
        for file in sorted(links.iterdir()):
            _copy(file, target / "spool" / file.name)
    if key_file.exists():
        _copy(key_file, target / KEYS)
    for extra in sorted(file for name in EXTRAS for file in data.glob(name)):
        _copy(extra, target / extra.name)
    messages = _settled(target / DATABASE)
    return _finish(target, messages)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def restore(source: Path, data: Path, key_file: Path) -> Copied:
    """Brings a backup back to where no store is.

    Raises `WrongState` where a store is there already, a relay runs, or the backup is not whole,
    `SchemaTooNew` for the backup of a newer program's store.
    """
    paths = Paths(data)
    manifest = _read(source)
    refuse_newer(_version(source / DATABASE))
    _refuse_there(paths)
    keys_there = key_file.exists()
    if keys_there and KEYS in manifest.files and _digest(key_file) != manifest.files[KEYS]:
        raise WrongState(f"{key_file} holds other sealing keys already: move it away first")
    with _plainly(data):
        make_folder(data)
        with contextlib.closing(_alone(paths)):
            _refuse_there(paths)
            for folder in (paths.spool, paths.incoming):
                folder.mkdir(mode=0o700, exist_ok=True)
            for name in sorted(manifest.files):
                if name == KEYS:
                    if not keys_there:
                        _copy(source / name, key_file)
                elif name != DATABASE:
                    _copy(source / name, data / name)
            for folder in (paths.spool, key_file.parent, data):
                _sync(folder)
            # The rows come last, at once: before that there is no store, only files without rows.
            half = paths.database.with_suffix(".restoring")
            _copy(source / DATABASE, half)
            half.rename(paths.database)
            _sync(data)
    return Copied(manifest.messages, manifest.spool_files, manifest.octets)


def _refuse_there(paths: Paths) -> None:
    for file in (paths.database, *(Path(f"{paths.database}{end}") for end in LOGS)):
        if file.exists():
            raise WrongState(
                f"there is a store in {paths.data} already: move it away first,"
                f" {file.name} with all that lies beside it"
            )


def _alone(paths: Paths) -> Lock:
    """No relay runs on this directory, and none starts while it is being filled."""
    lock = take(paths.lock("serve"))
    if lock is None:
        raise WrongState(f"a relay is running on {paths.data}: stop it first")
    return lock


@contextlib.contextmanager
def _instant(data: Path) -> Iterator[tuple[apsw.Connection, Path]]:
    """A snapshot of the rows, and a folder of links to just the spool files that these rows name.

    Files are unlinked only after the commit that ends their message. So while nobody may commit,
    every file that a row names is there: they are linked then, and the snapshot begins then.
    """
    for left in data.glob(f"{LINKS}*"):
        of = LEFT.fullmatch(left.name)
        if of and not Path(f"/proc/{of[1]}").exists():
            shutil.rmtree(left, ignore_errors=True)
    links = Path(tempfile.mkdtemp(prefix=f"{LINKS}{os.getpid()}.", dir=data))
    snapshot = connect(data, wait_ms=BUSY_WAIT_MS)
    try:
        writer = connect(data, wait_ms=BUSY_WAIT_MS)
        try:
            with transaction(writer):
                snapshot.execute("BEGIN")
                snapshot.execute("SELECT count(*) FROM meta").fetchall()  # the snapshot begins here
                for file in Paths(data).spool.iterdir():
                    _link(file, links)
        finally:
            writer.close()
        _only_named(snapshot, links)
        yield snapshot, links
    except apsw.Error as error:
        raise trouble(error) from error
    finally:
        snapshot.close()
        shutil.rmtree(links, ignore_errors=True)


def _only_named(snapshot: apsw.Connection, links: Path) -> None:
    """Drops the links to files that no row of the snapshot names. A file's name is its message's
    id.
    """
    for file in list(links.iterdir()):
        number = ident.read(file.name)
        sql = "SELECT spool FROM body WHERE message_id = ?"
        if number is None or snapshot.execute(sql, (number,)).get != f"spool/{file.name}":
            file.unlink()


def _link(file: Path, links: Path) -> None:
    try:
        os.link(file, links / file.name)
    except FileNotFoundError:
        pass  # let go by the upkeep after its row went; the audit says if it should not have been
    except OSError:
        shutil.copyfile(file, links / file.name)  # a file system without links


def _copy_rows(snapshot: apsw.Connection, target: Path) -> None:
    copy = apsw.Connection(str(target))
    try:
        with copy.backup("main", snapshot, "main") as pages:
            while not pages.done:
                pages.step(STEP_PAGES)
    finally:
        copy.close()
    target.chmod(0o600)


def _settled(database: Path) -> int:
    """Makes the copy one file that is sound, and counts its messages."""
    copy = apsw.Connection(str(database))
    try:
        copy.pragma("journal_mode", "delete")
        if copy.pragma("quick_check") != "ok":
            raise StoreAway("the copy of the rows is damaged: the disk or the store is")
        found = copy.execute("SELECT count(*) FROM message").get
    except apsw.Error as error:
        raise trouble(error) from error
    finally:
        copy.close()
    return found if isinstance(found, int) else 0


def _finish(target: Path, messages: int) -> Copied:
    files = sorted(file for file in target.rglob("*") if file.is_file())
    digests = {}
    octets = 0
    for file in files:
        digests[str(file.relative_to(target))] = _digest(file)
        octets += file.stat().st_size
        _sync(file)
    spooled = sum(name.startswith("spool/") for name in digests)
    whole = target / WHOLE
    whole.write_bytes(
        msgspec.json.format(
            msgspec.json.encode(Manifest(FORMAT, messages, spooled, octets, digests)), indent=1
        )
    )
    for path in (whole, target / "spool", target, target.parent):
        _sync(path)
    return Copied(messages, spooled, octets)


def _read(source: Path) -> Manifest:
    try:
        manifest = msgspec.json.decode((source / WHOLE).read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise WrongState(f"{source} holds no finished backup") from None
    except (OSError, msgspec.DecodeError) as error:
        raise WrongState(f"{source / WHOLE} cannot be read", str(error)) from error
    if manifest.format != FORMAT:
        raise WrongState(f"{source} is a backup of a form that this program does not know")
    for name, digest in manifest.files.items():
        path = source / name
        if ".." in Path(name).parts or Path(name).is_absolute():
            raise WrongState(f"{source / WHOLE} names files outside of it")
        if not path.is_file() or _digest(path) != digest:
            raise WrongState(f"{path} is missing or was changed: this backup is not whole")
    if DATABASE not in manifest.files:
        raise WrongState(f"{source / WHOLE} does not name {DATABASE}: this backup is not whole")
    return manifest


def _version(database: Path) -> int:
    with database.open("rb") as opened:
        opened.seek(VERSION_AT[0])
        return int.from_bytes(opened.read(VERSION_AT[1]), "big")


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o600)
    _sync(target)


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


@contextlib.contextmanager
def _plainly(where: Path) -> Iterator[None]:
    """What the system refuses, in one sentence."""
    try:
        yield
    except OSError as error:
        # Of a copy that failed both are named; it is the other one that has no room.
        name = error.filename2 or error.filename or where
        raise StoreAway(f"{name} cannot be read or written: {error.strerror}") from error
