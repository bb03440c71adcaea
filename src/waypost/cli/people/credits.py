"""`waypost credits`: add, ledger.

Promises what desk/credits does, printed. Knows nothing of what credits are spent on.
"""

from __future__ import annotations

import click

from waypost.cli.base import Call, Group, Number, pass_call
from waypost.cli.people.account import show_account

ANY = -(2**62)

_COLUMNS = {
    "AT": "at",
    "AMOUNT": "amount",
    "BALANCE": "balance",
    "REASON": "reason",
    "MESSAGE": "message",
    "NO.": "recipient",
    "NOTE": "note",
}


@click.group(cls=Group)
def credits() -> None:
    """Prepaid credits: one a distinct recipient."""


# A negative amount looks like an option to the parser; what is no number still fails as one.
@credits.command(context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("amount", type=Number(low=ANY), metavar="N")
@click.option("--note", default="", metavar="TEXT", help="Why; a part of the ledger for ever.")
@pass_call
def add(call: Call, name: str, amount: int, note: str) -> None:
    """Add credits to an account (take them away with a negative number)."""
    from waypost.desk import accounts

    show_account(call, accounts.add_credits(call.desk(), name, amount, note))


@credits.command()
@click.argument("name")
@click.option("--limit", type=Number(), default=0, show_default=True, help="The newest; 0: all.")
@pass_call
def ledger(call: Call, name: str, limit: int) -> None:
    """Every change of an account's balance."""
    from waypost.desk import accounts

    call.things(accounts.ledger(call.desk(), name, limit), _COLUMNS, "no lines in the ledger yet")
