"""Builds every object of a relay from a Config and runs it: the only file that sees all folders.

Promises: when `start` returns, all listeners accept; when `stop` returns, nothing that was accepted
is in memory alone. Knows nothing of signals and of the command line.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from waypost import __version__
from waypost.clock import Clock
from waypost.config import Config, Limits
from waypost.core.errors import Secret, StoreAway
from waypost.core.ident import IdentMaker
from waypost.desk import secrets
from waypost.desk.connection.vault import DeskVault
from waypost.desk.domains.daily import Daily
from waypost.desk.office import Desk
from waypost.intake.accept import Door
from waypost.intake.auth import Throttle
from waypost.intake.bounds import Disk, Ground, Memory, SessionCaps, free_octets
from waypost.intake.certificate import CERTIFICATE_FILE, Certificate, made
from waypost.intake.house import Collaborators, House, Patience
from waypost.intake.smtp_server import Listener, SmtpServer
from waypost.listeners import Sockets, places
from waypost.log import get
from waypost.policy.judge import Rules
from waypost.seat import Hearing, Seat
from waypost.store.connect import Paths, make_data
from waypost.store.keep.upkeep import Keep, Upkeep
from waypost.store.locks import Lock, hold_parent, hold_serve, take
from waypost.store.several.owners import Owners
from waypost.store.several.turn import alone
from waypost.store.spool import Spool
from waypost.store.sqlite.ending import Keep as KeepBodies
from waypost.store.sqlite.engine import Engine, open_store
from waypost.transport.dispatch import Dispatcher
from waypost.transport.flow.territory import Territory
from waypost.transport.link.connect import Dialer
from waypost.transport.link.guard import make_guard
from waypost.transport.oauth.tokens import Tokens
from waypost.transport.schedule import QueueRules
from waypost.watch.readiness import Phase, Readiness
from waypost.watch.tell import rounds
from waypost.watch.tell.notices import Notices
from waypost.watch.tell.standing import Standing

if TYPE_CHECKING:
    from waypost.intake.http.routes import Ready
    from waypost.watch.tell.alerts import Alerts
    from waypost.web import WebListener

WORKER = 0
UPKEEP_PAUSE_S = 0.05
UPKEEP_S = 60.0  # between looks for what may go
STOP_S = 30.0  # section 12 of the contract


def make_rules(config: Config) -> Rules:
    """What policy judges by."""
    return Rules(
        hostname=config.hostname,
        recipients=config.limits.recipients,
        message_bytes=config.limits.message_bytes,
        body_bytes=config.limits.body_bytes,
        received=config.received.value,
        bare_newline=config.bare_newline.value,
        rate_per_minute=config.limits.rate_per_minute,
        repeat_window_ms=config.queue.resubmission_ms,
    )


def make_queue_rules(config: Config) -> QueueRules:
    """When mail is tried again, and given up."""
    queue = config.queue
    return QueueRules(queue.retry_ms, queue.give_up_after_ms, queue.hold_max_ms)


def make_keep(config: Config) -> KeepBodies:
    """How long bodies stay."""
    return KeepBodies(config.keep.body_ms, config.keep.failed_body_ms)


def open_engine(config: Config, clock: Clock, worker: int | None, *, serving: bool) -> Engine:
    """The store of that configuration, sealed passwords opened with its key file."""
    sealer = secrets.FileSealer(config.key_file, clock)

    def opened(upstream_id: int, sealed: bytes) -> Secret:
        return sealer.open(sealed, b"upstream:%d:password" % upstream_id)

    engine = open_store(
        config.data,
        clock=clock,
        worker=worker,
        opener=opened,
        global_sender=config.global_sender,
        keep=make_keep(config),
        create=serving,
    )
    engine.damaged.told = lambda text: get("store").error("message_damaged", text=text)
    return engine


def make_desk(config: Config, clock: Clock) -> Desk:
    """The desk of that configuration."""
    return Desk(
        data=config.data,
        clock=clock,
        sealer=secrets.FileSealer(config.key_file, clock),
        key_file=config.key_file,
        key_prefix=config.key_prefix,
        rate_per_minute=config.limits.rate_per_minute,
        global_sender=config.global_sender,
        body_ms=config.keep.body_ms,
        failed_body_ms=config.keep.failed_body_ms,
    )


def load_certificate(config: Config, clock: Clock) -> Certificate:
    """The one that is configured, or the one of the data directory, made where missing."""
    if config.tls.certificate is not None:
        return Certificate(config.tls.certificate, config.tls.key or config.tls.certificate)
    return Certificate(*made(config.data, config.hostname, clock.wall_ms()))


def make_door(config: Config, clock: Clock, engine: Engine) -> Door:
    """The one door of a process."""
    return Door(
        engine,
        make_rules(config),
        IdentMaker(engine.worker, engine.last_id()),
        clock,
        config.inline_wait_s,
        config.data,
        Disk(Ground(config.data, Paths(config.data).database).free),
    )


class App:
    """A relay in this process. `failed` is called once if it can no longer keep its promises."""

    def __init__(
        self,
        config: Config,
        clock: Clock,
        sockets: Sockets,
        failed: Callable[[str], None],
        seat: Seat | None = None,
    ) -> None:
        self._config = config
        self._seat = seat
        self._stop_by_s = float("inf")
        self._leaving: list[Callable[[], None]] = []  # who begins nothing new once it is to stop
        self._housekeeping: Lock | None = None
        self._clock = clock
        self._sockets = sockets
        self._failed = failed
        self._log = get("app")
        self._parts = contextlib.AsyncExitStack()
        self._upkeep_task: asyncio.Task[None] | None = None
        self._readiness: Readiness | None = None
        self._door: Door | None = None
        self._certificate: Certificate | None = None
        self._engine: Engine | None = None
        self._alerts: Alerts | None = None
        self._obeying: list[Callable[[Config], None]] = []  # who takes over what a reload changes

    async def start(self) -> None:
        """Builds all, the store first. Raises `ConfigError`, `StoreAway`, `SchemaTooNew`."""
        config, clock = self._config, self._clock
        self._parts.callback(self._sockets.close)
        if self._seat is None:
            make_data(config.data)
            self._parts.callback(hold_serve(config.data).close)
            self._parts.callback(hold_parent(config.data).close)
            alone(config.data)
        number = WORKER if self._seat is None else self._seat.number
        engine = open_engine(config, clock, number, serving=True)
        self._parts.push_async_callback(engine.close)
        self._obeying.append(lambda now: engine.obey(make_keep(now), now.global_sender))
        if self._seat is not None:
            engine.join(self._seat.crew)
            self._parts.callback(self._seat.crew.close)  # heard until the last call is answered
        disk = Disk(Ground(config.data, Paths(config.data).database).free)
        self._readiness = Readiness(engine.directory, lambda: disk.lacks(clock.monotonic()))
        web, api = self._start_web(self._readiness)
        seat = self._seat
        self._certificate = seat.certificate if seat else load_certificate(config, clock)
        web.start(self._sockets.https, self._certificate)
        await engine.adopt(clock.wall_ms())
        if self._seat is None:
            await engine.sweep_spool()
        dispatcher = await self._start_delivery(engine)
        with_, house = self._start_intake(engine, self._certificate)
        self._start_api(engine, with_, api)
        self._start_metrics(engine, dispatcher, house)
        self._upkeep_task = asyncio.create_task(self._upkeep(engine))
        self._start_telling(engine, with_.door)
        self._readiness.phase = Phase.READY

    @staticmethod
    def preload() -> None:
        """Imports what a start imports late: for a parent whose workers are to share it."""
        from waypost.intake.http import gate, once, routes, send  # noqa: F401
        from waypost.pages import surface  # noqa: F401
        from waypost.web import WebListener  # noqa: F401

    def _start_web(self, readiness: Readiness) -> tuple[WebListener, Ready]:
        # Half a second of imports that no command needs.
        from waypost.intake.http import routes
        from waypost.pages import surface
        from waypost.pages.frame.frame import Frame
        from waypost.web import WebListener

        api = routes.Ready()
        config = self._config
        desk = make_desk(config, self._clock)
        self._obeying.append(lambda now: desk.obey(make_desk(now, self._clock)))
        frame = Frame(config, desk)
        handlers = surface.handlers(api, readiness, config, desk, frame)
        web = WebListener(handlers, list(config.listen.trusted_proxies), frame.lost)
        web.start(self._sockets.http)
        self._parts.push_async_callback(lambda: web.close(self._left_s()))
        self._parts.callback(frame.close)
        return web, api

    def _start_api(self, engine: Engine, with_: Collaborators, api: Ready) -> None:
        from waypost.intake.http.gate import Gate
        from waypost.intake.http.once import Once
        from waypost.intake.http.routes import Doing
        from waypost.intake.http.send import Sending

        data, clock = self._config.data, self._clock
        gate = Gate(with_.door, engine, clock, with_.throttle)
        sending = Sending(
            with_.door, engine, clock, lambda part: Spool(data, engine.worker, part), with_.memory
        )
        once = Once(engine.answers, several=self._seat is not None)
        api.doing = Doing(gate, sending, once, with_.caps, Paths(data).incoming, with_.memory)

        def stop() -> None:
            gate.closed = "The relay is shutting down, try again in a moment"

        self._leaving.append(stop)

    async def _start_delivery(self, engine: Engine) -> Dispatcher:
        config = self._config
        guard = make_guard(config.upstreams.allow_networks, config.upstreams.ports)
        tokens = Tokens(DeskVault(make_desk(config, self._clock)), self._clock)
        dialer = Dialer(config.hostname, guard, tokens=tokens)
        territory = Territory(Owners(config.data, self._seat.crew)) if self._seat else None
        dispatcher = Dispatcher(
            engine, dialer, self._clock, make_queue_rules(config), config.data, territory=territory
        )
        self._obeying.append(lambda now: dispatcher.obey(make_queue_rules(now)))
        engine.attach(dispatcher)
        if self._seat is not None:
            hearing = Hearing(self._seat.crew, engine, dispatcher, self._clock)
            hearing.start()
            self._parts.push_async_callback(hearing.stop)
            self._leaving.append(hearing.leave)
        await dispatcher.start()
        self._leaving.append(dispatcher.wind_down)
        self._parts.push_async_callback(lambda: dispatcher.stop(self._left_s()))
        return dispatcher

    def _start_intake(
        self, engine: Engine, certificate: Certificate
    ) -> tuple[Collaborators, House]:
        config, clock = self._config, self._clock
        workers = 1 if self._seat is None else self._seat.workers
        self._door = make_door(config, clock, engine)
        collaborators = Collaborators(
            door=self._door,
            store=engine,
            clock=clock,
            spool=Spool(config.data, engine.worker),
            certificate=certificate,
            caps=self._caps(),
            memory=Memory(config.limits.memory_bytes // workers),
            throttle=self._throttle(),
        )
        house = House(collaborators, config.hostname, config.limits.sessions, Patience())

        def limit(limits: Limits) -> None:
            share = limits.memory_bytes // workers
            house.limit(limits.sessions, limits.sessions_per_address, share)

        self._obeying.append(lambda now: limit(now.limits))
        listeners = [
            *(Listener(bound, implicit_tls=False) for bound in self._sockets.submission),
            *(Listener(bound, implicit_tls=True) for bound in self._sockets.submissions),
        ]
        server = SmtpServer(house, listeners)
        server.start()
        self._leaving.append(server.leave)
        self._parts.push_async_callback(lambda: server.stop(self._left_s()))
        return collaborators, house

    def _start_metrics(self, engine: Engine, dispatcher: Dispatcher, house: House) -> None:
        if not self._sockets.metrics:
            return
        from waypost.watch.lag import LoopLag
        from waypost.watch.metrics import Sources, handlers
        from waypost.web import WebListener

        lag = LoopLag(self._clock)
        lag.start()
        self._parts.callback(lag.stop)
        sources = Sources(
            version=__version__,
            door=house.with_.door,
            results=dispatcher.results,
            commits=engine.commits,
            sessions=house.__len__,
            held_octets=lambda: house.with_.memory.used_octets,
            pools=dispatcher.pools,
            lag_s=lambda: lag.worst_s,
        )
        web = WebListener(handlers(sources, self._config.data, self._clock), [])
        web.start(self._sockets.metrics)
        self._parts.push_async_callback(lambda: web.close(self._left_s()))

    def _start_telling(self, engine: Engine, door: Door) -> None:
        config, clock = self._config, self._clock
        notices = Notices(config.data, config.hostname, engine, door.notice, clock)
        certificate = config.tls.certificate or config.data / CERTIFICATE_FILE
        standing = Standing(
            config.data,
            certificate,
            lambda: free_octets(config.data),
            config.alerts.credits,
            clock,
        )
        self._obeying.append(lambda now: standing.obey(now.alerts.credits))
        self._engine = engine
        self._round(notices.step)
        self._round(standing.step)
        self._round(Daily(make_desk(config, clock), config.dns).step)
        self._aim(config)

    def _round(self, step: Callable[[], Awaitable[int]]) -> None:
        """Who tells has a task of its own, so that nobody waits for another."""
        engine = self._engine
        assert engine is not None
        task = asyncio.create_task(rounds.run(step, lambda: self._keeps_house(engine)))

        async def stop() -> None:
            task.cancel()
            await asyncio.wait({task})

        self._parts.push_async_callback(stop)

    def _aim(self, config: Config) -> None:
        """Alerts go where the configuration says, from the next one on. Raises `ConfigError`."""
        if not config.alerts.url and self._alerts is None:
            return
        from waypost.watch.tell import alerts, signing  # half a second that few relays need

        target = None
        if config.alerts.url:
            secret = config.alerts.secret or signing.made(config.data, self._clock)
            target = alerts.Target(config.alerts.url, secret)
        if self._alerts is None:
            self._alerts = alerts.Alerts(config.data, config.hostname, target, self._clock)
            self._round(self._alerts.step)
        self._alerts.target = target

    def _throttle(self) -> Throttle:
        if self._seat is None:
            return Throttle()
        return Throttle(self._seat.guesses, self._seat.number)

    def _caps(self) -> SessionCaps:
        limits = self._config.limits
        most = (limits.sessions, limits.sessions_per_address)
        if self._seat is None:
            return SessionCaps(*most)
        return SessionCaps(*most, self._seat.sessions, self._seat.number)

    async def _upkeep(self, engine: Engine) -> None:
        """Lets go of what has been kept long enough, and stops the relay when a sync failed."""
        kept = self._config.keep
        upkeep = Upkeep(self._config.data, Keep(kept.log_ms, kept.refusals_ms))
        self._obeying.append(lambda now: upkeep.obey(Keep(now.keep.log_ms, now.keep.refusals_ms)))
        while True:
            for _ in range(int(UPKEEP_S)):
                await asyncio.sleep(1.0)
                if engine.broken:
                    self._failed("a write to the disk failed: the relay stops rather than guess")
                    return
            try:
                if not await self._keeps_house(engine):
                    continue
                more = True
                while more:  # small steps with a pause between, so that nobody notices
                    more = bool(await asyncio.to_thread(upkeep.step, self._clock.wall_ms()))
                    await asyncio.sleep(UPKEEP_PAUSE_S)
            except StoreAway as away:
                self._log.warning("upkeep_put_off", reason=away.private)
            except OSError as error:
                self._log.warning("upkeep_put_off", reason=str(error))

    async def _keeps_house(self, engine: Engine) -> bool:
        """Whether upkeep is this process's: of several workers it is the first one's to ask, for
        as long as it lives."""
        if self._seat is not None and self._housekeeping is None:
            self._housekeeping = take(Paths(self._config.data).lock("upkeep"))
            if self._housekeeping is not None:
                self._parts.callback(self._housekeeping.close)
                await engine.sweep_spool()
        return self._seat is None or self._housekeeping is not None

    def reload(self, config: Config) -> None:
        """Takes over what can change while it runs (`config.RELOADED`), and the certificate's
        files. Listeners and the data directory need a restart. Raises `ConfigError`."""
        for obey in self._obeying:
            obey(config)
        if self._door is not None:
            self._door.rules = make_rules(config)
            self._door.inline_wait_s = config.inline_wait_s
        if self._certificate is not None and (said := self._certificate.refresh()):
            self._log.info("certificate", said=said)
        if self._engine is not None:
            self._aim(config)

    async def stop(self, within_s: float = STOP_S) -> None:
        """Begins nothing new, finishes what clients send and what is on the wire, all at once."""
        self._stop_by_s = self._clock.monotonic() + within_s
        if self._readiness is not None:
            self._readiness.phase = Phase.STOPPING
        for leave in self._leaving:
            leave()
        if self._upkeep_task is not None:
            self._upkeep_task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._upkeep_task
        await self._parts.aclose()

    def _left_s(self) -> float:
        return max(0.0, self._stop_by_s - self._clock.monotonic())

    def places(self) -> dict[str, Sequence[str]]:
        """What it listens on, by kind, as `host:port`."""
        return places(self._sockets)
