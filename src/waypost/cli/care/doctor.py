"""`waypost doctor`: checks this installation and says what to do.

Promises a finding for every check, also where one of them fails to run, and exit 1 on an error.
Changes nothing. Knows nothing of mail; the checks are the desk's.
"""

from __future__ import annotations

from collections.abc import Iterator

import click

from waypost.cli import out
from waypost.cli.base import Call, Command, become_owner, pass_call
from waypost.core.errors import ConfigError
from waypost.desk.care.finding import Finding, Report, State

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
    # The checks need the libraries of certificates and of the store, which --help does not; and
    # the data directory's owner might not be able to read those.
    from waypost.app import make_desk
    from waypost.clock import SystemClock
    from waypost.desk.care import report

    become_owner(config.data)
    yield from report.findings(make_desk(config, SystemClock()), config)
