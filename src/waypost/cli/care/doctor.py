"""`waypost doctor`: checks this installation and says what to do.

Promises a finding for every check, also where one of them fails to run, and exit 1 on an error.
Changes nothing. Knows nothing of mail; what each check looks at is in `checks` and `ports`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator

import click

from waypost.cli import out
from waypost.cli.base import Call, Command, become_owner, pass_call
from waypost.cli.care.finding import Finding, Report, State
from waypost.core.errors import ConfigError, WaypostError

_COLUMNS = {"CHECK": "name", "": "status", "FOUND": "detail"}


@click.command(cls=Command)
@pass_call
def doctor(call: Call) -> int:
    """Check this installation: config, ports, certificate, clock, disk, store."""
    findings = tuple(_findings(call))
    report = Report(ok=all(finding.ok for finding in findings), checks=findings)
    if call.json:
        out.json(report)
        return 0 if report.ok else 1
    out.table(findings, _COLUMNS, "nothing was checked")
    for finding in findings:
        if finding.fix:
            out.line(f"{finding.name}: {finding.fix}")
    return 0 if report.ok else 1


def _findings(call: Call) -> Iterator[Finding]:
    try:
        config = call.config
    except ConfigError as error:
        yield Finding.of("config", State.ERROR, error.public, "correct that line, then look again")
        return
    from waypost.clock import SystemClock

    yield Finding.of("config", State.OK, str(config.source or "no file: all defaults"))
    # The checks need the libraries of certificates and of the store, which --help does not; and
    # the data directory's owner might not be able to read those.
    from waypost.cli.care import checks, ports

    importlib.import_module("waypost.desk.upstreams")  # which the checks load when they run
    become_owner(config.data)
    clock = SystemClock()
    if not config.data.is_dir():
        yield Finding.of(
            "data",
            State.ERROR,
            f"there is no directory {config.data}",
            "start `waypost serve`, or name the right place with --data",
        )
        steps: list[Callable[[], Iterator[Finding]]] = []
    else:
        steps = [
            lambda: checks.data(config),
            lambda: checks.disk(config),
            lambda: checks.store(call, config),
            lambda: checks.sealing_keys(config),
        ]
    steps += [
        lambda: checks.clock(config, clock.wall_ms()),
        lambda: checks.certificate(config, clock.wall_ms()),
        lambda: checks.descriptors(config),
        lambda: ports.listeners(config),
    ]
    for step in steps:
        try:
            yield from step()
        except (WaypostError, OSError) as error:
            said = error.public if isinstance(error, WaypostError) else error.strerror
            yield Finding.of("doctor", State.ERROR, str(said), "see what is said above")
