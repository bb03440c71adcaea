"""What the log holds, of the management API: messages and what is done with one, refusals, and the
proof of it all.

Promises that a token of one account learns nothing of another's. Knows nothing of delivery.
"""

from __future__ import annotations

from typing import Any

from waypost.desk import logs, office, queue
from waypost.desk.send.again import again
from waypost.desk.views import AuditView, MessageLine, MessageView, RefusalView
from waypost.pages.api import query as reads
from waypost.pages.manage.route import PAGING, Ask, Nothing, Page, Route, cut

FILTERS = ("account", "status", "from", "to", "after", "before")


def routes() -> list[Route]:
    """All of them."""
    return [*_of_messages(), *_of_the_rest()]


def _of_messages() -> list[Route]:
    one: dict[str, Any] = {"takes": Nothing, "gives": MessageView, "errors": (409,)}
    return [
        Route(
            method="GET",
            path="/messages",
            summary="Messages, newest first",
            do=_messages,
            gives=MessageLine,
            many=True,
            query=(*FILTERS, *PAGING),
        ),
        Route(
            method="GET",
            path="/messages/{id}",
            summary="One message: every recipient, attempt and line of the ledger",
            do=lambda ask: logs.show(ask.desk, ask.path["id"], account=ask.account),
            gives=MessageView,
        ),
        Route(
            method="POST",
            path="/messages/{id}/retry",
            summary="Try what is queued of it now; 409 where it has ended",
            do=lambda ask: queue.retry(ask.desk, ask.path["id"], account=ask.account),
            **one,
        ),
        Route(
            method="POST",
            path="/messages/{id}/cancel",
            summary="Cancel and refund what is queued of it; 409 where it has ended or is sent now",
            do=lambda ask: queue.cancel(ask.desk, ask.path["id"], account=ask.account),
            **one,
        ),
        Route(
            method="POST",
            path="/messages/{id}/resend",
            summary="Send it again: a new message with a new id and charge; 409 BODY_GONE where it"
            " is no longer kept",
            do=_resend,
            takes=Nothing,
            gives=MessageView,
            status=201,
            slow=True,
            errors=(402, 409),
        ),
    ]


def _of_the_rest() -> list[Route]:
    return [
        Route(
            method="GET",
            path="/refusals",
            summary="Calls and sessions that were refused, newest first",
            do=lambda ask: ask.page(
                lambda below, most: logs.refusals(
                    ask.desk,
                    account=ask.whose,
                    to=ask.query.get("to"),
                    cursor=below,
                    limit=most,
                ),
                lambda refusal: refusal.id,
            ),
            gives=RefusalView,
            many=True,
            query=("account", "to", *PAGING),
        ),
        Route(
            method="GET",
            path="/audit",
            summary="The ledger and the queue, proved",
            do=lambda ask: office.audit(ask.desk),
            gives=AuditView,
            operator=True,
            slow=True,
        ),
    ]


def _messages(ask: Ask) -> Page:
    query, most = ask.query, reads.limit(ask.query)
    found = logs.list_(
        ask.desk,
        account=ask.whose,
        status=query.get("status"),
        sender=query.get("from"),
        to=query.get("to"),
        after=reads.time(query, "after"),
        before=reads.time(query, "before"),
        cursor=query.get("cursor"),
        limit=most + 1,
    )
    return cut(found, most, lambda last: last.id)


def _resend(ask: Ask) -> MessageView:
    new = again(ask.desk, ask.door, ask.path["id"], account=ask.account)
    return logs.show(ask.desk, new, account=ask.account)
