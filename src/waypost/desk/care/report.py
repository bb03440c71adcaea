"""All checks of an installation, in order.

Promises a finding for every check, also where one of them fails to run. Blocks for seconds at
most: call it in a thread. Knows nothing of what the checks look at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from waypost.config import Config
from waypost.core.errors import WaypostError
from waypost.desk.care import checks, ports
from waypost.desk.care.finding import Finding, State
from waypost.desk.office import Desk


def findings(desk: Desk, config: Config, *, whole: bool = True) -> Iterator[Finding]:
    """One by one. `whole`: also what reads the whole store."""
    yield Finding.of("config", State.OK, str(config.source or "no file: all defaults"))
    steps: list[Callable[[], Iterator[Finding]]] = []
    if not config.data.is_dir():
        yield Finding.of(
            "data",
            State.ERROR,
            f"there is no directory {config.data}",
            "start `waypost serve`, or name the right place with --data",
        )
    else:
        steps = [
            lambda: checks.data(config),
            lambda: checks.disk(config),
            lambda: checks.store(desk, config, whole=whole),
            lambda: checks.sealing_keys(config),
        ]
    now_ms = desk.clock.wall_ms()
    steps += [
        lambda: checks.clock(config, now_ms),
        lambda: checks.certificate(config, now_ms),
        lambda: checks.descriptors(config),
        lambda: ports.listeners(config),
    ]
    for step in steps:
        try:
            yield from step()
        except (WaypostError, OSError) as error:
            said = error.public if isinstance(error, WaypostError) else error.strerror
            yield Finding.of("doctor", State.ERROR, str(said), "see what is said above")
