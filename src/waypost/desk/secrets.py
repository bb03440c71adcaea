"""The file of sealing keys: made, read, and given a new key.

Promises a file of mode 0600 that is whole at any moment (written beside, synced, renamed), and that
a password sealed with any key of it opens. Does not know what the sealed rows are.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from waypost.clock import Clock
from waypost.core.errors import Secret, StoreAway
from waypost.desk.access import factor
from waypost.desk.connection import kept
from waypost.desk.office import Desk
from waypost.desk.views import View
from waypost.store.connect import Paths
from waypost.store.locks import hold
from waypost.upstream.seal import Chance, KeyRing, Sealer

PATIENCE_S = 10.0  # for another one that rotates at the same time
_OCTETS = "".join(map(chr, range(256)))


class SecretsView(View):
    """The ring after a rotation: how many keys it holds and how many secrets were sealed anew."""

    key_file: str
    keys: int
    current: int
    resealed: int


def chance(clock: Clock) -> Chance:
    """Octets that nobody can guess."""
    return lambda octets: clock.token(_OCTETS, octets).encode("latin-1")


class FileSealer:
    """Seals and opens by the keys in a file, which is read at the first secret.

    `seal` makes the file where it is missing, `open` never does. A file that another process wrote
    anew is read again. Raises `StoreAway` and `SealError`.
    """

    def __init__(self, key_file: Path, clock: Clock) -> None:
        self._file = key_file
        self._chance = chance(clock)
        self._sealer: Sealer | None = None

    def seal(self, secret: Secret, row: bytes) -> bytes:
        if self._sealer is None and not self._file.exists():
            _write(self._file, KeyRing.first(self._chance), replace=False)
        return self._loaded().seal(secret, row)

    def open(self, blob: bytes, row: bytes) -> Secret:
        return self._loaded().open(blob, row)

    def stale(self, blob: bytes) -> bool:
        return self._loaded().stale(blob)

    def _loaded(self) -> Sealer:
        if self._sealer is None:
            self._sealer = Sealer(read(self._file), self._chance, lambda: read(self._file))
        return self._sealer


def rotate(desk: Desk) -> SecretsView:
    """A new key for the ring, and every kept secret sealed with it.

    The key is in the file before anything is sealed with it. The old keys stay: what another
    process sealed a moment ago, and older copies of the store, still open. Two that rotate at once
    take turns: of two rings with the same newest number one would be lost, with what it sealed.
    """
    key_file = desk.key_file
    with desk.reading():
        pass  # where the store cannot be used no key is made
    lock = hold(Paths(desk.data).lock("secrets"), f"the ring of keys at {key_file}", PATIENCE_S)
    try:
        if key_file.exists():
            _write(key_file, read(key_file).rotated(chance(desk.clock)), replace=True)
        else:
            _write(key_file, KeyRing.first(chance(desk.clock)), replace=False)
    finally:
        lock.close()
    sealer = FileSealer(key_file, desk.clock)
    resealed = kept.reseal(desk, sealer) + factor.reseal(desk, sealer)
    ring = read(key_file)
    return SecretsView(
        key_file=str(key_file), keys=len(ring.numbers()), current=ring.current, resealed=resealed
    )


def read(key_file: Path) -> KeyRing:
    """The ring in the file. Raises `StoreAway` where it cannot be read, `SealError` where wrong."""
    try:
        return KeyRing.parse(key_file.read_text("utf-8"))
    except FileNotFoundError as error:
        raise StoreAway(
            f"there are no sealing keys at {key_file}: restore the file from a backup"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise StoreAway(f"the sealing keys at {key_file} cannot be read: {reason}") from error


def _write(key_file: Path, ring: KeyRing, *, replace: bool) -> None:
    """Whole or not at all; without `replace` a file that another process just made stays."""
    beside = key_file.with_name(f".{key_file.name}.{os.getpid()}")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(descriptor, ring.text().encode("ascii"))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if replace:
            beside.replace(key_file)
        else:
            with contextlib.suppress(FileExistsError):
                key_file.hardlink_to(beside)
            beside.unlink()
        folder = os.open(key_file.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise StoreAway(
            f"the sealing keys at {key_file} cannot be written: {error.strerror}"
        ) from error
