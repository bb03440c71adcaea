"""The shim between a program and its disk, from Python: built, told what to fail, and its journal
read.

Knows nothing of Waypost.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path

import msgspec

from peers.need import need

SOURCE = Path(__file__).with_name("effects.c")
HEADER = struct.Struct("4I2Q")
CONTROL = struct.Struct("4i1024s")


class Kind(IntEnum):
    """As in effects.c."""

    CREATE = 1
    WRITE = 2
    TRUNCATE = 3
    SYNC = 4
    RENAME = 5
    UNLINK = 6
    MKDIR = 7
    OPEN = 8
    LINK = 9


class Effect(msgspec.Struct, frozen=True):
    """One record; `end` is where it ends in the journal."""

    kind: Kind
    inode: int
    path: str
    other: str
    offset: int
    data: bytes
    end: int


class Effects:
    """The shim for one folder, and what it is told. Needs gcc."""

    def __init__(self, made: Path, root: Path) -> None:
        (gcc,) = need("gcc")
        made.mkdir(parents=True, exist_ok=True)
        self.root = root
        self.journal = made / "journal"
        self._library = made / "effects.so"
        flags = ["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror"]
        out = ["-o", str(self._library), str(SOURCE), "-ldl", "-lpthread"]
        subprocess.run([gcc, *flags, *out], check=True)
        told = made / "control"
        told.write_bytes(bytes(CONTROL.size))
        with told.open("r+b") as file:
            self._control = mmap.mmap(file.fileno(), CONTROL.size)
        self._told = told

    def environment(self, *, journal: bool) -> dict[str, str]:
        """For the programs that are to be watched."""
        found = {
            "LD_PRELOAD": str(self._library),
            "EFFECTS_ROOT": str(self.root),
            "EFFECTS_CONTROL": str(self._told),
        }
        return {**found, "EFFECTS_JOURNAL": str(self.journal)} if journal else found

    @contextmanager
    def still(self) -> Iterator[None]:
        """Meanwhile no effect begins, and each that began is recorded. Who is killed at another
        moment may leave an effect without its record, or a torn one that hides all behind it.
        """
        with self.journal.open("r+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX)
            yield

    def arm(self, left: int, error: int = errno.EIO) -> None:
        """After so many effects the next one fails, once."""
        self._control[:] = CONTROL.pack(1, left, error, 0, b"")

    def turn_read_only(self) -> None:
        """Every effect fails until `disarm`; what is there can be read."""
        self._control[:] = CONTROL.pack(2, 0, errno.EROFS, 0, b"")

    def disarm(self) -> tuple[Kind, str] | None:
        """The kind of the effect that failed, and its file's name, if one did."""
        failed = self.failed
        self._control[:] = bytes(CONTROL.size)
        return failed

    @property
    def failed(self) -> tuple[Kind, str] | None:
        *_, failed, path = CONTROL.unpack(self._control[:])
        return (Kind(failed), Path(os.fsdecode(path.rstrip(b"\0"))).name) if failed else None

    def told(self) -> int:
        """How long the journal is."""
        return self.journal.stat().st_size


def read(journal: Path) -> Iterator[Effect]:
    """The records in the order in which they happened; a torn last one is left out."""
    octets = journal.read_bytes()
    at = 0
    while at + HEADER.size <= len(octets):
        kind, path, other, data, inode, offset = HEADER.unpack_from(octets, at)
        at += HEADER.size
        end = at + path + other + data
        if end > len(octets):
            return
        yield Effect(
            Kind(kind),
            inode,
            os.fsdecode(octets[at : at + path]),
            os.fsdecode(octets[at + path : at + path + other]),
            offset,
            octets[end - data : end],
            end,
        )
        at = end
