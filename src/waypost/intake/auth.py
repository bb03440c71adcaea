"""Who is there: a key known by the SHA-256 of its secret, and the slowing down of those who guess.

Promises that a right key is let in at once whatever its address did before, that a wrong one is
answered ever later, and that no secret is kept, compared character by character, or shown. Knows
nothing of sessions and sockets.
"""

from __future__ import annotations

import collections
import hashlib
import ipaddress

import msgspec

from waypost.core.errors import Secret
from waypost.core.facts import Directory, Key
from waypost.core.verdict import AUTH_REFUSED, Reason
from waypost.intake.bounds import ADDRESS_BUCKETS, Shared, bucket_of, rows_of

DELAY_FIRST_S = 1.0
DELAY_MOST_S = 10.0
FORGET_S = 900.0  # an address that was quiet for a quarter of an hour starts anew
ADDRESSES = 10_000  # remembered at most; the longest quiet ones are forgotten first
IPV6_PREFIX_BITS = 64  # one customer has a whole one, so that is what counts as an address

_WORDS = {
    Reason.KEY_UNKNOWN: "Authentication failed: this key is not known, check that it is complete",
    Reason.KEY_DISABLED: "Authentication failed: this key is disabled",
    Reason.ACCOUNT_DISABLED: "Authentication failed: the account of this key is disabled",
}


class AuthRefusal(msgspec.Struct, frozen=True):
    """A key that is not let in. `known` is the key that was disabled, None for an unknown one."""

    reason: Reason
    known: Key | None

    @property
    def smtp_line(self) -> str:
        """The answer to AUTH, without CR LF."""
        code, enhanced = AUTH_REFUSED
        return f"{code} {enhanced} {_WORDS[self.reason]}"


def admit(directory: Directory, secret: Secret) -> Key | AuthRefusal:
    """The key that this secret is, if it and its account are enabled.

    An unknown secret costs the same look-up of the same digest as a known one.
    """
    octets = secret.reveal().encode("utf-8", "surrogateescape")
    key = directory.key_by_digest(hashlib.sha256(octets).digest())
    if key is None:
        return AuthRefusal(Reason.KEY_UNKNOWN, None)
    reason = dead(directory, key.id)
    return key if reason is None else AuthRefusal(reason, key)


def dead(directory: Directory, key_id: int) -> Reason | None:
    """Why this key may not be used any more, or None."""
    key = directory.keys.get(key_id)
    if key is None:
        return Reason.KEY_UNKNOWN
    if not key.enabled:
        return Reason.KEY_DISABLED
    account = directory.accounts.get(key.account_id)
    return None if account is not None and account.enabled else Reason.ACCOUNT_DISABLED


def withdrawn(directory: Directory, key: Key) -> Reason | None:
    """Why who showed this key before may not use it any more: dead, or given a new secret."""
    reason = dead(directory, key.id)
    if reason is None and directory.keys[key.id].digest != key.digest:
        return Reason.KEY_UNKNOWN
    return reason


def guesses_octets(workers: int) -> int:
    """How many octets of shared memory `Throttle` needs."""
    return workers * 2 * ADDRESS_BUCKETS * 4


class Throttle:
    """How often each address came with a wrong key lately, to any worker. Bounded, and it forgets.

    Each worker writes its own row of the shared memory only: how often, and when last (seconds of
    the one clock that never goes back). There, two addresses may be counted as one.
    """

    def __init__(self, shared: Shared | None = None, worker: int = 0) -> None:
        self._seen: collections.OrderedDict[str, tuple[int, float]] = collections.OrderedDict()
        octets = shared if shared is not None else bytearray(guesses_octets(1))
        self._own, self._others = rows_of(octets, 2 * ADDRESS_BUCKETS, worker)

    def failed(self, address: str, now_s: float) -> float:
        """Counts a wrong key; the seconds after which it is answered: 1, 2, 4, 8, 10, 10, …"""
        place = _place(address)
        times, last_s = self._seen.pop(place, (0, now_s))
        times = 1 if now_s - last_s > FORGET_S else times + 1
        self._seen[place] = (times, now_s)
        while len(self._seen) > ADDRESSES:
            self._seen.popitem(last=False)
        times += self._elsewhere(place, times, now_s)
        return float(min(DELAY_FIRST_S * 2 ** min(times - 1, 10), DELAY_MOST_S))

    def _elsewhere(self, place: str, times: int, now_s: float) -> int:
        """How often the other workers saw it lately; tells them how often this one did."""
        bucket = 2 * bucket_of(place)
        self._own[bucket], self._own[bucket + 1] = min(times, 1000), int(now_s)
        return sum(row[bucket] for row in self._others if abs(now_s - row[bucket + 1]) <= FORGET_S)

    def __len__(self) -> int:
        return len(self._seen)


def _place(address: str) -> str:
    try:
        read = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(read, ipaddress.IPv4Address):
        return address
    if read.ipv4_mapped is not None:
        return str(read.ipv4_mapped)
    return str(ipaddress.ip_network((read, IPV6_PREFIX_BITS), strict=False))
