"""Senders: the addresses that mail may be From, and what each is bound to.

Knows nothing of the mail that uses them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from litestar.handlers import HTTPRouteHandler

from waypost.core.errors import Forbidden, UsageError, WrongState
from waypost.desk import accounts, senders, upstreams
from waypost.desk.senders import Edit
from waypost.pages.frame.ask import Answer, Ask
from waypost.pages.frame.failing import sentence, status_of
from waypost.pages.frame.frame import Frame
from waypost.pages.screens.servers.forms import number_of
from waypost.pages.screens.servers.owner import owner_of

SHOWN = 40
EMPTY: Mapping[str, str] = MappingProxyType({})
REFUSED = (UsageError, Forbidden, WrongState)


def handlers(frame: Frame) -> list[HTTPRouteHandler]:
    """The routes."""
    about = ("address", "account")
    return [
        frame.get("/senders", show),
        frame.post("/senders", add, "add sender", subject=about),
        frame.post("/senders/change", change, "change sender", subject=about),
        frame.post("/senders/remove", remove, "remove sender", subject=about),
    ]


def show(
    ask: Ask, status: int = 200, error: str | None = None, values: Mapping[str, str] = EMPTY
) -> Answer:
    """`values`: what the form of a new one is filled with."""
    found = senders.list_(ask.desk, account=ask.account, limit=SHOWN)
    own = upstreams.list_(ask.desk, account=ask.account, limit=SHOWN)
    names = (
        [one.name for one in accounts.list_(ask.desk, limit=SHOWN)] if ask.account is None else []
    )
    return ask.page(
        "mail/senders.html",
        status,
        found=found,
        upstreams=[one for one in own if ask.account is not None or one.account is None],
        accounts=names,
        values=values,
        error=error,
    )


def add(ask: Ask) -> Answer:
    """Of the account that is looked at; the operator's: global, or assigned to one account."""
    account = ask.account if ask.account is not None else ask.form.get("for") or None
    try:
        made = senders.add(
            ask.about(account),
            ask.form.get("address", ""),
            upstream=_own(ask),
            everyone=account is None,
            account=account,
            daily_cap=_cap(ask),
            from_name=ask.form.get("from_name", "").strip(),
            default="default" in ask.form,
            own=ask.account is not None,  # also where its upstream is taken away at this moment
        )
    except REFUSED as wrong:
        return show(ask, status_of(wrong), sentence(wrong), ask.form)
    return ask.see("/senders", f"Mail may be from {made.address} now.")


def change(ask: Ask) -> Answer:
    owner = owner_of(ask)
    edit: Edit = {}
    address, on = ask.form.get("address", ""), ask.form.get("on") or None
    try:
        if "daily_cap" in ask.form:
            edit["daily_cap"] = _cap(ask)
        if "from_name" in ask.form:
            edit["from_name"] = ask.form["from_name"].strip()
        if ask.form.get("default"):
            edit["default"] = ask.form["default"] == "yes"
        done = senders.change(ask.about(owner), address, account=owner, on=on, **edit)
    except REFUSED as wrong:
        return show(ask, status_of(wrong), sentence(wrong))
    ended = "; the hold has ended" if ask.form.get("held") else ""
    return ask.see("/senders", f"{done.address} is changed{ended}.")


def remove(ask: Ask) -> Answer:
    owner, on = owner_of(ask), ask.form.get("on") or None
    try:
        done = senders.remove(ask.about(owner), ask.form.get("address", ""), account=owner, on=on)
    except REFUSED as wrong:
        return show(ask, status_of(wrong), sentence(wrong))
    return ask.see("/senders", f"{done.address} is removed.")


def _own(ask: Ask) -> str:
    """The name of an upstream that is the asker's own: an account binds nothing to the
    operator's."""
    name = ask.form.get("upstream", "")
    return upstreams.show(ask.desk, name, account=ask.account).name


def _cap(ask: Ask) -> int | None:
    text = ask.form.get("daily_cap", "").strip()
    return number_of(text, "daily_cap") if text else None
