"""Secrets at rest: AES-256-GCM, bound to the row they belong to, under a ring of keys.

A sealed value is

    1 octet    version, 1
    4 octets   number of the key in the ring, big-endian
    12 octets  nonce, random (NIST SP 800-38D 8.2.2: at most 2^32 values a key)
    the rest   ciphertext and its 16-octet tag

with the first five octets and the row's name (such as b"upstream:7:password") as associated data: a
value that was moved to another row, another column or under another key does not open. The ring is
text, a line a key, the last one seals. Chance is an argument. Does not read files and does not know
what the rows are.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from waypost.core.errors import Secret, WaypostError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VERSION = 1
KEY_OCTETS = 32  # AES-256
NONCE_OCTETS = 12  # NIST SP 800-38D 5.2.1.1
TAG_OCTETS = 16
HEAD_OCTETS = 5
KEY_NUMBER_MAX = 2**32 - 1

_HEADER = """\
# Waypost's sealing keys: number and key, the last one seals. Who has this file and the store can
# read the passwords of the upstreams; without it nobody can. Keep it secret, and keep a copy.
"""

Chance = Callable[[int], bytes]


class SealError(WaypostError):
    """A secret cannot be opened, or the ring cannot be read; the text tells no secret."""


class KeyRing:
    """The sealing keys by number, never empty; immutable. `repr` shows the numbers only."""

    __slots__ = ("_keys", "current")

    def __init__(self, keys: Mapping[int, bytes]) -> None:
        if not keys:
            raise SealError("the sealing keys are empty: restore the key file from a backup")
        self._keys = dict(keys)
        self.current = max(keys)

    @classmethod
    def first(cls, chance: Chance) -> KeyRing:
        """A ring of one new key."""
        return cls({1: chance(KEY_OCTETS)})

    @classmethod
    def parse(cls, text: str) -> KeyRing:
        """The ring that `text()` wrote. Raises `SealError`."""
        keys: dict[int, bytes] = {}
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            found = re.fullmatch(r"(\d{1,10}) ([A-Za-z0-9+/=]+)\s*", line)
            try:
                key = base64.b64decode(found[2], validate=True) if found else b""
            except binascii.Error:
                key = b""
            if found is None or len(key) != KEY_OCTETS or not 0 < int(found[1]) <= KEY_NUMBER_MAX:
                raise SealError(f"line {number} of the sealing keys is not a number and a key")
            if int(found[1]) in keys:
                raise SealError(f"line {number} of the sealing keys repeats a number")
            keys[int(found[1])] = key
        return cls(keys)

    def text(self) -> str:
        """The ring as its file holds it."""
        lines = [f"{n} {base64.b64encode(k).decode()}\n" for n, k in sorted(self._keys.items())]
        return _HEADER + "".join(lines)

    def rotated(self, chance: Chance) -> KeyRing:
        """This ring with a new key, which seals from now on."""
        return KeyRing({**self._keys, self.current + 1: chance(KEY_OCTETS)})

    def key(self, number: int) -> bytes | None:
        return self._keys.get(number)

    def numbers(self) -> tuple[int, ...]:
        return tuple(sorted(self._keys))

    def __repr__(self) -> str:
        return f"KeyRing({', '.join(map(str, self.numbers()))})"


class Sealer:
    """Seals and opens by one ring; `fresh` reads it anew, for a key that another process added."""

    __slots__ = ("_chance", "_fresh", "ring")

    def __init__(
        self, ring: KeyRing, chance: Chance, fresh: Callable[[], KeyRing] | None = None
    ) -> None:
        self.ring = ring
        self._chance = chance
        self._fresh = fresh

    def seal(self, secret: Secret, row: bytes) -> bytes:
        """The secret under the current key, for this row alone."""
        number = self.ring.current
        head = bytes([VERSION]) + number.to_bytes(4, "big")
        nonce = self._chance(NONCE_OCTETS)
        box = _aes(self.ring.key(number) or b"")
        return head + nonce + box.encrypt(nonce, secret.reveal().encode(), head + row)

    def open(self, blob: bytes, row: bytes) -> Secret:
        """What was sealed for this row. Raises `SealError`."""
        if len(blob) < HEAD_OCTETS + NONCE_OCTETS + TAG_OCTETS or blob[0] != VERSION:
            raise SealError("a sealed secret is damaged: set the password again")
        number = _number(blob)
        key = self.ring.key(number)
        if key is None and self._fresh is not None:
            self.ring = self._fresh()
            key = self.ring.key(number)
        if key is None:
            raise SealError(
                f"a secret was sealed with key {number}, which is not among the sealing keys: "
                "restore the key file from a backup, or set the password again"
            )
        from cryptography.exceptions import InvalidTag

        nonce = blob[HEAD_OCTETS : HEAD_OCTETS + NONCE_OCTETS]
        sealed = blob[HEAD_OCTETS + NONCE_OCTETS :]
        try:
            return Secret(_aes(key).decrypt(nonce, sealed, blob[:HEAD_OCTETS] + row).decode())
        except (InvalidTag, UnicodeDecodeError):
            raise SealError(
                "a sealed secret does not open with its key: it was changed, or belongs to another "
                "row; set the password again"
            ) from None

    def stale(self, blob: bytes) -> bool:
        """It was sealed with another key than the current one."""
        return len(blob) < HEAD_OCTETS or _number(blob) != self.ring.current

    def __repr__(self) -> str:
        return f"Sealer({self.ring!r})"


def _number(blob: bytes) -> int:
    return int.from_bytes(blob[1:HEAD_OCTETS], "big")


def _aes(key: bytes) -> AESGCM:
    # Imported at the first secret: it takes a third of a short command's time.
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key)
