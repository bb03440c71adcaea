"""A disk that loses its power: which files there may be afterwards.

Of what was written to a file since its last sync each write may be there, or not, or in part
(sectors of 512 octets); of what was changed in a folder since its last sync each change may be
there or not. What was synced is there. That is less than any real file system promises (POSIX
fsync(2)), so a store that holds here holds on them. Knows nothing of what is in the files.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path, PurePath

from disk.effects import Effect, Kind

SECTOR = 512
NOT_DURABLE = ("/shared",)  # written through a memory map: anything may be in it


class File:
    """`synced`: what is certainly there; `waiting`: (offset, data) or (length, None) since then."""

    def __init__(self) -> None:
        self.synced = bytearray()
        self.waiting: list[tuple[int, bytes | None]] = []

    def sync(self) -> None:
        for offset, data in self.waiting:
            change(self.synced, offset, data)
        self.waiting.clear()

    def after(self, chance: random.Random, luck: float) -> bytes:
        content = bytearray(self.synced)
        for offset, data in self.waiting:
            if chance.random() >= luck:
                continue
            if data is None or luck == 1.0 or chance.random() < 0.5:
                change(content, offset, data)
                continue
            for at in range(0, len(data), SECTOR):
                if chance.random() < 0.5:
                    change(content, offset + at, data[at : at + SECTOR])
        return bytes(content)


class Folder:
    """`synced`: name -> file or folder; `waiting`: (name, what it is now) since then."""

    def __init__(self) -> None:
        self.synced: dict[str, File | Folder] = {}
        self.waiting: list[tuple[str, File | Folder | None]] = []

    def get(self, name: str) -> File | Folder | None:
        """What has the name now."""
        for waiting, what in reversed(self.waiting):
            if waiting == name:
                return what
        return self.synced.get(name)

    def sync(self) -> None:
        self.synced = self.after(random.Random(0), 1.0)
        self.waiting.clear()

    def after(self, chance: random.Random, luck: float) -> dict[str, File | Folder]:
        names = dict(self.synced)
        for name, what in self.waiting:
            if chance.random() >= luck:
                continue
            if what is None:
                names.pop(name, None)
            else:
                names[name] = what
        return names


class Disk:
    """What is under `root`, from an empty folder on; `apply` in order."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.top = Folder()
        self._open: dict[int, File | Folder] = {}  # by inode: also what has lost its name

    def apply(self, effect: Effect) -> None:
        match effect.kind:
            case Kind.CREATE | Kind.MKDIR:
                made: File | Folder = File() if effect.kind is Kind.CREATE else Folder()
                self._open[effect.inode] = made
                self._name(effect.path, made)
            case Kind.WRITE:
                self._file(effect).waiting.append((effect.offset, effect.data))
            case Kind.TRUNCATE:
                self._file(effect).waiting.append((effect.offset, None))
            case Kind.SYNC:
                top = effect.path == str(self.root)
                (self.top if top else self._open[effect.inode]).sync()
            case Kind.RENAME:
                self._name(effect.other, self._at(effect.path))
                self._name(effect.path, None)
            case Kind.LINK:
                self._name(effect.other, self._at(effect.path))
            case Kind.UNLINK:
                self._name(effect.path, None)
            case Kind.OPEN:
                raise AssertionError("an open that made nothing is no effect")

    def cut(self, target: Path, chance: random.Random, luck: float) -> None:
        """Writes down what may be there after a loss of power now. `luck`: the share of what was
        not synced that is there all the same."""
        _write(self.top, target, chance, luck)

    def _file(self, effect: Effect) -> File:
        found = self._open[effect.inode]
        assert isinstance(found, File)
        return found

    def _at(self, path: str) -> File | Folder | None:
        found: File | Folder | None = self.top
        for part in PurePath(path).relative_to(self.root).parts:
            assert isinstance(found, Folder), path
            found = found.get(part)
        return found

    def _name(self, path: str, what: File | Folder | None) -> None:
        folder = self._at(str(PurePath(path).parent))
        assert isinstance(folder, Folder), path
        folder.waiting.append((PurePath(path).name, what))


def change(content: bytearray, offset: int, data: bytes | None) -> None:
    """A write, or (None) a new length."""
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    if data is None:
        del content[offset:]
    else:
        content[offset : offset + len(data)] = data


def differences(root: Path, target: Path) -> Iterable[str]:
    """Files of either folder that are not the same in both, but those that are mapped."""
    for path in sorted({p.relative_to(f) for f in (root, target) for p in f.rglob("*")}):
        if f"/{path.name}" in NOT_DURABLE or path.name.endswith("-shm"):
            continue
        ours, theirs = root / path, target / path
        if ours.is_dir() and theirs.is_dir():
            continue
        if not (ours.is_file() and theirs.is_file() and ours.read_bytes() == theirs.read_bytes()):
            yield str(path)


def _write(folder: Folder, target: Path, chance: random.Random, luck: float) -> None:
    target.mkdir(mode=0o700)
    for name, what in folder.after(chance, luck).items():
        path = target / name
        if isinstance(what, Folder):
            _write(what, path, chance, luck)
        elif f"/{name}" in NOT_DURABLE:
            path.write_bytes(chance.randbytes(16))
        else:
            path.write_bytes(what.after(chance, luck))
            path.chmod(0o600)
