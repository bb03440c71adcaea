"""What every session of a worker shares: the collaborators, the limits, and the count of who is in.

Promises that each session that came in is counted out once, and that strangers, who have not
shown a key, cannot keep everybody else out. Knows nothing of commands and octets.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
from collections.abc import Coroutine
from typing import Any, Protocol

import msgspec

from waypost.clock import Clock
from waypost.intake.accept import Door
from waypost.intake.auth import Throttle
from waypost.intake.bounds import Memory, SessionCaps
from waypost.intake.certificate import Certificate
from waypost.store.contract import RelayStore
from waypost.store.spool import Spool

STRANGERS_PART = 2  # of all sessions, how many may be without a key: one in so many
STRANGERS_ALWAYS = 100  # where the cap on sessions is small, strangers may have all of it
SHUTDOWN_S = 2.0  # for the client's own end of TLS, after which the connection is cut
STRANGER_S = 30.0  # one that is not known after so long makes room for the next


class Patience(msgspec.Struct, frozen=True):
    """How long a session waits for its client. Seconds, and octets a second."""

    idle_s: float = 300.0  # RFC 5321 4.5.3.2.7
    silent_s: float = 180.0  # in DATA without an octet, RFC 5321 4.5.3.2.5
    pace: int = 1024  # octets a second over any minute of DATA, once the first has passed
    data_s: float = 3600.0  # DATA in all
    handshake_s: float = 30.0
    unread_s: float = 60.0  # replies that the client does not read


class Collaborators(msgspec.Struct, frozen=True):
    """Who a session talks to."""

    door: Door
    store: RelayStore
    clock: Clock
    spool: Spool
    certificate: Certificate
    caps: SessionCaps
    memory: Memory
    throttle: Throttle


class Guest(Protocol):
    """A session, as the house sees it."""

    peer: str
    came_s: float

    def sweep(self, now_s: float) -> None:
        """Looks at its time; ends itself where the client used it up."""

    def stop(self, why: str) -> None:
        """Ends now if nothing is in progress, else when that is finished."""

    def abort(self) -> None:
        """Ends at once, without a word."""


class House:
    """The sessions of one worker."""

    def __init__(
        self,
        with_: Collaborators,
        hostname: str,
        sessions: int,
        patience: Patience,
    ) -> None:
        self.with_ = with_
        self.hostname = hostname
        self.patience = patience
        self.now_s = with_.clock.monotonic()
        self.stopping = False
        self._strangers_most = _strangers_most(sessions)
        self._guests: dict[Guest, None] = {}
        self._strangers: collections.OrderedDict[Guest, None] = collections.OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._promises: set[asyncio.Task[None]] = set()
        self._emptied: asyncio.Event | None = None  # made by who waits for it

    def __len__(self) -> int:
        return len(self._guests)

    @property
    def empty(self) -> bool:
        """No session, and no message between its last dot and its answer."""
        return not self._guests and not self._promises

    def limit(self, sessions: int, per_address: int, memory_octets: int) -> None:
        """Other limits from now on; who is in stays."""
        self._strangers_most = _strangers_most(sessions)
        self.with_.caps.limit(sessions, per_address)
        self.with_.memory.limit(memory_octets)

    def full(self, peer: str) -> str | None:
        """Counts a session in, or says why it cannot be let in."""
        why = self.with_.caps.enter(peer)
        if why is None and self.with_.caps.strangers >= self._strangers_most:
            self.with_.caps.leave(peer)
            why = "too many sessions, try again later"
        if why is None:
            return None
        oldest = next(iter(self._strangers), None)
        if oldest is not None and self.now_s - oldest.came_s >= STRANGER_S:
            oldest.stop("421 4.3.2 Too many sessions, and this one has shown no key")
        return why

    def came(self, guest: Guest) -> None:
        """A session that `full` counted in."""
        self._guests[guest] = None
        self._strangers[guest] = None
        self.with_.caps.strange(1)

    def known(self, guest: Guest) -> None:
        """It has shown a key."""
        if guest in self._strangers:
            del self._strangers[guest]
            self.with_.caps.strange(-1)

    def left(self, guest: Guest) -> None:
        """It has ended; may be told again."""
        if guest in self._guests:
            del self._guests[guest]
            self.known(guest)
            self.with_.caps.leave(guest.peer)
            self._tell_if_empty()

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Does it beside everything else: a handshake, a connection."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)  # the loop itself only has a weak reference
        task.add_done_callback(self._tasks.discard)

    def finish(self, work: Coroutine[Any, Any, None]) -> None:
        """Does it to the end, whatever becomes of the session; a stop waits for it."""
        task = asyncio.get_running_loop().create_task(work)
        self._promises.add(task)
        task.add_done_callback(self._finished)

    async def emptied(self, within_s: float) -> None:
        """Waits until the house is empty, at most so long."""
        self._emptied = asyncio.Event()
        self._tell_if_empty()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._emptied.wait()

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._promises.discard(task)
        if self._emptied is not None:
            self._tell_if_empty()

    def _tell_if_empty(self) -> None:
        if self._emptied is not None and self.empty:
            self._emptied.set()

    def sweep(self, now_s: float) -> None:
        """Once a second: time passes for every session."""
        self.now_s = now_s
        for guest in tuple(self._guests):
            guest.sweep(now_s)

    def stop(self) -> None:
        """No new message; sessions end as soon as what they are doing is finished."""
        self.stopping = True
        for guest in tuple(self._guests):
            guest.stop("421 4.3.2 The relay is shutting down, come back later")

    def abort(self) -> None:
        """Whoever is still here goes; accepted messages still get finished by their tasks."""
        for guest in tuple(self._guests):
            guest.abort()


def _strangers_most(sessions: int) -> int:
    return max(sessions // STRANGERS_PART, min(sessions, STRANGERS_ALWAYS))
