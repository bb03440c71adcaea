"""How a command tries a server, and tells what came of it.

Promises that each step is told as it ends, and a failed test in full. Knows nothing of what the
servers say.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import click

from waypost.cli import out
from waypost.cli.base import Call


def trial_of(call: Call, *, test: bool = True, say: Callable[[str], None] = out.note) -> Any:
    """How a server is tried here; each step is shown as it ends, unless it is all one JSON."""
    from waypost.clock import SystemClock
    from waypost.desk.connection.trial import Trial
    from waypost.desk.connection.vault import DeskVault
    from waypost.transport.check.run import Setup
    from waypost.transport.link.guard import make_guard
    from waypost.transport.oauth.tokens import Tokens

    config, clock = call.config, SystemClock()
    tokens = Tokens(DeskVault(call.desk()), clock)
    guard = make_guard(config.upstreams.allow_networks, config.upstreams.ports)

    def tell(step: Any) -> None:
        if not call.json:
            sign = "ok  " if step.ok else "FAIL"
            say(f"{sign} {step.name:<11} {step.ms:>6} ms  {step.detail}".rstrip())

    return Trial(Setup(config.hostname, guard, clock, tokens=tokens), tell, test)


@contextlib.contextmanager
def told(call: Call, after: str) -> Iterator[None]:
    """A failed test is shown in full, and is exit 1."""
    from waypost.desk.connection.views import TestFailed

    try:
        yield
    except TestFailed as failed:
        if call.json:
            call.thing(failed.view)
        else:
            diagnosed(failed.view, out.note)
        forbidden = failed.view.diagnosis == "address_not_allowed"
        out.note(f"waypost: {failed.public} ({'not saved' if forbidden else after})")
        raise click.exceptions.Exit(1) from None


def diagnosed(view: Any, say: Callable[[str], None]) -> None:
    """A diagnosis in plain words."""
    say(f"{view.diagnosis}: {view.title}")
    say("Likely causes:")
    for number, cause in enumerate(view.causes, 1):
        say(f"  {number}. {cause}")
    say(f"What to do: {view.fix}")
    for place in view.would_work:
        say(f"Would work: port {place.port} with encryption {place.encryption}")
    if view.transcript:
        say("Transcript:")
        for line in view.transcript.splitlines():
            say(f"  {line}")
