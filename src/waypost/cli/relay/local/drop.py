"""The drop: letters that the relay could not take yet, one file each, in the caller's home.

    drop/<ms>-<chance>.mail      a line of JSON, an empty line, the message
    drop/<ms>-<chance>.tmp       being written; of a call that was killed, if it is old
    drop/<ms>-<chance>.refused   the relay refused it for good: nothing tries it again

Promises that a kept letter survives kill and loss of power, and that two calls never hold the same
one: whoever holds a letter has its file locked, and the lock ends with the process. Knows nothing
of the relay.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

import msgspec

from waypost.cli.relay.local.letter import Letter
from waypost.clock import Clock
from waypost.core.address import parse

STALE_TMP_MS = 3_600_000  # no write takes so long
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"


class Kept(msgspec.Struct, frozen=True):
    """The first line of a file: whose key, which relay, and the envelope."""

    key: str
    config: str
    sender: str
    recipients: tuple[str, ...]


class Held:
    """A letter of the drop that this process alone has, until `close`."""

    def __init__(self, drop: Drop, path: Path, file: int, kept: Kept, octets: bytes) -> None:
        self.kept = kept
        self._drop = drop
        self._path = path
        self._file = file
        self._octets = octets

    @property
    def letter(self) -> Letter:
        """Raises `AddressError` where somebody edited the file."""
        sender = parse(self.kept.sender) if self.kept.sender else None
        return Letter(sender, tuple(map(parse, self.kept.recipients)), self._octets)

    def remove(self) -> None:
        """It is with the relay."""
        self._path.unlink()
        _sync(self._path.parent)

    def refuse(self, recipients: tuple[str, ...]) -> None:
        """These will never have it: kept for a person to look at."""
        kept = msgspec.structs.replace(self.kept, recipients=recipients)
        self._drop.keep(kept, self._octets, ".refused")

    def shorten(self, recipients: tuple[str, ...]) -> None:
        """Only these are left. The new file comes first: killed between, the relay knows those
        who had it by its Message-ID."""
        self._drop.keep(msgspec.structs.replace(self.kept, recipients=recipients), self._octets)
        self.remove()

    def close(self) -> None:
        os.close(self._file)


class Drop:
    """The folder; made when the first letter is kept."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock

    def keep(self, kept: Kept, octets: bytes, kind: str = ".mail") -> None:
        """Returns when it is on disk. Raises `OSError`."""
        self._make()
        stem = f"{self._clock.wall_ms():015d}-{self._clock.token(_ALPHABET, 12)}"
        path = self._folder / (stem + ".tmp")
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(file, "wb") as out:
                out.write(msgspec.json.encode(kept) + b"\n\n" + octets)
                out.flush()
                os.fsync(file)
            path.rename(path.with_suffix(kind))
        except OSError:
            path.unlink(missing_ok=True)
            raise
        _sync(self._folder)

    def names(self) -> list[str]:
        """What waits, oldest first; what killed calls left half written is swept."""
        if not self._folder.is_dir():
            return []
        found = sorted(p.name for p in self._folder.iterdir())
        for name in found:
            if name.endswith(".tmp"):
                self._sweep(self._folder / name)
        return [name for name in found if name.endswith(".mail")]

    def take(self, name: str) -> Held | None:
        """The letter, locked; None where another call has it, or had."""
        path = self._folder / name
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.fstat(file).st_nlink:
                raise BlockingIOError
            with os.fdopen(file, "rb", closefd=False) as source:
                line, _, octets = source.read().partition(b"\n\n")
            return Held(self, path, file, msgspec.json.decode(line, type=Kept), octets)
        except BlockingIOError:
            os.close(file)
            return None
        except BaseException:
            os.close(file)
            raise

    def _make(self) -> None:
        missing = []
        at = self._folder
        while not at.is_dir():
            missing.append(at)
            at = at.parent
        for folder in reversed(missing):
            folder.mkdir(0o700, exist_ok=True)
            _sync(folder.parent)
        if self._folder.stat().st_mode & 0o077:
            self._folder.chmod(0o700)

    def _sweep(self, path: Path) -> None:
        with contextlib.suppress(OSError):
            if path.stat().st_mtime_ns // 1_000_000 < self._clock.wall_ms() - STALE_TMP_MS:
                path.unlink()


def _sync(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
