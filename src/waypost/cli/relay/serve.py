"""`waypost serve`: the relay, until SIGTERM or SIGINT.

Promises to print what it listens on (with --json one value, once it is ready), to end with 0 when
told to stop, and with 1 and one line when it cannot start or can no longer keep its promises. Knows
nothing of how the relay is built.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, NoReturn

import click
import msgspec

from waypost import log
from waypost.app import STOP_S, App, make_desk
from waypost.cli import out
from waypost.cli.base import Call, Command, Number, pass_call, serve_as_owner
from waypost.clock import SystemClock
from waypost.config import WORKERS_MOST, Config, load, needs_restart
from waypost.core.errors import WaypostError
from waypost.listeners import Sockets, bind, pages_at
from waypost.seat import Seat
from waypost.store.locks import outlive_orphans, refuse_second
from waypost.workers import BROKEN, SIGNALS, STOPPED_S

YOUNG_OBJECTS = 10_000  # between two looks for cycles among them
SAYING_S = 1.0  # for the last words: where nobody reads them a pipe may be full
ORPHAN_S = 8.0  # for what is on the wire when the parent is gone: somebody waits to start anew


@click.command(cls=Command)
@click.option(
    "--workers",
    type=Number(low=1, high=WORKERS_MOST),
    metavar="N",
    help="Processes that share the ports.",
)
@pass_call
def serve(call: Call, workers: int | None) -> int:
    """Run the relay until SIGTERM or SIGINT."""
    log.setup()

    def read() -> Config:
        config = load(call.config_path, call.data_path)
        return config if workers is None else msgspec.structs.replace(config, workers=workers)

    config = read()
    outlive_orphans(config.data)
    refuse_second(config.data)
    many_files()
    if config.workers > 1:
        from waypost.cli.relay.several import serve_several

        return serve_several(config, read, call.json)
    return run(_serve(config, read, call.json))


def many_files() -> None:
    """Lets this process have as many files open as it may: shells and services begin at 1,024 as a
    rule, which is less than the sessions that are allowed, and every accept fails beyond it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and soft != hard:
        with contextlib.suppress(OSError, ValueError):  # then it stays as it is
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def run(main: Coroutine[Any, Any, int]) -> int:
    """Runs a coroutine on uvloop where there is one."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


async def _serve(config: Config, read: Callable[[], Config], as_json: bool) -> int:
    sockets = bind(config)  # ports below 1024 are root's to bind
    serve_as_owner(config.data)
    relay = Running(config, read, sockets)
    await relay.start()
    place = whereabouts(relay.app.places(), config)
    show(place, as_json)
    ready(place, as_json)
    _end(1 if await relay.until_told() else 0)


async def work(config: Config, read: Callable[[], Config], sockets: Sockets, seat: Seat) -> int:
    """One of several workers; its exit code."""
    relay = Running(config, read, sockets, seat)
    ground = seat.crew.ground
    life = ground.life[0]
    asyncio.get_running_loop().add_reader(life, relay.orphaned, life)
    await relay.start()
    ground.set_ready(seat.number, True)
    _end(BROKEN if await relay.until_told() else 0)


def _end(code: int) -> NoReturn:
    """Ends this process as it stands, once all is on disk: a thread that waits for a name server
    would be waited for, minutes long."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
    os._exit(code)


def _too_late() -> None:
    silent = threading.Timer(SAYING_S, os._exit, (1,))
    silent.daemon = True
    silent.start()
    with contextlib.suppress(OSError, ValueError):
        text = "waypost: the stop took too long and was cut short: nothing is lost"
        print(text, file=sys.stderr)
    _end(1)


class Place(msgspec.Struct, frozen=True, rename="camel"):
    """Where the relay is. `first_login`: the link that makes the operator's login, where one is due
    and pages are served."""

    listening: Mapping[str, Sequence[str]]
    data: str
    first_login: str | None = None


def whereabouts(places: Mapping[str, Sequence[str]], config: Config) -> Place:
    return Place(places, str(config.data), _first_link(config, places) or None)


def show(place: Place, as_json: bool) -> None:
    """Prints what it listens on, for people."""
    if as_json:
        return
    for kind, names in place.listening.items():
        for name in names:
            print(f"{kind:<22} {name}")
    print(f"{'data directory':<22} {place.data}")
    if place.first_login:
        print(f"{'first login':<22} {place.first_login}")


def ready(place: Place, as_json: bool) -> None:
    """Says that mail is taken from now on; as JSON, together with where."""
    if as_json:
        out.json(msgspec.structs.replace(place, listening=plain_names(place.listening)))
    else:
        print("ready")
    sys.stdout.flush()


def plain_names(places: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """The listeners under the names that the configuration gives them."""
    return {kind.partition(" ")[0]: names for kind, names in places.items()}


def _first_link(config: Config, places: Mapping[str, Sequence[str]]) -> str:
    """The link that makes the operator's login; nothing where there is one, or no page is served.

    A desk of its own, since several workers are not there yet when it is printed.
    """
    base = pages_at(config, places)
    if not base:
        return ""
    from waypost.desk.access.login import first_link

    link = first_link(make_desk(config, SystemClock()), base)
    return "" if link is None else link.url


class Running:
    """A relay in this process, and the signals that it is told by."""

    def __init__(
        self,
        config: Config,
        read: Callable[[], Config],
        sockets: Sockets,
        seat: Seat | None = None,
    ) -> None:
        self.app = App(config, SystemClock(), sockets, self._failed, seat)
        self._started = config
        self._read = read
        self._stopping = asyncio.Event()
        self._within_s = STOP_S
        self._failures: list[str] = []

    async def start(self) -> None:
        """Returns when it takes mail; raises what keeps it from that, with nothing left behind."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        try:
            await self.app.start()
            loop.add_signal_handler(signal.SIGHUP, self._reload)
        except WaypostError:
            await self.app.stop()
            raise
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # a parent forks with them blocked
        # What is here now stays as long as the relay does; else all of it is looked through again
        # and again, and the mail waits. What comes later leaves next to no cycles behind.
        gc.collect()
        gc.freeze()
        gc.set_threshold(YOUNG_OBJECTS)

    async def until_told(self) -> bool:
        """Runs until it is told to stop, and stops; whether it had to, by itself."""
        await self._stopping.wait()
        last = threading.Timer(STOPPED_S, _too_late)
        last.daemon = True
        last.start()
        await self.app.stop(self._within_s)
        for reason in self._failures:
            print(f"waypost: {reason}", file=sys.stderr)
        return bool(self._failures)

    def orphaned(self, life: int) -> None:
        """The parent is gone."""
        asyncio.get_running_loop().remove_reader(life)
        log.get("serve").error("parent_gone")
        self._within_s = ORPHAN_S
        self._stopping.set()

    def _failed(self, reason: str) -> None:
        self._failures.append(reason)
        self._stopping.set()

    def _reload(self) -> None:
        try:
            config = self._read()
            self.app.reload(config)
        except WaypostError as error:
            log.get("serve").warning("reload_refused", reason=error.public)
            return
        log.get("serve").info("reloaded")
        if left := needs_restart(self._started, config):
            log.get("serve").warning("restart_needed", settings=", ".join(left))
