"""The frame: makes routes of screens, each behind the session guard, its role and its token.

    def handlers(frame: Frame) -> list[HTTPRouteHandler]:
        def show(ask: Ask) -> Answer:
            return ask.page("keys/list.html", keys=keys.list_(ask.desk, account=ask.account))

        def disable(ask: Ask) -> Answer:
            keys.disable(ask.desk, ask.path["key_id"], account=ask.account)
            return ask.see("/keys", "The key is disabled.")

        return [
            frame.get("/keys", show),
            frame.post("/keys/{key_id:int}/disable", disable, "disable key"),
        ]

Promises that no screen runs for somebody without a session, with too small a role, or (a change)
without the session's token; that what goes wrong is a page in plain words; that screens run in
threads of their own, so that mail never waits for them. Knows nothing of what the screens do.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import msgspec
from litestar import Request, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.response import Response, Stream
from litestar.response.base import ASGIResponse

from waypost.config import Config
from waypost.core.errors import WaypostError
from waypost.desk.access.roles import Role
from waypost.desk.office import Desk
from waypost.pages.frame import entry, guard
from waypost.pages.frame.ask import Answer, Ask
from waypost.pages.frame.assets import Assets
from waypost.pages.frame.entry import Login, Rule
from waypost.pages.frame.failing import page_of
from waypost.pages.frame.menu import menu
from waypost.pages.frame.templates import environment
from waypost.web import Failure

THREADS = 8  # screens that run at once; more wait
SLOW_THREADS = 8  # of those that wait for other servers
SLOW_EACH = 3  # of one account, so that none takes all of them
HASHING_THREADS = 2  # of strangers who log in: a hash takes 46 MiB and a core
HASHING_MOST = 64  # strangers that wait for one; more are turned away
STREAMS = 200  # open at once
STREAMS_EACH = 20  # of one member
STREAM_S = 300.0  # then the browser asks again
GUARD_S = 1.0  # between looks whether who is told may still be told; each thing told is one too
FORM_OCTETS = 1 << 20
OPEN_FORM_OCTETS = 1 << 14  # of somebody who is not in yet: an address, a password, a token
EVENTS = "text/event-stream"
LINES = "application/x-ndjson"

T = TypeVar("T")
Screen = Callable[[Ask], Answer]
Flow = Callable[[Ask], AsyncIterator[bytes]]


class Route(msgspec.Struct, frozen=True):
    """A route as it was made; `deed` empty: it changes nothing. `open`: needs no login."""

    method: str
    path: str
    least: Role
    deed: str
    open: bool


class Frame:
    """What all screens share. `routes` are all that were made."""

    def __init__(self, config: Config, desk: Desk) -> None:
        self.config = config
        self.desk = desk
        self.assets = Assets()
        self.routes: list[Route] = []
        self.stopping = asyncio.Event()
        self.loop: asyncio.AbstractEventLoop | None = None  # known with the first request
        self._templates = environment(self.assets)
        self._threads = ThreadPoolExecutor(THREADS, "pages")
        self._slow = ThreadPoolExecutor(SLOW_THREADS, "pages-slow")
        self._hashing = ThreadPoolExecutor(HASHING_THREADS, "pages-hashing")
        self._strangers = 0
        self._slow_now: Counter[str | None] = Counter()
        self._streams: Counter[int] = Counter()

    def close(self) -> None:
        """Ends the streams; screens that run finish."""
        self.stopping.set()
        for pool in (self._threads, self._slow, self._hashing):
            pool.shutdown(wait=False, cancel_futures=True)

    def get(
        self, path: str, screen: Screen, least: Role = Role.READ_ONLY, *, slow: bool = False
    ) -> HTTPRouteHandler:
        """A page. `slow`: it waits for other servers."""
        rule = Rule(least=least, slow=slow)
        self.routes.append(Route("GET", path, least, "", False))
        return get(path)(self._handler(rule, screen))

    def post(
        self,
        path: str,
        screen: Screen,
        deed: str,
        least: Role = Role.DEVELOPER,
        *,
        subject: Sequence[str] = (),
        slow: bool = False,
    ) -> HTTPRouteHandler:
        """A change, in the audit trail as `deed` done to what the path and the form's `subject`
        fields name.
        """
        rule = Rule(least=least, slow=slow, deed=deed, subject=tuple(subject))
        self.routes.append(Route("POST", path, least, deed, False))
        return post(path, status_code=200, request_max_body_size=FORM_OCTETS)(
            self._handler(rule, screen)
        )

    def open_get(self, path: str, screen: Screen) -> HTTPRouteHandler:
        """A page that needs no login."""
        self.routes.append(Route("GET", path, Role.READ_ONLY, "", True))
        return get(path)(self._handler(Rule(open=True), screen))

    def open_post(self, path: str, screen: Screen, deed: str) -> HTTPRouteHandler:
        """A change that needs no login, yet the token of the visit."""
        self.routes.append(Route("POST", path, Role.READ_ONLY, deed, True))
        return post(path, status_code=200, request_max_body_size=OPEN_FORM_OCTETS)(
            self._handler(Rule(open=True, deed=deed), screen)
        )

    def stream(self, path: str, flow: Flow, least: Role = Role.READ_ONLY) -> HTTPRouteHandler:
        """Server-sent events: `flow` gives octets, on the loop; it ends after `STREAM_S`."""
        self.routes.append(Route("GET", path, least, "", False))
        return get(path, media_type=EVENTS)(self._streaming(Rule(least=least), flow, EVENTS))

    def _streaming(self, rule: Rule, flow: Flow, media_type: str) -> Callable[..., Any]:
        async def handler(request: Request[Any, Any, Any]) -> Any:
            login = entry.login_of(request)
            try:
                ask = await self._let_in(request, rule, login)
                one, all_ = self._streams[ask.who.member_id], self._streams.total()
                if one >= STREAMS_EACH or all_ >= STREAMS:
                    raise Failure(503, "UNAVAILABLE", "Too many pages are live: load this again")
            except (Failure, WaypostError) as error:
                failed = page_of(self._nobody(request, login), error)
                return Response(
                    failed.body,
                    status_code=failed.status,
                    media_type=failed.media_type,
                    headers={**guard.HEADERS, **failed.headers},
                )
            headers = {**guard.HEADERS, "X-Accel-Buffering": "no"}
            kept = self._flow(flow(ask), ask, login)
            return Stream(kept, media_type=media_type, headers=headers)

        return handler

    def post_stream(
        self,
        path: str,
        flow: Flow,
        deed: str,
        least: Role = Role.DEVELOPER,
        *,
        subject: Sequence[str] = (),
    ) -> HTTPRouteHandler:
        """A change that tells how it goes, in lines of JSON; else as `post`."""
        self.routes.append(Route("POST", path, least, deed, False))
        rule = Rule(least=least, deed=deed, subject=tuple(subject))
        # Litestar takes the media type of the handler before that of the stream.
        return post(path, status_code=200, media_type=LINES, request_max_body_size=FORM_OCTETS)(
            self._streaming(rule, flow, LINES)
        )

    async def aside(self, work: Callable[[], T]) -> T:
        """For flows: what reads the store, in a thread of the screens."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def slowly(self, account: str | None, work: Callable[[], T]) -> T:
        """What waits for other servers, in a thread. `Failure` 503 where too much of the account
        (None: of operators) waits already.
        """
        if self._slow_now[account] >= SLOW_EACH:
            raise Failure(503, "UNAVAILABLE", "Too much is under way: try again in a moment")
        loop = asyncio.get_running_loop()

        def ended(_: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self._slow_now.subtract, [account])

        running = self._slow.submit(work)
        self._slow_now[account] += 1
        # With the thread, not with who waits for it: that one may have gone away.
        running.add_done_callback(ended)
        return await asyncio.wrap_future(running)

    def draw(self, ask: Ask, template: str, facts: Mapping[str, Any]) -> bytes:
        """The octets of a template."""
        visitor = ask.visitor
        served = frozenset(route.path for route in self.routes if route.method == "GET")
        made = self._templates.get_template(template).render(
            {
                "ask": ask,
                "who": visitor,
                "account": visitor.account if visitor else None,
                "menu": menu(visitor.role, served) if visitor else [],
                "here": "/" + ask.url.lstrip("/").partition("?")[0].partition("/")[0],
                "csrf": ask.csrf,
                "notice": ask.notice,
                "Role": Role,
                "error": None,
                **facts,
            }
        )
        return made.encode("utf-8", "replace")

    def lost(self, request: Request[Any, Any, Any], failure: Failure) -> Response[bytes]:
        """The page of an address where there is nothing."""
        failure.text = "There is nothing at this address."
        answer = page_of(self._nobody(request, entry.login_of(request)), failure)
        return Response(
            answer.body,
            status_code=answer.status,
            media_type=answer.media_type,
            headers={**guard.HEADERS, **answer.headers},
        )

    def _handler(self, rule: Rule, screen: Screen) -> Callable[..., Any]:
        async def handler(request: Request[Any, Any, Any]) -> ASGIResponse:
            login = entry.login_of(request)
            ask = None
            try:
                ask = await self._let_in(request, rule, login)
                answer = await self._run(rule, screen, ask)
            except (Failure, WaypostError) as error:
                return self._failed(ask or self._nobody(request, login), error)
            if ask.notice and not ask.hx and answer.status != 303:
                answer.cookies.append(guard.cookie(guard.NOTICE, "", login.https, 0))
            return _response(answer)

        return handler

    async def _run(self, rule: Rule, screen: Screen, ask: Ask) -> Answer:
        loop = asyncio.get_running_loop()
        if not (rule.open and rule.deed):
            if rule.slow:
                return await self.slowly(ask.account, partial(screen, ask))
            return await loop.run_in_executor(self._threads, screen, ask)
        if self._strangers >= HASHING_MOST:
            raise Failure(503, "UNAVAILABLE", "Too many people log in just now: try again")
        self._strangers += 1
        try:
            return await loop.run_in_executor(self._hashing, screen, ask)
        finally:
            self._strangers -= 1

    async def _let_in(self, request: Request[Any, Any, Any], rule: Rule, login: Login) -> Ask:
        self.loop = asyncio.get_running_loop()
        loop = asyncio.get_running_loop()
        seen = (
            None
            if rule.open
            else await loop.run_in_executor(self._threads, login.visitor, self.desk)
        )
        # Who is not in sends no form that would have to be kept.
        wanted = rule.deed and (rule.open or seen is not None)
        fields = await entry.fields_of(request) if wanted else []
        return entry.let_in(entry.Draft(self, self.desk, request, fields), rule, login, seen)

    def _nobody(self, request: Request[Any, Any, Any], login: Login) -> Ask:
        """Who is told of a failure before it is known who asks."""
        return entry.stranger(entry.Draft(self, self.desk, request, []), login)

    def _failed(self, ask: Ask, error: Failure | WaypostError) -> ASGIResponse:
        return _response(page_of(ask, error))

    async def _flow(
        self, source: AsyncIterator[bytes], ask: Ask, login: Login
    ) -> AsyncIterator[bytes]:
        """What `source` gives, for as long as the session is what it was when it began: a logout,
        another role or a membership that has ended ends it, before anything more is told.
        """
        member = ask.who.member_id
        self._streams[member] += 1
        stop = asyncio.create_task(self.stopping.wait())
        end = asyncio.get_running_loop().call_later(STREAM_S, stop.cancel)
        step: asyncio.Task[bytes] | None = None
        try:
            while not stop.done():
                step = asyncio.ensure_future(anext(source))
                same = True
                while same and not (step.done() or stop.done()):
                    await asyncio.wait(
                        {step, stop}, timeout=GUARD_S, return_when=asyncio.FIRST_COMPLETED
                    )
                    look = partial(_same, login, self.desk, ask)
                    same = not self.stopping.is_set() and await self.aside(look)
                if not same or not step.done():
                    break
                yield step.result()
        except (StopAsyncIteration, WaypostError):
            pass
        finally:
            self._streams[member] -= 1
            end.cancel()
            for task in (stop, step):
                if task is not None:
                    task.cancel()


def _same(login: Login, desk: Desk, ask: Ask) -> bool:
    """Whether the session is still this member's, at the same account with the same role."""
    who, now = ask.who, login.visitor(desk)
    return now is not None and (now.member_id, now.account, now.role) == (
        who.member_id,
        who.account,
        who.role,
    )


def _response(answer: Answer) -> ASGIResponse:
    response = ASGIResponse(
        body=answer.body,
        status_code=answer.status,
        media_type=answer.media_type,
        headers={**guard.HEADERS, **answer.headers},
    )
    for line in answer.cookies:
        response.headers.add("set-cookie", line)
    return response
