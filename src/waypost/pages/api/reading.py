"""What a key may look up and change of its account: messages, cancel, retry, account, refusals.

Promises the fields of the command line's `--json`, lists newest first with a cursor, and that every
question is asked on behalf of the caller's account. Knows nothing of SQL and of delivery.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import msgspec
from litestar import Request, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.response.base import ASGIResponse

from waypost.core.errors import NotFound, StoreAway, UsageError, WrongState
from waypost.desk import accounts, logs, queue
from waypost.desk.office import Desk
from waypost.desk.view.message import BodyGone
from waypost.intake.accept import AWAY
from waypost.intake.http import answer
from waypost.intake.http.draft import Refused
from waypost.intake.http.gate import Caller
from waypost.intake.http.routes import Ready, failed, response
from waypost.pages.api import query as reads
from waypost.web import Failure

READS = 8  # at once; more wait their turn
READS_EACH = 4  # of one account, so that none takes all of them

T = TypeVar("T")
FILTERS = frozenset({"status", "from", "to", "after", "before", "cursor", "limit"})
PAGING = frozenset({"cursor", "limit"})


class Page(msgspec.Struct, rename="camel"):
    """A list. `next_cursor` null: there is nothing older."""

    ok: bool
    data: list[Any]
    next_cursor: str | None


class Today(msgspec.Struct):
    """What was accepted since midnight UTC; messages and recipients."""

    messages: int
    recipients: int


def handlers(ready: Ready, desk: Desk) -> list[HTTPRouteHandler]:
    """The routes."""
    # Not the threads of the loop, which carry what is large of every message.
    threads = ThreadPoolExecutor(READS, "reading")
    turns = defaultdict[int, asyncio.Semaphore](partial(asyncio.Semaphore, READS_EACH))

    async def answered(
        request: Request[Any, Any, Any], ask: Callable[[Caller], object]
    ) -> ASGIResponse:
        gate = ready.now.gate
        caller: Caller | None = None
        try:
            caller = await gate.caller(request.scope)
            async with turns[caller.account_id]:
                found = await asyncio.get_running_loop().run_in_executor(threads, ask, caller)
        except Failure as failure:
            return failed(gate, caller, failure)
        except Refused as refused:
            return failed(gate, caller, answer.failure(refused))
        except (NotFound, UsageError, WrongState, StoreAway) as error:
            return failed(gate, caller, told(error))
        body = msgspec.json.encode(found) if isinstance(found, Page) else answer.good(found)
        return response(body, 200, gate.limits(caller))

    @get("/api/v1/email/messages")
    async def messages(request: Request[Any, Any, Any]) -> ASGIResponse:
        return await answered(request, lambda caller: _messages(desk, caller, request))

    @get("/api/v1/email/messages/{ident:str}")
    async def message(request: Request[Any, Any, Any], ident: str) -> ASGIResponse:
        return await answered(request, lambda who: logs.show(desk, ident, account=who.account))

    @post("/api/v1/email/messages/{ident:str}/cancel", status_code=200)
    async def cancel(request: Request[Any, Any, Any], ident: str) -> ASGIResponse:
        return await answered(request, lambda who: queue.cancel(desk, ident, account=who.account))

    @post("/api/v1/email/messages/{ident:str}/retry", status_code=200)
    async def retry(request: Request[Any, Any, Any], ident: str) -> ASGIResponse:
        return await answered(request, lambda who: queue.retry(desk, ident, account=who.account))

    @get("/api/v1/account")
    async def account(request: Request[Any, Any, Any]) -> ASGIResponse:
        return await answered(request, lambda caller: _account(desk, caller))

    @get("/api/v1/refusals")
    async def refusals(request: Request[Any, Any, Any]) -> ASGIResponse:
        return await answered(request, lambda caller: _refusals(desk, caller, request))

    return [messages, message, cancel, retry, account, refusals]


def _messages(desk: Desk, caller: Caller, request: Request[Any, Any, Any]) -> Page:
    query = reads.read(request.scope["query_string"], FILTERS)
    limit = reads.limit(query)
    found = logs.list_(
        desk,
        account=caller.account,
        status=query.get("status"),
        sender=query.get("from"),
        to=query.get("to"),
        after=reads.time(query, "after"),
        before=reads.time(query, "before"),
        cursor=query.get("cursor"),
        limit=limit + 1,
    )
    return _page(found, limit)


def _refusals(desk: Desk, caller: Caller, request: Request[Any, Any, Any]) -> Page:
    query = reads.read(request.scope["query_string"], PAGING | {"to"})
    limit = reads.limit(query)
    cursor = reads.whole(query["cursor"], "cursor") if "cursor" in query else None
    found = logs.refusals(
        desk, account=caller.account, to=query.get("to"), cursor=cursor, limit=limit + 1
    )
    return _page(found, limit)


def _account(desk: Desk, caller: Caller) -> dict[str, Any]:
    use = accounts.use(desk, caller.account)
    shown: dict[str, Any] = msgspec.to_builtins(use.account)
    shown["limits"] = {"ratePerMinute": use.account.rate_limit}
    shown["today"] = Today(use.messages_today, use.recipients_today)
    return shown


def _page(found: list[Any], limit: int) -> Page:
    more = len(found) > limit
    shown = found[:limit]
    return Page(True, shown, str(shown[-1].id) if more else None)


def told(error: NotFound | UsageError | WrongState | StoreAway) -> Failure:
    """What the desk says, as HTTP says it."""
    named = isinstance(error, UsageError) and error.field  # it begins with a name or a value
    text = error.public if named else error.public[:1].upper() + error.public[1:]
    match error:
        case NotFound():
            return Failure(404, "NOT_FOUND", text)
        case BodyGone():
            return Failure(409, "BODY_GONE", text)
        case WrongState():
            return Failure(409, "WRONG_STATE", text)
        case UsageError():
            return Failure(400, "INVALID_REQUEST", text, error.field)
    return answer.failure(Refused(AWAY))
