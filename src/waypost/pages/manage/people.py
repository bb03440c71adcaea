"""Accounts, credits, keys and tokens of the management API.

Promises that credits, rates and accounts themselves are the operator's alone. Knows nothing of
mail.
"""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from waypost.core.errors import NotFound, UsageError
from waypost.desk import accounts, keys
from waypost.desk.access import tokens
from waypost.desk.access.tokens import TokenView
from waypost.desk.views import AccountView, KeyView, LedgerView
from waypost.pages.api import query as reads
from waypost.pages.manage.route import PAGING, Ask, Nothing, Page, Replayed, Route, cut, listed
from waypost.pages.manage.shapes import AccountEdit, NewAccount, NewCredits, NewKey, NewToken


def routes() -> list[Route]:
    """All of them."""
    return [*_of_accounts(), *_of_keys(), *_of_tokens()]


def _of_accounts() -> list[Route]:
    one: dict[str, Any] = {"path": "/accounts/{account}", "gives": AccountView}
    return [
        Route(
            method="GET",
            path="/accounts",
            summary="Accounts, newest first; of a token of one account, that one",
            do=_accounts,
            gives=AccountView,
            many=True,
            query=PAGING,
        ),
        Route(
            method="POST",
            path="/accounts",
            summary="A new account; 409 where the name is taken",
            do=_create,
            gives=AccountView,
            takes=NewAccount,
            example={"name": "acme", "credits": 1000, "rateLimit": 120},
            status=201,
            operator=True,
            errors=(409,),
        ),
        Route(method="GET", summary="One account", do=_show, **one),
        Route(
            method="PATCH",
            summary="Change an account; credits and rateLimit are the operator's",
            do=_change,
            takes=AccountEdit,
            example={"rateLimit": None, "notify": "ops@example.com"},
            **one,
        ),
        _switch("disable", "Its keys and tokens are dead at once, its queue is held"),
        _switch("enable", "Its keys work and its queue goes on at once"),
        Route(
            method="POST",
            path="/accounts/{account}/credits",
            summary="Add credits, or correct them by a negative number; with an Idempotency-Key"
            " a repeat adds nothing",
            do=_credit,
            gives=AccountView,
            takes=NewCredits,
            example={"credits": 500, "note": "invoice 17"},
            query=("Idempotency-Key",),
            operator=True,
            errors=(409,),
        ),
        Route(
            method="GET",
            path="/accounts/{account}/ledger",
            summary="Every change of its balance, newest first",
            do=_ledger,
            gives=LedgerView,
            many=True,
            query=PAGING,
        ),
    ]


def _switch(word: str, summary: str) -> Route:
    deed = accounts.disable if word == "disable" else accounts.enable
    return Route(
        method="POST",
        path=f"/accounts/{{account}}/{word}",
        summary=summary,
        do=lambda ask: deed(ask.desk, ask.path["account"]),
        gives=AccountView,
        takes=Nothing,
        operator=True,
    )


def _of_keys() -> list[Route]:
    def deed(word: str, summary: str, method: str = "POST") -> Route:
        does = {
            "": keys.delete,
            "/disable": keys.disable,
            "/enable": keys.enable,
            "/rotate": keys.rotate,
        }[word]
        return Route(
            method=method,
            path=f"/keys/{{key}}{word}",
            summary=summary,
            do=lambda ask: does(ask.desk, ask.number("key"), account=ask.account),
            gives=KeyView,
            takes=Nothing if method == "POST" else None,
        )

    return [
        listed("/keys", "Keys, newest first; never their secrets", KeyView, keys.list_),
        Route(
            method="POST",
            path="/keys",
            summary="A new key; its secret is in this answer and never again",
            do=_create_key,
            gives=KeyView,
            takes=NewKey,
            example={"account": "acme", "name": "website"},
            status=201,
        ),
        Route(
            method="GET",
            path="/keys/{key}",
            summary="One key",
            do=lambda ask: keys.show(ask.desk, ask.number("key"), account=ask.account),
            gives=KeyView,
        ),
        deed("/disable", "It is dead at once; what it submitted goes on"),
        deed("/enable", "It works again"),
        deed("/rotate", "A new secret for the same key; the old one stops at once"),
        deed("", "Take a key away for good", "DELETE"),
    ]


def _of_tokens() -> list[Route]:
    return [
        listed(
            "/tokens",
            "Tokens, newest first; never their secrets",
            TokenView,
            tokens.list_,
            operator=True,
        ),
        Route(
            method="POST",
            path="/tokens",
            summary="A token for one account; its secret is in this answer and never again",
            do=_create_token,
            gives=TokenView,
            takes=NewToken,
            example={"account": "acme", "name": "their own panel"},
            status=201,
            operator=True,
        ),
        Route(
            method="DELETE",
            path="/tokens/{token}",
            summary="Take a token away; it is refused from its next call on",
            do=lambda ask: tokens.delete(ask.desk, ask.number("token")),
            gives=TokenView,
            operator=True,
        ),
    ]


def _accounts(ask: Ask) -> Page:
    most = reads.limit(ask.query)
    behind = ask.query.get("cursor")
    if ask.account is not None:
        return Page([] if behind else [accounts.show(ask.desk, ask.account)])
    try:
        found = accounts.list_(ask.desk, most + 1, behind=behind)
    except NotFound as error:
        raise UsageError(error.public, "cursor") from error
    return cut(found, most, lambda last: last.name)


def _create(ask: Ask) -> AccountView:
    new: NewAccount = ask.body
    return accounts.create(
        ask.desk,
        new.name,
        credits=new.credits,
        rate_limit=new.rate_limit,
        default_sender=new.default_sender,
        notify=new.notify,
    )


def _show(ask: Ask) -> AccountView:
    return accounts.show(ask.desk, _named(ask))


def _change(ask: Ask) -> AccountView:
    edit: AccountEdit = ask.body
    name = _named(ask)
    if edit.credits is not UNSET:
        ask.operator("credits")
    if edit.rate_limit is not UNSET:
        ask.operator("rateLimit")
    return accounts.change(
        ask.desk,
        name,
        credits=edit.credits,
        rate_limit=edit.rate_limit,
        default_sender=edit.default_sender,
        notify=edit.notify,
    )


def _credit(ask: Ask) -> AccountView | Replayed:
    new: NewCredits = ask.body
    name = ask.path["account"]
    done, before = accounts.add_credits_once(ask.desk, ask.once, name, new.credits, new.note)
    return Replayed(done) if before else done


def _ledger(ask: Ask) -> Page:
    name = _named(ask)
    page = ask.page(
        lambda below, most: accounts.ledger_behind(ask.desk, name, below=below, limit=most),
        lambda entry: entry[0],
    )
    lines: Any = page.data
    return Page([line for _, line in lines], page.cursor)


def _create_key(ask: Ask) -> KeyView:
    new: NewKey = ask.body
    account = ask.of(new.account)
    if account is None:
        raise UsageError("say whose key it is", "account")
    return keys.create(ask.desk, account, name=new.name, recipients=new.recipients)


def _create_token(ask: Ask) -> TokenView:
    new: NewToken = ask.body
    return tokens.create(ask.desk, name=new.name, account=new.account)


def _named(ask: Ask) -> str:
    """The account of the path; of a token of one account there is no other."""
    return ask.of(ask.path["account"]) or ""
