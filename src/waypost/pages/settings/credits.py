"""Credits: the balance, the ledger, what is used a day and how long it lasts; an operator tops up.

Knows nothing of how credits are taken.
"""

from __future__ import annotations

from urllib.parse import quote

from litestar.handlers import HTTPRouteHandler

from waypost.core.errors import UsageError, WrongState
from waypost.desk import accounts, statement
from waypost.desk.access.roles import Role
from waypost.pages.frame.ask import Answer, Ask
from waypost.pages.frame.failing import sentence, status_of
from waypost.pages.frame.frame import Frame


def handlers(frame: Frame) -> list[HTTPRouteHandler]:
    """The routes."""
    return [
        frame.get("/credits", show),
        frame.post("/credits", add, "add credits", Role.OPERATOR, subject=("account", "amount")),
    ]


def show(ask: Ask, status: int = 200, error: str = "") -> Answer:
    """Of one account; an operator who looks at all chooses."""
    named = ask.query.get("account") or ask.form.get("account")
    account = ask.account or (named if ask.who.operator else None)
    if account is None:
        views = accounts.list_(ask.desk, 100)
        return ask.page("settings/balances.html", status, accounts=views, error=error)
    cursor = ask.query.get("before", "")
    below = int(cursor) if cursor.isascii() and cursor.isdecimal() and len(cursor) < 19 else None
    found = statement.show(ask.desk, account, cursor=below)
    older = "" if found.next_cursor is None else f"&before={found.next_cursor}"
    return ask.page(
        "settings/credits.html",
        status,
        statement=found,
        older=f"/credits?account={quote(account, safe='')}{older}" if older else "",
        amount=ask.form.get("amount", ""),
        note=ask.form.get("note", ""),
        error=error,
    )


def add(ask: Ask) -> Answer:
    try:
        account = ask.one_account()
        amount = ask.whole("amount")
        note = ask.form.get("note", "").strip()
        view = accounts.add_credits(ask.about(account), account, amount, note)
    except (UsageError, WrongState) as error:
        return show(ask, status_of(error), sentence(error))
    done = f"{amount:+,} credits: the balance of {view.name} is {view.balance:,}."
    return ask.see(f"/credits?account={quote(account, safe='')}", done)
