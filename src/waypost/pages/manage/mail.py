"""Senders and the queue, of the management API.

Promises that a token of one account learns no other account's name. Knows nothing of delivery.
"""

from __future__ import annotations

from typing import Any

import msgspec

from waypost.core.errors import UsageError
from waypost.desk import queue, senders
from waypost.desk.views import QueueChange, QueueLine, SenderView
from waypost.pages.api import query as reads
from waypost.pages.manage.route import PAGING, Ask, Page, Route
from waypost.pages.manage.shapes import Cancel, NewSender, Retry, SenderEdit


def routes() -> list[Route]:
    """All of them."""
    return [*_of_senders(), *_of_the_queue()]


def _of_senders() -> list[Route]:
    one: dict[str, Any] = {"path": "/senders/{address}", "gives": SenderView, "errors": (409,)}
    return [
        Route(
            method="GET",
            path="/senders",
            summary="Senders, newest first; of an account, those that it may use",
            do=_list,
            gives=SenderView,
            many=True,
            query=("account", *PAGING),
        ),
        Route(
            method="POST",
            path="/senders",
            summary="Let mail be From an address; 409 where it is bound elsewhere",
            do=_add,
            gives=SenderView,
            takes=NewSender,
            example={"address": "shop@example.com", "upstream": "main", "account": "acme"},
            status=201,
            errors=(409,),
        ),
        Route(
            method="GET",
            summary="One sender of its owner",
            do=_show,
            query=("account", "on"),
            **{**one, "errors": ()},
        ),
        Route(
            method="PATCH",
            summary="Change what an address may be used for; ends a hold",
            do=_change,
            takes=SenderEdit,
            example={"dailyCap": 200, "fromName": "Acme"},
            query=("account", "on"),
            **one,
        ),
        Route(
            method="DELETE",
            summary="Let no more mail be From it; 409 while mail is queued, unless fail",
            do=lambda ask: senders.remove(
                ask.desk,
                ask.path["address"],
                account=ask.whose,
                on=ask.query.get("on"),
                fail=reads.yes(ask.query, "fail"),
            ),
            query=("account", "on", "fail"),
            **one,
        ),
    ]


def _of_the_queue() -> list[Route]:
    return [
        Route(
            method="GET",
            path="/queue",
            summary="What waits, by upstream",
            do=lambda ask: Page(queue.show(ask.desk, account=ask.whose)),
            gives=QueueLine,
            many=True,
            query=("account",),
        ),
        Route(
            method="POST",
            path="/queue/retry",
            summary="All that waits for an upstream, or all, is tried now; pauses end",
            do=_retry,
            gives=QueueChange,
            takes=Retry,
            example={"upstream": "main"},
        ),
        Route(
            method="POST",
            path="/queue/cancel",
            summary="Cancel and refund all that came with a key, or from a sender",
            do=_cancel,
            gives=QueueChange,
            takes=Cancel,
            example={"key": 7},
        ),
    ]


def _list(ask: Ask) -> Page:
    page = ask.page(
        lambda below, most: senders.list_(ask.desk, account=ask.whose, below=below, limit=most),
        lambda sender: sender.id,
    )
    found: Any = page.data
    return Page([_seen(ask, view) for view in found], page.cursor)


def _seen(ask: Ask, view: SenderView) -> SenderView:
    """A sender as the token may see it: who else uses it is not one account's business."""
    if ask.account is None:
        return view
    mine = (ask.account,)
    return msgspec.structs.replace(
        view,
        accounts=tuple(name for name in view.accounts if name in mine),
        default=tuple(name for name in view.default if name in mine),
    )


def _add(ask: Ask) -> SenderView:
    new: NewSender = ask.body
    if new.everyone:
        ask.operator("global")
    account = ask.of(new.account)
    if new.everyone == (account is not None):
        raise UsageError("say who may use it: either global or an account", "account")
    return senders.add(
        ask.desk,
        new.address,
        account=account,
        upstream=new.upstream,
        everyone=new.everyone,
        daily_cap=new.daily_cap,
        from_name=new.from_name,
        default=new.default,
        own=ask.mine,
    )


def _show(ask: Ask) -> SenderView:
    address, on = ask.path["address"], ask.query.get("on")
    return senders.show(ask.desk, address, account=ask.whose, on=on)


def _change(ask: Ask) -> SenderView:
    edit: SenderEdit = ask.body
    return senders.change(
        ask.desk,
        ask.path["address"],
        account=ask.whose,
        on=ask.query.get("on"),
        upstream=edit.upstream,
        everyone=edit.everyone,
        assign=edit.assign,
        unassign=edit.unassign,
        daily_cap=edit.daily_cap,
        from_name=edit.from_name,
        default=edit.default,
    )


def _retry(ask: Ask) -> QueueChange:
    what: Retry = ask.body
    if (what.upstream is None) != what.everything:
        raise UsageError("say either an upstream, or all", "upstream")
    return queue.retry_all(ask.desk, upstream=what.upstream, account=ask.of(what.account))


def _cancel(ask: Ask) -> QueueChange:
    what: Cancel = ask.body
    account = ask.of(what.account)
    if what.key is not None and what.sender is None:
        return queue.cancel_key(ask.desk, what.key, account=account)
    if what.sender is not None and what.key is None:
        return queue.cancel_sender(ask.desk, what.sender, account=account)
    raise UsageError("say either a key or a sender", "key")
