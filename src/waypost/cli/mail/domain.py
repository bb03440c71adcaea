"""`waypost domain`: check what DNS says of a sender domain, verify a message that was received.

Promises exit 0 where nothing is an error and 1 where something is, and that `check` needs no data
directory unless an upstream is named. Knows nothing of DNS.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from waypost.cli import out
from waypost.cli.base import Call, Group, account_option, pass_call
from waypost.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from waypost.desk.domains.views import FindingView
    from waypost.desk.office import Desk
    from waypost.domain.resolver import Resolver

MESSAGE_OCTETS = 64 << 20  # more than any relay takes


@click.group(cls=Group)
def domain() -> None:
    """What DNS says of a sender domain, and what to publish."""


@domain.command()
@click.argument("name", metavar="DOMAIN")
@click.option("--upstream", metavar="NAME", help="Checked for it; else for all that send for it.")
@account_option(help="Whose upstreams; without it, everybody's.")
@click.option("--selector", "selectors", multiple=True, metavar="S", help="Of DKIM; repeatable.")
@click.option(
    "--message",
    type=click.Path(path_type=Path, allow_dash=True),
    metavar="FILE",
    help="A received message, for its selectors.",
)
@click.option("--blocklists", is_flag=True, help="Ask the usual block lists too.")
@pass_call
def check(
    call: Call,
    name: str,
    upstream: str | None,
    account: str | None,
    selectors: tuple[str, ...],
    message: Path | None,
    blocklists: bool,
) -> int:
    """Check SPF, DKIM, DMARC and MX of a domain. Exit 1 where anything is an error."""
    from waypost.desk.domains import check as deeds

    octets = None if message is None else _read(message)
    asked = deeds.Asked(
        upstream=upstream,
        account=account,
        selectors=selectors,
        blocklists=blocklists,
        message=octets,
    )
    view = deeds.check(_desk(call, upstream, account), _resolver(call), name, asked)
    if call.json:
        call.thing(view)
    else:
        _findings(view.findings)
        if view.assumed is not None:
            out.line(f"Assumed from the MX: mail goes out through {view.assumed}.")
    return 0 if view.ok else 1


@domain.command()
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@pass_call
def verify(call: Call, file: Path) -> int:
    """Read a received message: signatures, SPF and DMARC, and what to fix. - is standard input."""
    from waypost.clock import SystemClock
    from waypost.desk.domains.verify import verify as read

    view = read(_resolver(call), _read(file), SystemClock().wall_ms())
    if call.json:
        call.thing(view)
        return 0 if view.ok else 1
    for number, hop in enumerate(view.received):
        client = f"{hop.helo or '?'} [{hop.ip or '?'}]"
        out.line(f"{number + 1:>3}  {hop.at or '-':<24}  {hop.by or '?'} from {client}")
    _findings(view.findings)
    return 0 if view.ok else 1


def _desk(call: Call, upstream: str | None, account: str | None) -> Desk | None:
    """The desk, where there is a store or one is needed."""
    if upstream is None and account is None and not (call.config.data / "waypost.db").exists():
        return None
    return call.desk()


def _resolver(call: Call) -> Resolver:
    from waypost.clock import SystemClock
    from waypost.desk.domains.check import asking

    return asking(SystemClock(), call.config.dns.servers).resolver()


def _read(place: Path) -> bytes:
    """A message file, - for standard input; read as whoever calls."""
    if str(place) == "-":
        octets = sys.stdin.buffer.read(MESSAGE_OCTETS + 1)
    else:
        with place.open("rb") as file:
            octets = file.read(MESSAGE_OCTETS + 1)
    if len(octets) > MESSAGE_OCTETS:
        raise UsageError(f"a message of up to {MESSAGE_OCTETS >> 20} MB is read", "file")
    return octets


def _findings(findings: Iterable[FindingView]) -> None:
    """A block a finding; what is right takes one line."""
    rows: list[Any] = list(findings)
    width = max((len(row.check) for row in rows), default=0)
    gap = " " * (len("warning") + width + 4)
    for row in rows:
        out.line(f"{row.status:<7}  {row.check:<{width}}  {row.found}")
        if row.status != "ok":
            out.line(f"{gap}why: {row.why}")
        if row.publish is not None:
            out.line(f"{gap}publish: {row.publish.name} {row.publish.type} {row.publish.value}")
