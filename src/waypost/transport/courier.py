"""Who carries the mail of one upstream: its connections, its ready messages, its health.

States, as its `health` says them:

    ok       up to the allowed connections carry what is ready; the first of them opens alone
    failing  nothing is carried; when a probe is due, one login (trouble up to AUTH) or one message
    paused   the same, but that a person paused it: then not even a probe
    stopped  nothing is taken; what is on the wire goes on

Promises that each message it was given ends in one record or one release, that the upstream's
limits of connections, messages a connection and a minute hold, and that no connection outlives its
edition of the settings. Knows nothing of other upstreams or of what the store holds.
"""

from __future__ import annotations

import asyncio

import msgspec

from waypost import log
from waypost.core.errors import WaypostError
from waypost.core.message import Parcel
from waypost.core.reply import Stage
from waypost.core.upstream import Upstream
from waypost.transport import attempt, health, trouble
from waypost.transport.flow.idle import Idle
from waypost.transport.flow.office import Office, Superior
from waypost.transport.flow.window import SOON_S, Pace, Window
from waypost.transport.link.stream import Stream
from waypost.transport.trouble import Scope, Stopped, TransportError, Trouble

MANY_CONNECTIONS = 100  # where the upstream sets no limit
AGAIN_MS = 60_000  # a message that one connection too many was refused for
SILENT_S = 10.0  # to open a connection: if no other was answered meanwhile, none of them works
OUTSTANDING = 1_000  # outcomes that are not on disk yet: more, and nobody takes another message


class Courier:
    """Of one upstream. All methods on the event loop; none waits but `ended`."""

    def __init__(self, upstream: Upstream, office: Office, superior: Superior) -> None:
        self.upstream = upstream
        self.connections = upstream.limits.connections or MANY_CONNECTIONS
        self.condition = health.Condition(upstream, office.clock, self._tell)
        self.window = Window()
        self.behind = False  # the store holds more that is due; set by the dispatcher
        self._office = office
        self._superior = superior
        self._contexts = office.dialer.contexts()
        self._pace = Pace(upstream.limits.per_minute, self._pace_over)
        self._tasks: set[asyncio.Task[None]] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._idle = Idle()
        self._flying: dict[Stream, Parcel] = {}
        self._signed = 0
        self._probing: asyncio.Task[None] | None = None
        self._heard_s = 0.0  # when the upstream last answered to the end of what was asked
        self._stopping = False

    # What the dispatcher asks.

    @property
    def able(self) -> bool:
        return self.condition.ok and not self._stopping

    @property
    def busy(self) -> int:  # connections, those that are being opened too
        return len(self._tasks)

    @property
    def quiet(self) -> bool:
        """Nothing of it is on the wire, and nothing about to be."""
        probing = self._probing is not None
        return not (self._flying or self._opening or probing or self.window.ready)

    def has_room_for(self, account_id: int) -> bool:
        """Whether a fresh message of this account is taken straight from its commit."""
        flying = len(self._flying)
        soon = not self._pace.rests(self._office.clock.monotonic(), SOON_S)
        return self.able and soon and self.window.admits(account_id, self.connections, flying)

    def room_for(self, account_id: int, now_ms: int) -> int:
        """How many waiting messages of this account may be claimed for it now."""
        if self._stopping or self._pace.rests(self._office.clock.monotonic(), SOON_S):
            return 0
        if not self.able:
            by_message = not self.condition.by_login and not self.window.ready
            return 1 if by_message and self._probe_due(now_ms) else 0
        return self.window.room_for(account_id, self.connections)

    @property
    def takes_some(self) -> bool:
        """Whether it is worth looking what waits for it."""
        return self.able or (not self.condition.by_login and self._probe_due(self._now()))

    def next_probe_ms(self) -> int:
        """When it is to be looked at again while it is not able; 0: not by itself."""
        known = self.condition.health
        return 0 if self.able or self._probing is not None else known.probe_at_ms

    def waits(self) -> tuple[str, int]:
        """Why a message cannot be tried now, and when it can be, for whoever waits for it."""
        if self.able:
            rest_ms = int(self._pace.wait_s(self._office.clock.monotonic()) * 1000)
            return "waiting for a free connection", self._now() + rest_ms
        known = self.condition.health
        return known.reason or "the upstream is paused", known.probe_at_ms

    # What the dispatcher tells.

    def add(self, parcel: Parcel) -> None:
        """A claimed message: it is carried, or released when the upstream cannot."""
        if self.able or (self._probing is not None and not self._stopping):
            self.window.push(parcel)
            self._kick()
        elif self._probe_due(self._now()):
            self.window.push(parcel)
            self._start_probe()
        else:
            self._put_back(parcel)

    def tick(self, now_ms: int) -> None:
        """Starts the login that is due, if one is."""
        probe = self.condition.by_login and self._probe_due(now_ms)
        if (probe or (self.able and self.condition.check_due(now_ms))) and not self._tasks:
            self._start_probe()

    def update(self, upstream: Upstream) -> None:
        """The settings as the store has them now."""
        edited = upstream.edition != self.upstream.edition
        if not edited and not upstream.pin and self.upstream.pin:
            upstream = msgspec.structs.replace(upstream, pin=self.upstream.pin)
        self.upstream = upstream
        self.connections = upstream.limits.connections or MANY_CONNECTIONS
        if edited:
            self._contexts = self._office.dialer.contexts()
            self._pace = Pace(upstream.limits.per_minute, self._pace_over)
            self._idle.wake_all()
        if not self.condition.see(upstream):
            return
        if self.able:
            self._kick_all()
        else:
            self._release_window(self.condition.health.reason)
            self._idle.wake_all()

    def wind_down(self) -> None:
        """Takes nothing more, releases what no connection has; what is on the wire goes on."""
        self._stopping = True
        for task in self._opening:
            task.cancel()
        self._release_window("the relay stopped")
        self._idle.wake_all()

    def cut(self, hard: bool = False) -> None:
        """Ends what is still on the wire; `hard`: and connections that wait for us ourselves."""
        for stream in list(self._flying):
            stream.fail(Stopped(stream.session.stage, "the relay stopped"))
        for task in self._tasks if hard else ():
            task.cancel()

    async def ended(self) -> None:
        """Until no connection is left."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    # Connections.

    def _now(self) -> int:
        return self._office.clock.wall_ms()

    def _probe_due(self, now_ms: int) -> bool:
        free = self._probing is None and not self._stopping
        return free and self.condition.probe_due(now_ms)

    def _allowed(self) -> int:
        return self.condition.allowed(self.connections)

    def _kick(self) -> None:
        """Sees that as many connections work as there is work for."""
        if not self.able or not self.window.ready:
            return
        if self._idle:
            self._idle.wake_one()
            return
        if self._pace.rests(self._office.clock.monotonic(), self._office.idle_s):
            return
        # Until one has signed in the next might fail alike: an upstream that is down costs one try.
        opening = len(self._opening)
        limit = self._allowed() if self._signed else 1
        if len(self._tasks) < self._allowed() and opening < min(limit, self.window.ready):
            self._spawn(probe=False)

    def _kick_all(self, served: int = 0) -> None:
        for _ in range(min(self.window.ready - served, self._allowed())):
            self._kick()

    def _pace_over(self) -> None:
        self._kick_all()
        self._superior.hungry()

    def _start_probe(self) -> None:
        self._probing = self._spawn(probe=True)

    def _spawn(self, probe: bool) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(self._connection(probe))
        self._tasks.add(task)
        self._opening.add(task)
        task.add_done_callback(self._gone)
        return task

    def _gone(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._opening.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.get("transport").error("connection_task", upstream=self.upstream.name, error=error)
            known = Trouble(Stage.CONNECT, Scope.UPSTREAM_FAILING, "trouble of our own")
            self._suffer(known, self._signed)
        if self.window.ready and not self.able and self._probing is None:
            self._release_window(self.condition.health.reason)
        self._kick()
        self._ask_for_more()

    def _ask_for_more(self) -> None:
        """Only where there is more: a look at the store for each message would be dear."""
        if self.behind or not self.condition.ok:
            self._superior.hungry()

    async def _connection(self, probe: bool) -> None:
        """The life of one connection: sign in, carry while there is work, idle, end."""
        stream: Stream | None = None
        edition = self.upstream.edition
        try:
            stream = await self._sign_in()
            if stream is None:
                return
            self._opened(probe)
            one = probe
            while (parcel := await self._next(stream, edition, one)) is not None:
                one = False
                stream = await self._carry(stream, parcel)
                if stream is None or not stream.usable:
                    return
        finally:
            if stream is not None:
                self._signed -= 1
                self._look_back(stream)
                stream.close()
            if probe:
                self._probing = None

    def _look_back(self, stream: Stream) -> None:
        """A connection that the upstream ended before it took anything counts as a lost one."""
        if self.window.ready and self.able and not stream.carried and not stream.usable:
            known = Trouble(Stage.MAIL, Scope.MESSAGE, "the upstream ended the session")
            if (row := self.condition.lost(known)) is not None:
                self._suffer(row, self._signed - 1)

    def _opened(self, probe: bool) -> None:
        self._signed += 1
        self._heard_s = self._office.clock.monotonic()
        if probe and (self.condition.by_login or self.condition.ok):
            self._recovered()
        self._kick_all(served=1)

    async def _sign_in(self) -> Stream | None:
        """A connection, or None once the trouble was dealt with."""
        upstream, task = self.upstream, asyncio.current_task()
        assert task is not None
        self._opening.add(task)  # anew, where a kept connection was no longer good
        began_s = self._office.clock.monotonic()
        try:
            signed = await self._office.dialer.sign_in(upstream, self._contexts)
        except TransportError as error:
            waited_s = self._office.clock.monotonic() - began_s
            silent = waited_s > SILENT_S and self._heard_s < began_s
            known = trouble.of_exception(error.stage, error)
            self._suffer(known, 0 if silent else self._signed)
            return None
        finally:
            self._opening.discard(task)
        if signed.pin and upstream.edition == self.upstream.edition:
            self.upstream = msgspec.structs.replace(self.upstream, pin=signed.pin)
            ident, edition, pin = upstream.id, upstream.edition, signed.pin
            self._office.records.keep(lambda: self._office.store.pin(ident, edition, pin))
        return signed.stream

    async def _next(self, stream: Stream, edition: int, one: bool) -> Parcel | None:
        """The next message for this connection; None: it is to end."""
        office = self._office
        while self._goes_on(stream, edition, one):
            if office.records.outstanding > OUTSTANDING:
                await office.records.settled()
            if self._pace.limited and self.window.ready:
                wait_s = self._pace.wait_s(office.clock.monotonic())
                if wait_s > office.idle_s:
                    return None
                if wait_s > 0:
                    await self._idle.rest(stream, wait_s)
                    continue
            parcel = self.window.pop()
            if self.behind and self.window.ready <= self.connections // 2:
                self._superior.hungry()
            if parcel is None:
                if not await self._idle.rest(stream, office.idle_s):
                    return None
            elif self._superior.may_go(parcel, self.upstream.id):
                if self._pace.limited:
                    self._pace.start(office.clock.monotonic())
                return parcel
            else:
                self._put_back(parcel)
                if one:
                    return None
        return None

    def _goes_on(self, stream: Stream, edition: int, one: bool) -> bool:
        if self._stopping or edition != self.upstream.edition or not stream.usable:
            return False
        limit = self.upstream.limits.per_connection
        if limit and stream.carried >= limit:
            return False
        if self._signed > self.condition.allowed(self.connections):
            return False
        return self.able or one

    # Messages.

    async def _carry(self, stream: Stream, parcel: Parcel) -> Stream | None:
        """Tries one message; gives the connection to go on with."""
        outcome = await self._try(stream, parcel)
        if outcome is not None and outcome.stale:
            # The server had ended a kept connection: that says nothing about the message.
            stream.close()
            self._signed -= 1
            fresh: Stream | None = None
            try:
                fresh = await self._sign_in() if self.able else None
            finally:
                self._signed += 1  # of the fresh one, or of what the end of this one takes off
                if fresh is None:
                    self._put_back(parcel)
            if fresh is None:
                return stream
            stream = fresh
            self._kick_all()  # for what came meanwhile
            outcome = await self._try(stream, parcel)
        if outcome is not None:
            self._finish(parcel, outcome)
        return stream

    async def _try(self, stream: Stream, parcel: Parcel) -> attempt.Outcome | None:
        """What a try came to; None where it broke for a reason of ours: then it is released."""
        deed = attempt.Try(stream, parcel, self.upstream, self._office.data, lambda: self._stopping)
        self._flying[stream] = parcel
        try:
            return await deed.run()
        except BaseException as error:
            dead = Stopped(Stage.DATA, "trouble of our own")
            stream.fail(dead)
            self._delay(parcel)
            if not isinstance(error, Exception):
                raise
            text = error.private if isinstance(error, WaypostError) else repr(error)
            log.get("transport").error("try_broke", upstream=self.upstream.name, error=text)
            return None
        finally:
            self._flying.pop(stream, None)

    def _finish(self, parcel: Parcel, outcome: attempt.Outcome) -> None:
        """Health and holds first, so that the record can say when the next try is."""
        office, upstream, known = self._office, self.upstream, outcome.trouble
        now_ms = self._now()
        due_ms = now_ms + (AGAIN_MS if outcome.stopped and not self._stopping else 0)
        if known is not None and known.scope is Scope.SENDER_HELD:
            self._superior.hold(parcel, known, upstream)
        elif known is not None:
            due_ms = self._suffer(known, self._signed - 1)
        if not outcome.stopped and (row := self.condition.lost(outcome.lost)) is not None:
            self._suffer(row, self._signed - 1)
        if outcome.lost is None:
            self._heard_s = office.clock.monotonic()
        if outcome.accepted:
            # For some of its recipients: what the others were refused for stands.
            if known is None or not known.upstream:
                self._recovered()
            if known is None:
                self._superior.passed(parcel, upstream)
        elif not self.condition.ok and known is None and outcome.lost is None:
            self.condition.probe_again()
        when = (now_ms, office.clock.chance(), due_ms, self.condition.health.probe_at_ms)
        record = attempt.report(parcel, upstream, outcome, office.rules, when)
        office.records.record(record)
        if record.next_ms:
            self._superior.due_at(record.next_ms)

    def _put_back(self, parcel: Parcel) -> None:
        """Released untried, in its place in the order."""
        hint, next_ms = self.waits()
        self._office.store.no_try(parcel.id, hint, next_ms)
        self._office.records.release(parcel, parcel.due_ms, "" if self.able else hint)

    def _delay(self, parcel: Parcel) -> None:
        now_ms = self._now()
        self._office.store.no_try(parcel.id, "temporary trouble", now_ms + AGAIN_MS)
        self._office.records.release(parcel, now_ms + AGAIN_MS, "temporary trouble")

    def _release_window(self, reason: str) -> None:
        for parcel in self.window.drain():
            self._office.store.no_try(parcel.id, reason, self.condition.health.probe_at_ms)
            self._office.records.release(parcel, parcel.due_ms, reason)

    # Health.

    def _recovered(self) -> None:
        if self.condition.recover(probe=asyncio.current_task() is self._probing):
            self._superior.hungry()

    def _suffer(self, known: Trouble, others: int) -> int:
        """Trouble of the upstream's while `others` of its connections work; when a message that it
        hit is due again."""
        by = asyncio.current_task()
        if not self.condition.suffer(known, others, by is None or by is self._probing):
            return self._now() + AGAIN_MS
        self._release_window(self.condition.health.reason)
        self._idle.wake_all()
        return self._now()  # what keeps it waiting is the upstream's state, which may end any time

    def _tell(self, change: health.Change) -> None:
        store, ident, edition = self._office.store, self.upstream.id, self.upstream.edition

        def ask() -> asyncio.Future[None]:
            kept = store.health(ident, edition, change.health, change.event)
            kept.add_done_callback(lambda _: self.condition.kept(change.health))
            return kept

        self._office.records.keep(ask)
