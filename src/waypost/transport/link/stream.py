"""The octets of one session with an upstream: a protocol around the dialogue.

Promises that every wait has an end, that a peer that does not read stops the writer, and that a
connection which says anything unasked while idle is closed. Knows nothing of what answers mean.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import cast

import msgspec

from waypost.core.reply import Stage
from waypost.transport.trouble import Garbled, Lost, Silent
from waypost.wire.client import ClientSession
from waypost.wire.events import Broken, ClientEvent, QuitDone, Unasked

_TICK_S = 5.0  # how late a time-out of minutes may be noticed
_HIGH_WATER_OCTETS = 262_144  # unsent octets that stop the writer
_ENDINGS = (Broken, Unasked, QuitDone)


class Timeouts(msgspec.Struct, frozen=True):
    """Seconds, RFC 5321 4.5.3.2. `reply_s`: greeting to RCPT; `block_s`: to take a block."""

    connect_s: float = 30.0
    reply_s: float = 300.0
    data_s: float = 120.0
    block_s: float = 180.0
    dot_s: float = 600.0

    def of(self, stage: Stage) -> float:
        if stage is Stage.DOT:
            return self.dot_s
        return self.data_s if stage is Stage.DATA else self.reply_s


class Stream(asyncio.Protocol):
    """One connection. `event` waits for the dialogue's next event, `flush` sends what it says."""

    def __init__(
        self, session: ClientSession, timeouts: Timeouts, monotonic: Callable[[], float]
    ) -> None:
        self.session = session
        self.transport: asyncio.Transport | None = None
        self.carried = 0  # messages that were tried on it
        self.on_end: Callable[[], None] | None = None  # told once when it ends while idle
        self._timeouts = timeouts
        self._monotonic = monotonic
        self._loop = asyncio.get_running_loop()
        self._events: deque[ClientEvent] = deque()
        self._waiter: asyncio.Future[ClientEvent] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._paused = False
        self._lost: Lost | None = None
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    @property
    def usable(self) -> bool:
        return self._lost is None and self.session.usable

    @property
    def pending(self) -> bool:
        """Whether an event waits to be taken."""
        return bool(self._events)

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)  # uvloop has its own class
        self.transport = transport
        transport.set_write_buffer_limits(high=_HIGH_WATER_OCTETS)

    def data_received(self, data: bytes) -> None:
        if self._lost is not None:
            return
        if self.on_end is not None:
            self.fail(Lost(Stage.IDLE, "the upstream spoke while nothing was asked"))
            return
        events = self.session.receive(data)
        self.flush()
        if events:
            self._events += events
            self._hand_over()
        elif data.endswith(b"\n"):
            self._deadline = self._monotonic() + self._timeouts.of(self.session.stage)

    def connection_lost(self, exc: Exception | None) -> None:
        why = "the upstream closed the connection"
        self.fail(Lost(self.session.stage, f"{why} ({exc})" if exc else why))

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    # What a courier calls.

    def flush(self) -> None:
        """Sends what the dialogue has to say."""
        out = self.session.take_output()
        if out and self.transport is not None and not self.transport.is_closing():
            self.transport.write(out)

    async def event(self) -> ClientEvent:
        """The next event; raises `Lost` where the connection ends or the stage's time is over."""
        if not self._events:
            if self._lost is not None:
                raise self._lost
            self._waiter = self._loop.create_future()
            self._arm(self._timeouts.of(self.session.stage))
            try:
                event = await self._waiter
            finally:
                self._waiter = None
        else:
            event = self._events.popleft()
        if isinstance(event, _ENDINGS):
            raise self._ended_by(event)
        return event

    async def drain(self) -> None:
        """Until the peer has taken enough of what was written; raises `Lost`."""
        if self._lost is not None:
            raise self._lost
        if not self._paused:
            return
        self._drained = self._loop.create_future()
        self._arm(self._timeouts.block_s)
        try:
            await self._drained
        finally:
            self._drained = None

    def fail(self, error: Lost) -> None:
        """Ends the connection now; whoever waits is told `error`. Only the first failure counts."""
        if self._lost is not None:
            return
        self._lost = error
        if self._timer is not None:
            self._timer.cancel()
        for waiter in (self._waiter, self._drained):
            if waiter is not None and not waiter.done():
                waiter.set_exception(error)
        if self.transport is not None:
            self.transport.abort()
        if self.on_end is not None:
            self.on_end()

    def close(self) -> None:
        """Says QUIT where it may, and ends without waiting for the answer."""
        if self._lost is not None:
            return
        if self.session.usable:
            self.session.quit()
            self.flush()
        self._lost = Lost(Stage.QUIT, "closed by us")
        if self._timer is not None:
            self._timer.cancel()
        if self.transport is not None:
            self.transport.close()

    # Within.

    def _hand_over(self) -> None:
        waiter, drained = self._waiter, self._drained
        if waiter is not None and not waiter.done():
            waiter.set_result(self._events.popleft())
        elif drained is not None and not drained.done():
            drained.set_result(None)  # answered before the end: nothing more needs to be sent

    def _ended_by(self, event: Broken | Unasked | QuitDone) -> Lost:
        if isinstance(event, Broken):
            error: Lost = Garbled(event.error.stage, event.error.public)
        else:
            error = Lost(self.session.stage, "the upstream ended the session")
        self.fail(error)
        return error

    def _arm(self, seconds: float) -> None:
        now = self._monotonic()
        self._deadline = now + seconds
        # One timer that looks now and then costs less than one that is set for every answer.
        if self._timer is not None:
            if self._timer_at <= self._deadline:
                return
            self._timer.cancel()
        self._set_timer(min(seconds, _TICK_S))

    def _set_timer(self, seconds: float) -> None:
        self._timer_at = self._monotonic() + seconds
        self._timer = self._loop.call_later(seconds, self._tick)

    def _tick(self) -> None:
        self._timer = None
        # One that was told in this very round still looks as if it waited: after a stall of this
        # process the answer and the end of its time are seen together.
        if all(waiter is None or waiter.done() for waiter in (self._waiter, self._drained)):
            return
        left = self._deadline - self._monotonic()
        if left <= 0:
            self.fail(Silent(self.session.stage, "no answer in time"))
        else:
            self._set_timer(min(left, _TICK_S))
