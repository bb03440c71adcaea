"""`waypost queue`: show, retry, cancel.

Promises what desk/queue does, printed. Knows nothing of schedules.
"""

from __future__ import annotations

import click

from waypost.cli.base import Call, Group, account_option, pass_call
from waypost.cli.mail.log import print_message
from waypost.core.errors import UsageError

_COLUMNS = {
    "UPSTREAM": "upstream",
    "ACCOUNT": "account",
    "QUEUED": "queued",
    "NOW": "onWire",
    "STATE": "state",
    "OLDEST": "oldestAt",
    "NEXT TRY": "nextAt",
    "REASON": "reason",
}


@click.group(cls=Group)
def queue() -> None:
    """What waits: show it, try it now, cancel it."""


@queue.command()
@account_option()
@pass_call
def show(call: Call, account: str | None) -> None:
    """What waits, by upstream."""
    from waypost.desk import queue as deeds

    call.things(deeds.show(call.desk(), account=account), _COLUMNS, "nothing waits")


@queue.command()
@click.argument("ident", metavar="[ID]", required=False)
@click.option("--upstream", metavar="NAME", help="All that waits for it; ends its pause.")
@click.option("--all", "everything", is_flag=True, help="All that waits.")
@account_option(help="The owner of the message or upstream.")
@pass_call
def retry(
    call: Call, ident: str | None, upstream: str | None, everything: bool, account: str | None
) -> None:
    """Try now what waits; ends a pause or back-off of its upstream."""
    from waypost.desk import queue as deeds

    _one_of(ID=ident, upstream=upstream, all=everything or None)
    if ident is not None:
        print_message(call, deeds.retry(call.desk(), ident, account=account))
    else:
        call.thing(deeds.retry_all(call.desk(), upstream=upstream, account=account))


@queue.command()
@click.argument("ident", metavar="[ID]", required=False)
@click.option("--key", "key_id", type=int, metavar="ID", help="All that this key submitted.")
@click.option("--sender", metavar="ADDRESS", help="All that is from this address.")
@account_option(help="The owner of the message, key or sender.")
@pass_call
def cancel(
    call: Call, ident: str | None, key_id: int | None, sender: str | None, account: str | None
) -> None:
    """Cancel and refund what waits; what is on the wire goes on."""
    from waypost.desk import queue as deeds

    _one_of(ID=ident, key=key_id, sender=sender)
    if ident is not None:
        print_message(call, deeds.cancel(call.desk(), ident, account=account))
    elif key_id is not None:
        call.thing(deeds.cancel_key(call.desk(), key_id, account=account))
    elif sender is not None:
        call.thing(deeds.cancel_sender(call.desk(), sender, account=account))


def _one_of(**choices: object) -> None:
    if sum(value is not None for value in choices.values()) != 1:
        names = [name if name == "ID" else f"--{name}" for name in choices]
        raise UsageError(f"name one of {', '.join(names)}")
