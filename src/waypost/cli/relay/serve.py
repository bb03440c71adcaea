"""`waypost serve`: the relay, until SIGTERM or SIGINT.

Promises to print what it listens on, to end with 0 when told to stop, and with 1 and one line when
it cannot start or can no longer keep its promises. Knows nothing of how the relay is built.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import click
import msgspec

from waypost import log
from waypost.app import App, bind
from waypost.cli.base import Call, Command, Number, pass_call
from waypost.clock import SystemClock
from waypost.config import Config, load
from waypost.core.errors import WaypostError


@click.command(cls=Command)
@click.option("--workers", type=Number(low=1), metavar="N", help="Processes that share the ports.")
@pass_call
def serve(call: Call, workers: int | None) -> int:
    """Run the relay until SIGTERM or SIGINT."""
    log.setup()

    def read() -> Config:
        config = load(call.config_path, call.data_path)
        return config if workers is None else msgspec.structs.replace(config, workers=workers)

    return run(_serve(read))


def run(main: Coroutine[Any, Any, int]) -> int:
    """Runs a coroutine on uvloop where there is one."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


async def _serve(read: Callable[[], Config]) -> int:
    config = read()
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    failures: list[str] = []

    def failed(reason: str) -> None:
        failures.append(reason)
        stopping.set()

    def reload() -> None:
        try:
            app.reload(read())
        except WaypostError as error:
            log.get("serve").warning("reload_refused", reason=error.public)
        else:
            log.get("serve").info("reloaded")

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    app = App(config, SystemClock(), bind(config), failed)
    try:
        await app.start()
        loop.add_signal_handler(signal.SIGHUP, reload)
    except WaypostError:
        await app.stop()
        raise
    for kind, places in app.places().items():
        for place in places:
            print(f"{kind:<22} {place}")
    print(f"{'data directory':<22} {config.data}")
    print("ready", flush=True)
    await stopping.wait()
    await app.stop()
    for reason in failures:
        print(f"waypost: {reason}", file=sys.stderr)
    return 1 if failures else 0
