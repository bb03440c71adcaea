"""Upstreams of the management API: added, tested, changed, paused, trusted, removed.

Promises that what fails its test is not saved unless the call says so, and that a password is never
given back. Knows nothing of connections.
"""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from waypost.core.errors import UsageError
from waypost.desk import upstreams
from waypost.desk.connection import trial
from waypost.desk.connection.edits import Fields
from waypost.desk.connection.views import TestView, TrustView
from waypost.desk.views import UpstreamView
from waypost.pages.api import query as reads
from waypost.pages.manage.route import Ask, Nothing, Route, listed
from waypost.pages.manage.shapes import (
    NewUpstream,
    Pausing,
    Rehearsal,
    Testing,
    Trusting,
    UpstreamEdit,
)
from waypost.upstream.settings import Form

_FORM = (
    *("preset", "region", "host", "port", "encryption", "username", "validate"),
    *("daily_cap", "connections", "per_connection", "per_minute", "recipients"),
)
TESTED = (409, 422, 429)
EXAMPLE: dict[str, Any] = {
    "sender": "hello@acme.example",
    "preset": "gmail",
    "password": "the app password",
}


def routes() -> list[Route]:
    """All of them."""
    return [*_kept(), *_deeds(), *_unsaved()]


def _kept() -> list[Route]:
    one: dict[str, Any] = {"path": "/upstreams/{upstream}", "gives": UpstreamView}
    return [
        listed(
            "/upstreams",
            "Upstreams, newest first; of an account, its own",
            UpstreamView,
            upstreams.list_,
        ),
        Route(
            method="POST",
            path="/upstreams",
            summary="Test an upstream and save it; 422 where the test fails, 409 where the name is"
            " taken",
            do=_add,
            gives=UpstreamView,
            takes=NewUpstream,
            example={"name": "mailbox", "account": "acme", **EXAMPLE},
            status=201,
            slow=True,
            errors=TESTED,
        ),
        Route(
            method="GET",
            summary="One upstream; never its password",
            do=lambda ask: upstreams.show(ask.desk, ask.path["upstream"], account=ask.whose),
            query=("account",),
            **one,
        ),
        Route(
            method="PATCH",
            summary="Change an upstream; a new host, port or user name asks for the password again",
            do=_change,
            takes=UpstreamEdit,
            example={"connections": 2},
            query=("account",),
            slow=True,
            errors=TESTED,
            **one,
        ),
        Route(
            method="DELETE",
            summary="Take an upstream and its senders away; 409 while mail is queued, unless fail",
            do=lambda ask: upstreams.remove(
                ask.desk,
                ask.path["upstream"],
                account=ask.whose,
                fail=reads.yes(ask.query, "fail"),
            ),
            query=("account", "fail"),
            errors=(409,),
            **one,
        ),
    ]


def _deeds() -> list[Route]:
    def at(word: str) -> dict[str, Any]:
        return {
            "method": "POST",
            "path": f"/upstreams/{{upstream}}/{word}",
            "query": ("account",),
        }

    return [
        Route(
            summary="Test its connection step by step; ok is false where it fails",
            do=_test,
            gives=TestView,
            takes=Testing,
            example={"sendTo": "me@acme.example"},
            slow=True,
            errors=(429,),
            **at("test"),
        ),
        Route(
            summary="Nothing new goes out through it until resume; its mail waits",
            do=_pause,
            gives=UpstreamView,
            takes=Pausing,
            example={"reason": "the provider moves it"},
            **at("pause"),
        ),
        Route(
            summary="End a pause or a back-off at once",
            do=lambda ask: upstreams.resume(ask.desk, ask.path["upstream"], account=ask.whose),
            gives=UpstreamView,
            takes=Nothing,
            **at("resume"),
        ),
        Route(
            summary="Accept the certificate that it shows now in the place of the pinned one",
            do=_trust,
            gives=TrustView,
            takes=Trusting,
            example={"test": True},
            slow=True,
            errors=TESTED,
            **at("trust"),
        ),
    ]


def _unsaved() -> list[Route]:
    return [
        Route(
            method="POST",
            path="/upstream-tests",
            summary="Test an upstream without saving it; ok is false where it fails",
            do=_rehearse,
            gives=TestView,
            takes=Rehearsal,
            example=EXAMPLE,
            slow=True,
            errors=(429,),
        ),
    ]


def _add(ask: Ask) -> UpstreamView:
    new: NewUpstream = ask.body
    if new.for_account is not None:
        ask.operator("for")
        if new.account is not None:
            raise UsageError("say account or for, not both", "account")
    return trial.add(
        ask.desk,
        ask.trial(new.test),
        new.name,
        _fields(ask, new),
        account=ask.of(new.account),
        for_account=new.for_account,
    )


def _change(ask: Ask) -> UpstreamView:
    edit: UpstreamEdit = ask.body
    name, trying = ask.path["upstream"], ask.trial(edit.test)
    return trial.change(ask.desk, trying, name, _fields(ask, edit), account=ask.whose)


def _rehearse(ask: Ask) -> TestView:
    new: Rehearsal = ask.body
    account = ask.of(new.account)
    return trial.rehearse(ask.desk, ask.trial(), new.name, _fields(ask, new), account=account)


def _test(ask: Ask) -> TestView:
    asked: Testing = ask.body
    name = ask.path["upstream"]
    return trial.test(ask.desk, ask.trial(), name, account=ask.whose, send_to=asked.send_to)


def _pause(ask: Ask) -> UpstreamView:
    asked: Pausing = ask.body
    name, reason = ask.path["upstream"], asked.reason or upstreams.PAUSED_BY_HAND
    return upstreams.pause(ask.desk, name, account=ask.whose, reason=reason)


def _trust(ask: Ask) -> TrustView:
    asked: Trusting = ask.body
    name = ask.path["upstream"]
    return trial.trust(ask.desk, ask.trial(asked.test), name, account=ask.whose)


def _fields(ask: Ask, edit: UpstreamEdit) -> Fields:
    """What was said, as the desk takes it."""
    password = edit.password
    if edit.username == "" and password is UNSET:
        password = None  # no login, so no password
    return Fields(
        form=Form(**{name: getattr(edit, name) for name in _FORM}),
        login=edit.login,
        password=password,
        fallback=edit.fallback,
        sender=edit.sender,
        from_name=edit.from_name,
    )
