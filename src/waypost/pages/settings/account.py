"""What an owner says of an account: its default sender, who is told of failures.

Knows nothing of limits and credits, which are the operator's.
"""

from __future__ import annotations

from litestar.handlers import HTTPRouteHandler

from waypost.core.errors import WaypostError
from waypost.desk import accounts, senders, statement
from waypost.desk.access.roles import Role
from waypost.pages.frame.ask import Answer, Ask
from waypost.pages.frame.failing import sentence, status_of
from waypost.pages.frame.frame import Frame

SENDERS = 100


def handlers(frame: Frame) -> list[HTTPRouteHandler]:
    """The routes."""
    return [
        frame.get("/settings/account", show),
        frame.post("/settings/account", change, "change account", Role.OWNER),
    ]


def show(ask: Ask, status: int = 200, error: str = "") -> Answer:
    if ask.account is None:
        return ask.page("settings/account.html", status, of=None, today=0, senders=[], error=error)
    return ask.page(
        "settings/account.html",
        status,
        of=accounts.show(ask.desk, ask.account),
        today=statement.recipients_today(ask.desk, ask.account),
        senders=senders.list_(ask.desk, account=ask.account, limit=SENDERS),
        error=error,
    )


def change(ask: Ask) -> Answer:
    try:
        accounts.change(
            ask.desk,
            ask.one_account(),
            default_sender=ask.form.get("default_sender", "").strip() or None,
            notify=ask.form.get("notify", "").strip() or None,
        )
    except WaypostError as error:
        return show(ask, status_of(error), sentence(error))
    return ask.see("/settings/account", "The account is changed.")
