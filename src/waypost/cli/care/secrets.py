"""`waypost secrets`: rotate.

Promises never to print a key. Knows nothing of what is sealed.
"""

from __future__ import annotations

import click

from waypost.cli.base import Call, Group, pass_call


@click.group(cls=Group)
def secrets() -> None:
    """The keys that seal the upstreams' passwords."""


@secrets.command()
@pass_call
def rotate(call: Call) -> None:
    """Add a new sealing key and seal every password with it."""
    from waypost.desk import secrets as deeds

    call.thing(deeds.rotate(call.desk()))
