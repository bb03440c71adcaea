"""`waypost token`: create, list, delete.

Promises to show a secret once, when it is made. Knows nothing of what tokens are used for.
"""

from __future__ import annotations

import click

from waypost.cli import out
from waypost.cli.base import Call, Group, account_option, limit_option, pass_call

_COLUMNS = {
    "ID": "id",
    "ACCOUNT": "account",
    "LAST 4": "last4",
    "LAST USED": "lastUsedAt",
    "NAME": "name",
}


@click.group(cls=Group)
def token() -> None:
    """The tokens of the management API, for programs that manage accounts."""


@token.command()
@click.option("--name", default="", metavar="TEXT", help="What uses it.")
@account_option(help="For this account alone; without it, for all and everything.")
@pass_call
def create(call: Call, name: str, account: str | None) -> None:
    """Make a token; its secret is shown this once."""
    from waypost.desk.access import tokens

    call.thing(tokens.create(call.desk(), name=name, account=account))
    if not call.json:
        out.note("the token is shown this once: keep it now. It is the Bearer of /api/v1/manage.")


@token.command(name="list")
@account_option()
@limit_option()
@pass_call
def list_(call: Call, account: str | None, limit: int) -> None:
    """All tokens, newest first; never their secrets."""
    from waypost.desk.access import tokens

    views = tokens.list_(call.desk(), account=account, limit=limit)
    call.things(views, _COLUMNS, "no tokens yet: waypost token create")


@token.command()
@click.argument("token_id", metavar="ID", type=int)
@pass_call
def delete(call: Call, token_id: int) -> None:
    """Take it away for good, at once."""
    from waypost.desk.access import tokens

    call.thing(tokens.delete(call.desk(), token_id))
