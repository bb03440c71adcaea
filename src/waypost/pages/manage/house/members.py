"""Members of accounts, their links, and the audit trail, of the management API.

Promises that no token makes an operator or lets one in: those are managed at the command line, as
tokens of all accounts are. Knows nothing of how one logs in.
"""

from __future__ import annotations

from typing import Any

from waypost.core.errors import Forbidden, UsageError
from waypost.desk.access import login, members, trail
from waypost.desk.access.roles import role_of
from waypost.desk.access.views import LinkView, MemberView, TrailView
from waypost.pages.api import query as reads
from waypost.pages.manage.route import PAGING, Ask, Page, Route
from waypost.pages.manage.shapes import NewLink, NewMember

AN_OPERATOR = "this is an operator, who is managed at the command line: waypost member"


def routes() -> list[Route]:
    """All of them."""
    one: dict[str, Any] = {"path": "/members/{email}", "query": ("account",)}
    return [
        Route(
            method="GET",
            path="/members",
            summary="Who may log in to the dashboard, newest first",
            do=lambda ask: Page(
                members.list_(ask.desk, account=ask.whose, limit=reads.limit(ask.query))
            ),
            gives=MemberView,
            many=True,
            query=("account", "limit"),
        ),
        Route(
            method="POST",
            path="/members",
            summary="Let somebody in to an account, or change the role there; with the link that"
            " sets a first password, behind the address of the dashboard",
            do=_add,
            gives=MemberView,
            takes=NewMember,
            example={"email": "ann@acme.example", "account": "acme", "role": "developer"},
            status=201,
            errors=(409,),
        ),
        Route(
            method="DELETE",
            summary="Take somebody out of an account; sessions there end at once",
            do=_remove,
            gives=MemberView,
            errors=(409,),
            **one,
        ),
        Route(
            method="POST",
            path="/members/{email}/login-link",
            summary="A link that lets a member of accounts in, once and for 15 minutes, behind the"
            " address of the dashboard",
            do=_link,
            gives=LinkView,
            takes=NewLink,
            operator=True,
        ),
        Route(
            method="GET",
            path="/trail",
            summary="Who changed what, newest first",
            do=lambda ask: ask.page(
                lambda below, most: trail.list_(
                    ask.desk, account=ask.whose, cursor=below, limit=most
                ),
                lambda line: line.id,
            ),
            gives=TrailView,
            many=True,
            query=("account", *PAGING),
        ),
    ]


def _add(ask: Ask) -> MemberView:
    new: NewMember = ask.body
    account = ask.of(new.account)
    if account is None:
        raise UsageError("say the account: operators are added at the command line", "account")
    role = role_of(new.role)
    added = members.add(ask.desk, new.email, account=account, role=role, by_owner=ask.mine)
    if added.operator or added.has_password:
        return added
    view = members.invite(
        ask.desk.by(None), new.email, account=account, by_owner=ask.mine
    )  # one deed, one line of the trail
    view.renewed = added.renewed
    return view


def _remove(ask: Ask) -> MemberView:
    account = ask.whose
    if account is None:
        raise UsageError("say the account", "account")
    return members.remove(ask.desk, ask.path["email"], account=account, by_owner=ask.mine)


def _link(ask: Ask) -> LinkView:
    said: NewLink = ask.body
    email = ask.path["email"]
    if members.show(ask.desk, email).operator:
        raise Forbidden(AN_OPERATOR)
    return login.make_link(ask.desk, email, reset_factor=said.reset_second_factor)
