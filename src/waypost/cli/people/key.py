"""`waypost key`: create, list, disable, enable, rotate, delete.

Promises to show a secret once, when it is made. Knows nothing of how keys are kept.
"""

from __future__ import annotations

import click
import msgspec

from waypost.cli import out
from waypost.cli.base import Call, Group, account_option, limit_option, pass_call

_COLUMNS = {
    "ID": "id",
    "ACCOUNT": "account",
    "LAST 4": "last4",
    "ENABLED": "enabled",
    "RECIPIENTS": "recipients",
    "LAST USED": "lastUsedAt",
    "NAME": "name",
}


@click.group(cls=Group)
def key() -> None:
    """The keys that applications log in with, over SMTP and HTTPS."""


@key.command()
@account_option(required=True, help="Whose key it is.")
@click.option("--name", default="", metavar="TEXT", help="What uses it.")
@click.option(
    "--recipients",
    default="headers",
    type=click.Choice(["headers", "envelope"]),
    help="Read them from headers and envelope, or, for an MTA, the envelope alone.",
)
@pass_call
def create(call: Call, account: str, name: str, recipients: str) -> None:
    """Make a key; its secret is shown this once."""
    from waypost.desk import keys

    _made(call, keys.create(call.desk(), account, name=name, recipients=recipients))


@key.command(name="list")
@account_option()
@limit_option()
@pass_call
def list_(call: Call, account: str | None, limit: int) -> None:
    """All keys, newest first; never their secrets."""
    from waypost.desk import keys

    views = keys.list_(call.desk(), account=account, limit=limit)
    call.things(views, _COLUMNS, "no keys yet: waypost key create --account NAME")


@key.command()
@click.argument("key_id", metavar="ID", type=int)
@pass_call
def disable(call: Call, key_id: int) -> None:
    """Dead at once, in every session."""
    from waypost.desk import keys

    call.thing(keys.disable(call.desk(), key_id))


@key.command()
@click.argument("key_id", metavar="ID", type=int)
@pass_call
def enable(call: Call, key_id: int) -> None:
    """Let it log in again."""
    from waypost.desk import keys

    call.thing(keys.enable(call.desk(), key_id))


@key.command()
@click.argument("key_id", metavar="ID", type=int)
@pass_call
def rotate(call: Call, key_id: int) -> None:
    """A new secret for the same key; the old one stops at once."""
    from waypost.desk import keys

    _made(call, keys.rotate(call.desk(), key_id))


@key.command()
@click.argument("key_id", metavar="ID", type=int)
@pass_call
def delete(call: Call, key_id: int) -> None:
    """Take it away for good; its name stays in the log."""
    from waypost.desk import keys

    call.thing(keys.delete(call.desk(), key_id))


def _made(call: Call, view: msgspec.Struct) -> None:
    call.thing(view)
    if not call.json:
        out.note("the key is shown this once: keep it now. It is the password, on SMTP and HTTPS.")
