"""Who calls: the key of a call, and what it may still do.

Promises that a right key is let in at once, that a wrong one is answered ever later, as at AUTH,
and that no secret is in an answer or a log. For every route that a key opens, also those of other
folders. Knows nothing of bodies and of messages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec

from waypost.clock import Clock
from waypost.core.errors import Secret, StoreAway
from waypost.core.facts import Key
from waypost.core.verdict import TABLE, Reason
from waypost.intake.accept import AWAY, Door
from waypost.intake.auth import Throttle, admit
from waypost.intake.http.draft import Refused
from waypost.policy.judge import rate_per_minute
from waypost.store.contract import RelayStore
from waypost.web import Failure

WINDOW_S = 60  # behaviour, section 5: a minute
WAITING = 1_000  # wrong keys that are answered late at once; more are answered without delay

_WORDS = {
    Reason.KEY_UNKNOWN: "This key is not known: check that it is complete",
    Reason.KEY_DISABLED: "This key is disabled: enable it or use another",
    Reason.ACCOUNT_DISABLED: "The account of this key is disabled: ask the operator",
}
MISSING = "There is no key: send the header Authorization: Bearer KEY"


class Caller(msgspec.Struct, frozen=True):
    """Whose call it is. `account` is its name."""

    key: Key
    account: str
    peer: str
    tls: bool

    @property
    def account_id(self) -> int:
        return self.key.account_id


class Gate:
    """Lets calls in. `closed` is said to everybody while it is not empty."""

    def __init__(self, door: Door, store: RelayStore, clock: Clock, throttle: Throttle) -> None:
        self.door = door
        self.closed = ""
        self._store = store
        self._clock = clock
        self._throttle = throttle
        self._waiting = 0

    async def caller(self, scope: Mapping[str, Any]) -> Caller:
        """Whose key the `Authorization` header holds. Raises `Failure` 401, 403 or 503."""
        if self.closed:
            raise Failure(503, "UNAVAILABLE", self.closed)
        peer = scope["client"][0] if scope.get("client") else ""
        given = header(scope, b"authorization")
        scheme, _, secret = given.partition(" ")
        if scheme.lower() != "bearer" or not secret.strip():
            raise Failure(401, "UNAUTHORIZED", MISSING, headers={"WWW-Authenticate": "Bearer"})
        try:
            directory = self._store.directory()
            found = admit(directory, Secret(secret.strip()))
            if isinstance(found, Key):
                self._store.used(found.id, self._clock.wall_ms())
                account = directory.accounts[found.account_id].name
                return Caller(found, account, peer, scope.get("scheme") == "https")
        except StoreAway:
            raise Refused(AWAY) from None
        known = found.known
        who = (known.account_id, known.id) if known is not None else (None, None)
        row, text = TABLE[found.reason], _WORDS[found.reason]
        await self.door.note("http", peer, who, "", found.reason, f"{row.http} {row.word} {text}")
        if known is None:
            await self.late(peer)
        headers = {"WWW-Authenticate": "Bearer"} if row.http == 401 else {}
        raise Failure(row.http, row.word, text, headers=headers)

    def limits(self, caller: Caller, wait_s: int | None = None) -> dict[str, str]:
        """The rate of the caller's key as headers, now; `wait_s`: until it may send again.

        `RateLimit` and `RateLimit-Policy` are those of the IETF draft
        (draft-ietf-httpapi-ratelimit-headers), the three others the older form. A window slides, so
        all of it is free a minute after the last message at the latest.
        """
        try:
            directory = self._store.directory()
            most = rate_per_minute(directory, self.door.rules, caller.account_id)
            if not most:
                return {}
            room = self._store.rate_room(caller.key.id, most, self.door.steady.now_ms())
        except StoreAway:
            return {}
        room = 0 if wait_s is not None else room
        reset = wait_s if wait_s is not None else WINDOW_S if room < most else 0
        return {
            "RateLimit": f'"minute";r={room};t={reset}',
            "RateLimit-Policy": f'"minute";q={most};w={WINDOW_S}',
            "ratelimit-limit": str(most),
            "ratelimit-remaining": str(room),
            "ratelimit-reset": str(reset),
        }

    async def late(self, peer: str) -> None:
        """Returns ever later to an address that comes with wrong secrets."""
        delay_s = self._throttle.failed(peer, self._clock.monotonic())
        if self._waiting >= WAITING:
            return
        self._waiting += 1
        try:
            await asyncio.sleep(delay_s)
        finally:
            self._waiting -= 1


def header(scope: Mapping[str, Any], name: bytes) -> str:
    """The value of a request header (name in lower case), or nothing.

    Raises `Failure` 400 where it is there twice with different values: each reader on the way may
    have taken another of them.
    """
    given = {value.decode("latin-1").strip() for found, value in scope["headers"] if found == name}
    if len(given) > 1:
        text = f"The header {name.decode()} is there more than once: send it once"
        raise Failure(400, "INVALID_REQUEST", text)
    return given.pop() if given else ""
