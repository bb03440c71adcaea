"""One worker's place among several: what it shares with the others, and how it hears them.

Promises that what others say reaches whoever it is for, that the claims of a worker that died are
taken over, and that one worker alone does what is to be done once. Knows nothing of how workers are
started. Where one process serves there is no seat.
"""

from __future__ import annotations

import asyncio
import mmap

import msgspec

from waypost.clock import Clock
from waypost.core.errors import StoreAway
from waypost.intake.certificate import Certificate
from waypost.log import get
from waypost.store.several.crew import Crew
from waypost.store.sqlite.engine import Engine
from waypost.transport.dispatch import Dispatcher

BEAT_S = 1.0
ADOPT_BEATS = 15  # between looks for claims of the dead, should nobody have told us
NO_ROOM = "waiting for a free connection"


class Seat(msgspec.Struct, frozen=True):
    """What a worker is given. `certificate` was made before the fork, so that a session that began
    with one worker is resumed by another; `sessions` is the memory for `SessionCaps`, `guesses`
    that for `Throttle`."""

    crew: Crew
    certificate: Certificate
    sessions: mmap.mmap
    guesses: mmap.mmap

    @property
    def number(self) -> int:
        return self.crew.number

    @property
    def workers(self) -> int:
        return self.crew.ground.workers


class Hearing:
    """The ears and the heart of one worker, from `start` to `stop`, on the loop."""

    def __init__(self, crew: Crew, engine: Engine, dispatcher: Dispatcher, clock: Clock) -> None:
        self._crew = crew
        self._engine = engine
        self._dispatcher = dispatcher
        self._clock = clock
        self._beats = 0
        self._timer: asyncio.TimerHandle | None = None
        self._adopting: asyncio.Task[None] | None = None
        self._ended = False

    def start(self) -> None:
        """This worker is there: its upstreams come to it."""
        self._crew.listen(self, self._engine.ring)
        self._crew.ground.set_up(self._crew.number, True)
        self._crew.tell_changed()
        self._beat()

    def leave(self) -> None:
        """It is about to end: others may have its upstreams as they fall free."""
        self._crew.ground.set_up(self._crew.number, False)
        self._crew.tell_changed()

    async def stop(self) -> None:
        """Takes nothing more over. The heart goes on until the process ends, and the ears until
        the crew is closed: calls may still wait for what another worker delivers."""
        self._ended = True
        if self._adopting is not None:
            self._adopting.cancel()
            await asyncio.wait({self._adopting})

    # What others say.

    def work(self, message_id: int, sender_id: int, account_id: int) -> None:
        self._dispatcher.work(message_id, sender_id, account_id)

    def ended(self, message_id: int) -> None:
        self._engine.elsewhere(message_id)

    def no_try(self, message_id: int) -> None:
        self._engine.no_try(message_id, NO_ROOM, self._clock.wall_ms())

    def changed(self) -> None:
        self._dispatcher.changed()
        self._adopt()

    def broken(self) -> None:
        self._engine.stop()

    # Now and then.

    def _beat(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(BEAT_S, self._beat)
        self._crew.ground.beat(self._crew.number)
        self._beats += 1
        if self._beats % ADOPT_BEATS == 0:
            self._adopt()

    def _adopt(self) -> None:
        first = self._crew.owner_of(0) == self._crew.number  # one of those that are up is enough
        if first and self._adopting is None and not self._ended:
            self._adopting = asyncio.get_running_loop().create_task(self._take_over())

    async def _take_over(self) -> None:
        try:
            await self._engine.adopt(self._clock.wall_ms())
        except StoreAway as away:
            get("seat").warning("claims_not_taken_over", reason=away.private)
        finally:
            self._adopting = None
