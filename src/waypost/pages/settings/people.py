"""The members of an account, or (an operator's look at all) of the relay; and the audit trail.

Knows nothing of how one logs in.
"""

from __future__ import annotations

from litestar.handlers import HTTPRouteHandler

from waypost.core.errors import WaypostError
from waypost.desk.access import members, trail
from waypost.desk.access.roles import Role, role_of
from waypost.desk.office import Desk
from waypost.pages.frame.ask import Answer, Ask
from waypost.pages.frame.failing import sentence, status_of
from waypost.pages.frame.frame import Frame
from waypost.pages.settings.ready_lines import base_of

SHOWN = 100
LINES = 100


def handlers(frame: Frame) -> list[HTTPRouteHandler]:
    """The routes."""
    owner = Role.OWNER
    return [
        frame.get("/settings/members", show),
        frame.post("/settings/members", add, "add member", owner, subject=("email", "role")),
        frame.post("/settings/members/link", link, "invite member", owner, subject=("email",)),
        frame.post("/settings/members/remove", remove, "remove member", owner, subject=("email",)),
        frame.get("/settings/trail", lines, owner),
    ]


def show(
    ask: Ask,
    status: int = 200,
    error: str = "",
    *,
    link: str = "",
    whose: str = "",
    renewed: bool = False,
) -> Answer:
    return ask.page(
        "settings/members.html",
        status,
        members=members.list_(ask.desk, account=ask.account, limit=SHOWN),
        email=ask.form.get("email", "") if error else "",
        link=link,
        whose=whose,
        renewed=renewed,
        error=error,
    )


def add(ask: Ask) -> Answer:
    """A new member, with the link that sets the first password."""
    email, word = ask.form.get("email", "").strip(), ask.form.get("role", "")
    try:
        # Only an operator who looks at all accounts makes operators.
        role = Role.OPERATOR if ask.account is None else role_of(word)
        added = members.add(
            ask.desk, email, account=ask.account, role=role, by_owner=not ask.who.operator
        )
        # One deed, one line of the trail.
        return _invited(ask, ask.desk.by(None), email, renewed=added.renewed is True)
    except WaypostError as error:
        return show(ask, status_of(error), sentence(error))


def link(ask: Ask) -> Answer:
    try:
        return _invited(ask, ask.desk, ask.form.get("email", ""))
    except WaypostError as error:
        return show(ask, status_of(error), sentence(error))


def remove(ask: Ask) -> Answer:
    try:
        gone = members.remove(
            ask.desk,
            ask.form.get("email", ""),
            account=ask.account,
            by_owner=not ask.who.operator,
        )
    except WaypostError as error:
        return show(ask, status_of(error), sentence(error))
    return ask.see("/settings/members", f"{gone.email} is no member any more.")


def lines(ask: Ask) -> Answer:
    """Who changed what."""
    cursor = ask.query.get("before", "")
    below = int(cursor) if cursor.isascii() and cursor.isdecimal() and len(cursor) < 19 else None
    found = trail.list_(ask.desk, account=ask.account, cursor=below, limit=LINES + 1)
    older = f"/settings/trail?before={found[LINES - 1].id}" if len(found) > LINES else ""
    return ask.page("settings/trail.html", lines=found[:LINES], older=older)


def _invited(ask: Ask, desk: Desk, email: str, *, renewed: bool = False) -> Answer:
    owner = not ask.who.operator
    view = members.invite(desk, email, base_of(ask), account=ask.account, by_owner=owner)
    if isinstance(view.link, str):
        return show(ask, link=view.link, whose=view.email, renewed=renewed)
    return ask.see("/settings/members", f"{view.email} is a member, and has a login already.")
