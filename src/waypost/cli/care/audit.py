"""`waypost audit`: the proof of ledger and queue.

Promises exit 1 if anything is off. Knows nothing of how it is proved.
"""

from __future__ import annotations

import click

from waypost.cli import out
from waypost.cli.base import Call, Command, pass_call

_COLUMNS = {"CHECK": "name", "OK": "ok", "FOUND": "detail"}


@click.command(cls=Command)
@pass_call
def audit(call: Call) -> int:
    """Prove the ledger and the queue, beside a running relay; exit 1 if anything is off."""
    from waypost.desk import office

    view = office.audit(call.desk())
    if call.json:
        out.json(view)
    else:
        out.table(view.checks, _COLUMNS, "nothing to check")
        out.line("all is well" if view.ok else "something is off: see the lines with no")
    return 0 if view.ok else 1
