"""Large bodies as files: written to incoming/ while they arrive, moved to spool/ before their
commit.

    incoming/<worker>-<n>   being received or judged; no row speaks of it
    spool/<message id>      synced, and its directory too, before the row that names it is committed

Promises: a row never names a file that a loss of power could take. A file without a row is swept
once its worker is dead. Knows nothing of messages and tables.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from waypost.core.errors import BodyLost, StoreAway, StoreBroken
from waypost.core.message import SpoolPart
from waypost.store.connect import Paths, sync

BUFFER_BYTES = 262_144
CHUNK_BYTES = 262_144
BODY_LOST = "5.3.0 its body is lost: it is damaged in the store"


class SpoolFile:
    """A body on its way in. Not safe for use by two threads at once."""

    def __init__(self, data: Path, name: str) -> None:
        self.name = name
        self.octets = 0
        self._path = data / name
        self._pieces: list[bytes] = []
        self._held = 0
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._file = os.open(self._path, flags, 0o600)
        except OSError as error:
            raise StoreAway(f"no file for a large message: {error.strerror}") from error

    def write(self, data: bytes) -> None:
        """Adds to the body: to the page cache, a buffer at a time. Raises `StoreAway` (disk
        full)."""
        self._pieces.append(data)
        self._held += len(data)
        self.octets += len(data)
        if self._held >= BUFFER_BYTES:
            self._flush()

    def finish(self) -> str:
        """Ends the writing; the name for a `SpoolPart`. Not synced yet: the store's commit does
        that."""
        self._flush()
        self._close()
        return self.name

    def discard(self) -> None:
        """Takes the file away again; may be called at any time, more than once."""
        self._pieces.clear()
        with contextlib.suppress(OSError):  # a disk that fails: the next start sweeps the file
            self._close()
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _flush(self) -> None:
        if not self._pieces:
            return
        waiting = memoryview(b"".join(self._pieces))
        self._pieces.clear()
        self._held = 0
        try:
            while waiting:
                waiting = waiting[os.write(self._file, waiting) :]
        except OSError as error:
            raise StoreAway(f"a large message cannot be kept: {error.strerror}") from error

    def _close(self) -> None:
        if self._file >= 0:
            file, self._file = self._file, -1
            os.close(file)


class Spool:
    """The files of one worker. `part`: letters that tell this user of it from others there."""

    def __init__(self, data: Path, worker: int, part: str = "") -> None:
        self._data = data
        self._paths = Paths(data)
        self._prefix = f"{worker}-{os.getpid()}-{part}"
        self._count = 0

    def open(self) -> SpoolFile:
        """A new file under incoming/. Raises `StoreAway`."""
        self._count += 1
        return SpoolFile(self._data, f"incoming/{self._prefix}{self._count}")


def settle(data: Path, incoming: str, message_id: int) -> str:
    """Syncs the file, moves it to spool/ and syncs that directory; its new name. Waits: call it in
    a thread.

    Raises `StoreBroken` if a sync fails: what is on disk is then unknown.
    """
    name = f"spool/{message_id:016x}"
    try:
        sync(data / incoming)
        os.rename(data / incoming, data / name)  # noqa: PTH104  (tests name this effect)
        sync(data / "spool")
    except FileNotFoundError as error:
        raise StoreAway("the body of a large message is gone") from error
    except OSError as error:
        raise StoreBroken("a large message could not be synced to disk", str(error)) from error
    return name


def put_back(data: Path, name: str, incoming: str) -> None:
    """Moves a body that was not committed back to where it came from."""
    with contextlib.suppress(FileNotFoundError):
        (data / name).rename(data / incoming)


def unlink(data: Path, names: list[str]) -> None:
    """Removes files that no row names any more."""
    for name in names:
        with contextlib.suppress(OSError):  # what cannot be removed now is swept later
            (data / name).unlink(missing_ok=True)


def check(data: Path, part: SpoolPart) -> None:
    """Raises `BodyLost` if the octets of a part are not there, `StoreAway` if nobody can say. Waits
    for the disk: call it in a thread."""
    try:
        octets = (data / part.name).stat().st_size
    except OSError as error:
        raise _unread(data, error) from error
    if octets < part.offset + part.octets:
        raise BodyLost(BODY_LOST, f"{part.name} has {octets} octets")


def _unread(data: Path, error: OSError) -> StoreAway:
    # Where the whole spool is away, as a disk that is not mounted, what was in it is not lost.
    if isinstance(error, FileNotFoundError) and Paths(data).spool.is_dir():
        return BodyLost(BODY_LOST, str(error))
    return StoreAway(f"the body of a large message cannot be read: {error.strerror}")


def chunks(data: Path, part: SpoolPart, size: int = CHUNK_BYTES) -> Iterator[bytes]:
    """The octets of a part, piece by piece. Raises `BodyLost` if the file is gone or too short,
    `StoreAway` if it cannot be read."""
    left = part.octets
    try:
        with (data / part.name).open("rb", buffering=0) as file:
            file.seek(part.offset)
            while left > 0:
                piece = file.read(min(size, left))
                if not piece:
                    raise BodyLost(BODY_LOST, f"{part.name} is shorter than it was")
                left -= len(piece)
                yield piece
    except OSError as error:
        raise _unread(data, error) from error


def left_by(data: Path, worker: int) -> tuple[list[str], list[str]]:
    """(under incoming/, under spool/): the names of the files that this worker number made."""
    paths = Paths(data)
    incoming = [f"incoming/{p.name}" for p in paths.incoming.glob(f"{worker}-*")]
    kept = [f"spool/{p.name}" for p in paths.spool.iterdir() if worker_of(p.name) == worker]
    return incoming, kept


def worker_of(name: str) -> int | None:
    """The number of the worker that made a message whose id this file name shows (core/ident)."""
    try:
        return int(name, 16) >> 12 & 0xFF if len(name) == 16 else None
    except ValueError:
        return None
