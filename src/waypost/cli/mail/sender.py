"""`waypost sender`: add, list, set, remove.

Promises what desk/senders does, printed. Knows nothing of who may send as whom.
"""

from __future__ import annotations

from typing import Any

import click

from waypost.cli.base import (
    Call,
    Group,
    Number,
    account_option,
    limit_option,
    pass_call,
    said,
    unset,
)
from waypost.core.errors import UsageError

OWNER = "The account that owns it; without it, the operator."
_COLUMNS = {
    "ADDRESS": "address",
    "UPSTREAM": "upstream",
    "GLOBAL": "global",
    "TODAY": "usedToday",
    "CAP": "dailyCap",
    "HELD": "held",
    "OWNER": "account",
    "ACCOUNTS": "accounts",
}


@click.group(cls=Group)
def sender() -> None:
    """The addresses that mail may be From, each bound to an upstream."""


@sender.command()
@click.argument("address")
@click.option("--upstream", required=True, metavar="NAME", help="What its mail goes out through.")
@click.option("--global", "everyone", is_flag=True, help="Every account may use it.")
@account_option(help="This account's own, or assigned to it where the operator owns the upstream.")
@click.option("--daily-cap", type=Number("none", 1), help="Recipients a day.")
@click.option("--from-name", default="", metavar="TEXT", help="Shown beside the address.")
@click.option("--default", "default", is_flag=True, help="The account's default sender.")
@pass_call
def add(
    call: Call,
    address: str,
    upstream: str,
    everyone: bool,
    account: str | None,
    daily_cap: int | None,
    from_name: str,
    default: bool,
) -> None:
    """Let mail be From an address."""
    from waypost.desk import senders

    if everyone == (account is not None):
        raise UsageError("say who may use it: --global or --account NAME", "account")
    call.thing(
        senders.add(
            call.desk(),
            address,
            upstream=upstream,
            everyone=everyone,
            account=account,
            daily_cap=daily_cap,
            from_name=from_name,
            default=default,
        )
    )


@sender.command(name="set")
@click.argument("address")
@account_option(help=OWNER)
@click.option("--on", metavar="NAME", help="The upstream it is bound to now, where several are.")
@click.option("--upstream", metavar="NAME", help="Bind it to another upstream.")
@click.option("--global/--not-global", "everyone", default=None, help="Whether all may use it.")
@click.option("--assign", multiple=True, metavar="NAME", help="Let this account use it.")
@click.option("--unassign", multiple=True, metavar="NAME", help="No longer.")
@click.option("--daily-cap", type=Number("none", 1), help="Recipients a day.")
@click.option("--from-name", metavar="TEXT", help="Shown beside the address.")
@click.option("--default/--not-default", "default", default=None, help="The account's default.")
@click.pass_context
def set_(context: click.Context, /, address: str, **flags: Any) -> None:
    """Change what an address may be used for."""
    from waypost.desk import senders

    call = context.find_object(Call) or Call()
    fields = ("upstream", "everyone", "daily_cap", "from_name", "default")
    edit: Any = {name: unset(flags[name], said(context, name)) for name in fields}
    call.thing(
        senders.change(
            call.desk(),
            address,
            account=flags["account"],
            on=flags["on"],
            assign=flags["assign"],
            unassign=flags["unassign"],
            **edit,
        )
    )


@sender.command()
@click.argument("address")
@account_option(help=OWNER)
@click.option("--on", metavar="NAME", help="The upstream it is bound to, where several are.")
@click.option("--fail", is_flag=True, help="Fail and refund what waits for it.")
@pass_call
def remove(call: Call, address: str, account: str | None, on: str | None, fail: bool) -> None:
    """Let no more mail be From an address."""
    from waypost.desk import senders

    call.thing(senders.remove(call.desk(), address, account=account, on=on, fail=fail))


@sender.command(name="list")
@account_option(help="That this account may use.")
@limit_option()
@pass_call
def list_(call: Call, account: str | None, limit: int) -> None:
    """All addresses, with today's use of their caps."""
    from waypost.desk import senders

    views = senders.list_(call.desk(), account=account, limit=limit)
    call.things(views, _COLUMNS, "no senders yet: waypost sender add ADDRESS --upstream NAME …")
