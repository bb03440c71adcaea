"""`waypost member`: add, list, remove; and `waypost login-link`.

Promises what desk/access does, printed. Knows nothing of the store.
"""

from __future__ import annotations

import click

from waypost.cli import out
from waypost.cli.base import Call, Command, Group, account_option, limit_option, pass_call
from waypost.cli.out import built
from waypost.listeners import pages_at

_COLUMNS = {
    "E-MAIL": "email",
    "OPERATOR": "operator",
    "ACCOUNTS": "places",
    "PASSWORD": "hasPassword",
    "SECOND FACTOR": "secondFactor",
    "LAST LOGIN": "lastLoginAt",
}


@click.group(cls=Group)
def member() -> None:
    """Who may log in to the dashboard: operators, and members of accounts."""


@member.command()
@click.argument("email")
@account_option(help="A member of this account; without it an operator, who may do everything.")
@click.option(
    "--role",
    type=click.Choice(["owner", "developer", "read-only"]),
    help="In the account; owner where nothing is said.",
)
@pass_call
def add(call: Call, email: str, account: str | None, role: str | None) -> None:
    """Let somebody in, or change the role; prints the link with which a first password is set."""
    from waypost.desk.access import members
    from waypost.desk.access.roles import Role, role_of

    if account is None and role is not None:
        raise click.UsageError("--role is of an account: name it with --account")
    desk = call.desk()
    given = Role.OPERATOR if account is None else role_of(role or Role.OWNER.word)
    added = members.add(desk, email, account=account, role=given)
    view = members.invite(desk.by(None), email, pages_at(call.config))  # one deed, one line
    view.renewed = added.renewed
    call.thing(view, leave_out=("accounts", "renewed"))
    if view.renewed is True:
        out.note("this login may more now: its password, second factor and sessions are gone.")
    if not call.json and isinstance(view.link, str):
        out.note("the link sets the new password: it is good once, for 3 days. Pass it on.")


@member.command(name="list")
@account_option()
@limit_option()
@pass_call
def list_(call: Call, account: str | None, limit: int) -> None:
    """All members, newest first."""
    from waypost.desk.access import members

    views = members.list_(call.desk(), account=account, limit=limit)
    if call.json:
        out.json(views)
        return
    rows = [
        built(view) | {"places": [f"{p.account} ({p.role})" for p in view.accounts]}
        for view in views
    ]
    out.table(rows, _COLUMNS, "no members yet: waypost member add EMAIL [--account NAME]")


@member.command()
@click.argument("email")
@account_option(help="From this account alone; without it, altogether.")
@pass_call
def remove(call: Call, email: str, account: str | None) -> None:
    """Take a login away; its sessions end at once."""
    from waypost.desk.access import members

    call.thing(members.remove(call.desk(), email, account=account), leave_out=("accounts",))


@click.command(cls=Command, name="login-link")
@click.argument("email")
@click.option(
    "--reset-second-factor", is_flag=True, help="Take the second factor away, which was lost too."
)
@pass_call
def login_link(call: Call, email: str, reset_second_factor: bool) -> None:
    """A link that lets a member in: good once, for 15 minutes."""
    from waypost.desk.access import login

    base = pages_at(call.config)
    call.thing(
        login.make_link(call.desk(), email, base, reset_factor=reset_second_factor),
        leave_out=("path",),
    )
