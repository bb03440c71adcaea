"""`waypost account`: create, set, disable, enable, list, show.

Promises what desk/accounts does, printed. Knows nothing of the store.
"""

from __future__ import annotations

from typing import Any

import click

from waypost.cli import out
from waypost.cli.base import Call, Group, Number, Wrapped, limit_option, pass_call, said, unset

_COLUMNS = {
    "NAME": "name",
    "CREDITS": "creditsShown",
    "A MINUTE": "rateShown",
    "ENABLED": "enabled",
    "DEFAULT SENDER": "defaultSender",
}


@click.group(cls=Group)
def account() -> None:
    """Who may send: tenants, their credits and limits."""


def _settings(command: Wrapped) -> Wrapped:
    for option in (
        click.option("--notify", metavar="ADDRESS", help="Who is told of mail that failed later."),
        click.option(
            "--default-sender", metavar="ADDRESS", help="The From of mail that names none."
        ),
        click.option("--rate-limit", type=Number("none", 1), help="Submissions a minute and key."),
        click.option("--credits", "credit", type=Number("unlimited"), help="Credits to spend."),
    ):
        command = option(command)
    return command


@account.command()
@click.argument("name")
@_settings
@click.pass_context
def create(
    context: click.Context,
    /,
    name: str,
    credit: int | None,
    rate_limit: int | None,
    default_sender: str | None,
    notify: str | None,
) -> None:
    """Make an account; without --credits it has none."""
    from waypost.desk import accounts

    call = context.find_object(Call) or Call()
    show_account(
        call,
        accounts.create(
            call.desk(),
            name,
            credits=credit if said(context, "credit") else 0,
            rate_limit=unset(rate_limit, said(context, "rate_limit")),
            default_sender=default_sender or None,
            notify=notify or None,
        ),
    )


@account.command(name="set")
@click.argument("name")
@_settings
@click.pass_context
def set_(
    context: click.Context,
    /,
    name: str,
    credit: int | None,
    rate_limit: int | None,
    default_sender: str | None,
    notify: str | None,
) -> None:
    """Change an account; an empty --default-sender or --notify takes it away."""
    from waypost.desk import accounts

    call = context.find_object(Call) or Call()
    show_account(
        call,
        accounts.change(
            call.desk(),
            name,
            credits=unset(credit, said(context, "credit")),
            rate_limit=unset(rate_limit, said(context, "rate_limit")),
            default_sender=unset(default_sender or None, said(context, "default_sender")),
            notify=unset(notify or None, said(context, "notify")),
        ),
    )


@account.command()
@click.argument("name")
@pass_call
def disable(call: Call, name: str) -> None:
    """Its keys are dead at once and its queue is held."""
    from waypost.desk import accounts

    show_account(call, accounts.disable(call.desk(), name))


@account.command()
@click.argument("name")
@pass_call
def enable(call: Call, name: str) -> None:
    """Let it send again."""
    from waypost.desk import accounts

    show_account(call, accounts.enable(call.desk(), name))


@account.command()
@click.argument("name")
@pass_call
def show(call: Call, name: str) -> None:
    """One account."""
    from waypost.desk import accounts

    show_account(call, accounts.show(call.desk(), name))


@account.command(name="list")
@limit_option()
@pass_call
def list_(call: Call, limit: int) -> None:
    """All accounts, newest first."""
    from waypost.desk import accounts

    views = accounts.list_(call.desk(), limit=limit)
    shown = views if call.json else [_for_people(view) for view in views]
    call.things(shown, _COLUMNS, "no accounts yet: waypost account create NAME --credits 1000")


def show_account(call: Call, view: object) -> None:
    if call.json:
        out.json(view)
        return
    facts = _for_people(view)
    facts["credits"] = facts.pop("creditsShown")
    facts["rateLimit"] = facts.pop("rateShown")
    out.facts(facts, leave_out=("unlimited", "balance", "ownRate"))


def _for_people(view: object) -> dict[str, Any]:
    facts = out.built(view)
    balance = facts["balance"]
    facts["creditsShown"] = (
        f"unlimited ({balance} used and added)" if facts["unlimited"] else (str(balance))
    )
    rate = facts["rateLimit"]
    facts["rateShown"] = (
        "none" if rate is None else f"{rate}" + ("" if facts["ownRate"] else " (default)")
    )
    return facts
