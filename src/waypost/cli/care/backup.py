"""`waypost backup` and `waypost restore`: rows, spool and sealing keys together.

Promises a copy of one instant, taken beside a running relay. Knows nothing of what is in it.
"""

from __future__ import annotations

from pathlib import Path

import click

from waypost.cli.base import Call, Command, Place, become_owner, no_place, pass_call
from waypost.core.errors import NotFound


@click.command(cls=Command)
@click.argument("directory", metavar="DIR", type=Place(path_type=Path))
@pass_call
def backup(call: Call, directory: Path) -> None:
    """Copy everything into an empty directory, while the relay serves."""
    from waypost.desk import office

    call.thing(office.backup(call.desk(), directory.absolute()))


@click.command(cls=Command)
@click.argument("directory", metavar="DIR", type=Place(path_type=Path, exists=True))
@pass_call
def restore(call: Call, directory: Path) -> None:
    """Bring a backup back into the data directory, which must hold nothing yet."""
    from waypost.desk import office

    config = call.config
    become_owner(config.data)
    if not config.data_told and not config.data.exists():
        raise NotFound(no_place(config.data))
    call.thing(office.restore(directory.absolute(), config.data, config.key_file))
