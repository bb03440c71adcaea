"""Alerts to the operator's own server: one signed JSON POST for each event that somebody may have
to act on.

Promises: in the order of the events, one at a time, each until it was answered 2xx; so a slow or
dead receiver delays alerts and nothing else. An alert may come twice (a lost answer, a kill before
the cursor was written): `webhook-id` is the same then. What no receiver took for three days, or one
refused for what it is, is let go of with a line in the log. Redirects are not followed; of an
answer only the status is read. Knows nothing of mail.
"""

from __future__ import annotations

import asyncio
import datetime
import json
from pathlib import Path

import aiohttp
import msgspec

from waypost.clock import Clock
from waypost.core.errors import Secret
from waypost.core.event import Kind
from waypost.log import get
from waypost.store.keep.outbox import Outbox, Told
from waypost.watch.tell import signing

TOLD = frozenset(kind.value for kind in Kind) - {
    Kind.MESSAGE_FAILED.value,  # of mail the log tells, and the account's own notices
    Kind.MESSAGE_UNCERTAIN.value,
}
AT_ONCE = 200
TRY_S = 15.0
CONNECT_S = 10.0
BACK_OFF_S = (1.0, 5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0)  # the last repeats
JITTER = 0.2
GIVE_UP_MS = 3 * 86_400_000
REFUSED = frozenset({400, 405, 406, 409, 411, 413, 415, 422, 431})
"""The receiver does not want this very alert: it is let go of after some tries, others go on."""
REFUSED_TRIES = 4
KEPT_STEP = 500  # events passed over before the cursor is written
TEXT_CHARACTERS = 1_000


class Target(msgspec.Struct, frozen=True):
    """Where alerts go and how they are signed."""

    url: str
    secret: Secret


class Alerts:
    """Ask `step` now and then, from one worker. `target` None is nowhere; it may change. `try_s`:
    how long one try may take, from the look-up of the name to the status."""

    def __init__(
        self,
        data: Path,
        hostname: str,
        target: Target | None,
        clock: Clock,
        try_s: float = TRY_S,
    ) -> None:
        self._try_s = try_s
        self._target = target
        self._hostname = hostname
        self._clock = clock
        self._outbox = Outbox(data)
        self._began_ms = clock.wall_ms()
        self._cursor: int | None = None
        self._kept = 0
        self._tries = 0
        self._not_before_s = 0.0

    @property
    def target(self) -> Target | None:
        return self._target

    @target.setter
    def target(self, target: Target | None) -> None:
        if target != self._target:
            # What another receiver was waited for is nothing to this one.
            self._target, self._tries, self._not_before_s = target, 0, 0.0

    async def step(self) -> int:
        """Tells what is to be told; how much that was. Raises `StoreAway`."""
        target = self._target
        if target is None:
            return 0
        if self._clock.monotonic() < self._not_before_s:
            return 0
        if self._cursor is None:
            self._cursor = self._kept = await asyncio.to_thread(self._outbox.begin, self._began_ms)
        found = await asyncio.to_thread(self._outbox.following, self._cursor, AT_ONCE)
        told = 0
        for event in found:
            if event.kind in TOLD:
                if not await self._told(event, target):
                    return told
                told += 1
                await self._keep(event.id)
            self._cursor = event.id
        if self._cursor - self._kept >= KEPT_STEP:
            await self._keep(self._cursor)
        return len(found)

    async def _keep(self, cursor: int) -> None:
        await asyncio.to_thread(self._outbox.move, cursor)
        self._kept = cursor

    async def _told(self, event: Told, target: Target) -> bool:
        """Whether nothing more is to be done about it."""
        if self._clock.wall_ms() - event.at > GIVE_UP_MS:
            get("alerts").error("alert_dropped", kind=event.kind, text=event.text, why="too old")
            return True
        status, why = await self._post(event, target)
        if 200 <= status < 300:
            self._tries = 0
            return True
        self._tries += 1
        refused = status in REFUSED and self._tries >= REFUSED_TRIES
        line = get("alerts").error if refused else get("alerts").warning
        line("alert_refused" if refused else "alert_put_off", kind=event.kind, why=why)
        if refused:
            self._tries = 0
            return True
        wait_s = BACK_OFF_S[min(self._tries, len(BACK_OFF_S)) - 1]
        wait_s *= 1 + JITTER * self._clock.chance()
        self._not_before_s = self._clock.monotonic() + wait_s
        return False

    async def _post(self, event: Told, target: Target) -> tuple[int, str]:
        """(status, what to say of it); status 0: there was no answer."""
        body = payload(event, self._hostname)
        now_s = self._clock.wall_ms() // 1000
        said = signing.headers(target.secret, ident(event), now_s, body)
        said["content-type"] = "application/json"
        limits = aiohttp.ClientTimeout(total=self._try_s, connect=CONNECT_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=limits, cookie_jar=aiohttp.DummyCookieJar()) as web,
                web.post(target.url, data=body, headers=said, allow_redirects=False) as answer,
            ):
                return answer.status, f"the receiver answered {answer.status}"
        except TimeoutError:
            return 0, f"no answer within {self._try_s:g} s"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # Other errors may repeat the address, and addresses of alerts often hold a secret.
            return 0, f"{type(error).__name__}{f': {error}' if isinstance(error, OSError) else ''}"


def ident(event: Told) -> str:
    """The name of an alert, the same at every try."""
    return f"event_{event.at:x}_{event.id}"


def payload(event: Told, hostname: str) -> bytes:
    """The JSON of an alert: what happened, when, and to whom."""
    at = datetime.datetime.fromtimestamp(event.at / 1000, datetime.UTC)
    told = {
        "type": event.kind,
        "timestamp": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "data": {
            "text": event.text[:TEXT_CHARACTERS],
            "relay": hostname,
            "account": event.account,
            "upstream": event.upstream,
            "host": event.host,
            "fallback": event.fallback,
            "sender": event.sender,
        },
    }
    return json.dumps(told).encode()
