"""Answers the calls under /api/v1/manage: finds the route, asks its deed, tells what came of it.

Promises one form for every answer and error. Addresses are read from the octets of the request, so
that a name may hold a slash or whatever else people call things. Knows nothing of the deeds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec
from litestar import asgi
from litestar.handlers import ASGIRouteHandler
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

from waypost.config import Config
from waypost.core.errors import (
    Conflict,
    Forbidden,
    NotFound,
    StoreAway,
    UsageError,
    WaypostError,
    WrongState,
)
from waypost.desk.access.tokens import Holder
from waypost.desk.connection.pace import TooManyTests
from waypost.desk.connection.vault import DeskVault
from waypost.desk.connection.views import TestFailed
from waypost.desk.domains.check import asking
from waypost.desk.office import Desk, Hand
from waypost.desk.send.again import NotAccepted
from waypost.desk.view.message import BodyGone
from waypost.intake.accept import AWAY
from waypost.intake.http import answer
from waypost.intake.http.body import take
from waypost.intake.http.draft import Refused, read
from waypost.intake.http.gate import header
from waypost.intake.http.once import KEY_CHARACTERS
from waypost.intake.http.routes import JSON_TYPES, Doing, Ready, check_type, response
from waypost.log import get
from waypost.pages.api import query as reads
from waypost.pages.doors import again_through
from waypost.pages.manage import log, mail, outside, people, servers
from waypost.pages.manage.apart import Apart
from waypost.pages.manage.gate import holder
from waypost.pages.manage.house import installation, members
from waypost.pages.manage.route import ROOT, Ask, Means, Nothing, Page, Replayed, Route
from waypost.pages.manage.shapes import hook
from waypost.transport.check.lookup import DnsLookup, LookupFailed, NoSuchDomain
from waypost.transport.check.run import Setup
from waypost.transport.link.guard import make_guard
from waypost.transport.oauth.tokens import Tokens
from waypost.web import Failure

NOT_ONES_OWN = "This is the operator's: a token of one account may not do it"
SUBJECT_CHARACTERS = 300
_NAMES = ("name", "address", "sender", "upstream", "email")  # of a body: what may be in the trail
_FIELDS = {"everyone": "global", "for_account": "for"}
_DIAGNOSED = {  # the field that is most likely to be changed
    "wrong_encryption": "encryption",
    "certificate_error": "validate",
    "tls_error": "encryption",
    "authentication_failed": "password",
    "sender_rejected": "sender",
}


def routes() -> list[Route]:
    """Every route of the management API."""
    return [
        *(*people.routes(), *members.routes(), *mail.routes(), *log.routes()),
        *(*servers.routes(), *outside.routes(), *installation.routes()),
    ]


def handlers(ready: Ready, desk: Desk, config: Config) -> list[ASGIRouteHandler]:
    """The one handler."""
    guard = make_guard(config.upstreams.allow_networks, config.upstreams.ports)
    tokens = Tokens(DeskVault(desk), desk.clock)
    setup = Setup(config.hostname, guard, desk.clock, tokens=tokens)
    servers = config.dns.servers
    means = Means(setup, DnsLookup(servers), asking(desk.clock, servers), config)
    manager = _Manager(ready, desk, means)

    @asgi(ROOT, is_mount=True)
    async def manage(scope: Scope, receive: Receive, send: Send) -> None:
        told = await manager.answer(scope, receive)
        await told(scope, receive, send)

    return [manage]


class _Manager:
    def __init__(self, ready: Ready, desk: Desk, means: Means) -> None:
        self._ready = ready
        self._desk = desk
        self._means = means
        self._routes = routes()
        self._decoders: dict[type, msgspec.json.Decoder[Any]] = {
            route.takes: msgspec.json.Decoder(route.takes, dec_hook=hook)
            for route in self._routes
            if route.takes is not None
        }
        self._apart: Apart | None = None

    async def answer(self, scope: Scope, receive: Receive) -> ASGIResponse:
        """What is answered, whatever happens but a mistake of ours."""
        try:
            do = self._ready.now
            if self._apart is None:
                self._apart = Apart()  # it belongs to the loop
            told, status = await self._within(do, self._apart, scope, receive)
        except (Failure, Refused, ConnectionError, WaypostError) as error:
            failure = _failure(error)
            return response(failure.body, failure.status, failure.headers)
        headers = {"Idempotent-Replayed": "true"} if isinstance(told, Replayed) else {}
        return response(_body(told), status, headers)

    async def _within(
        self, do: Doing, apart: Apart, scope: Scope, receive: Receive
    ) -> tuple[object, int]:
        facts: Mapping[str, Any] = scope
        peer = facts["client"][0] if facts.get("client") else ""
        why = do.caps.enter(peer)
        if why is not None:
            raise Failure(503, "UNAVAILABLE", f"There are {why}")
        try:
            found = await holder(facts, do.gate, self._desk, apart)
            route, path = _find(self._routes, facts["method"], facts["raw_path"])
            if route.operator and found.account is not None:
                raise Failure(403, "FORBIDDEN", NOT_ONES_OWN)
            ask = await self._ask(route, path, facts, receive, (found, do))
            if route.slow:
                told = await apart.slow(lambda: route.do(ask), found.account)
            else:
                told = await apart.quick(lambda: route.do(ask))
            return told, route.status
        finally:
            do.caps.leave(peer)

    async def _ask(
        self,
        route: Route,
        path: dict[str, str],
        facts: Mapping[str, Any],
        receive: Receive,
        by: tuple[Holder, Doing],
    ) -> Ask:
        known = frozenset(name for name in route.query if name != "Idempotency-Key")
        query = reads.read(facts["query_string"], known)
        once = header(facts, b"idempotency-key") if "Idempotency-Key" in route.query else ""
        if len(once) > KEY_CHARACTERS:
            text = f"An Idempotency-Key has at most {KEY_CHARACTERS} characters"
            raise Failure(400, "INVALID_REQUEST", text)
        body: object = None
        if route.takes is not None:
            check_type(facts, JSON_TYPES)
            came = await take(receive, by[1].folder, by[1].memory)
            try:
                if came.octets > route.body_octets:
                    text = f"The body is larger than {route.body_octets} bytes: send less"
                    raise Failure(413, "TOO_LARGE", text)
                octets = came.whole()
            finally:
                came.close()
            if not octets and route.takes is not None and _needs_nothing(route.takes):
                octets = b"{}"
            body = read(octets, self._decoders[route.takes], "this call")
        hand = None if route.method == "GET" else _hand(by[0], facts, body)
        bound = by[0].account is not None
        desk = msgspec.structs.replace(self._desk, hand=hand, bound=bound)
        return Ask(
            desk=desk,
            means=self._means,
            account=by[0].account,
            path=path,
            query=query,
            body=body,
            once=once,
            door=again_through(by[1], desk.clock, asyncio.get_running_loop()),
        )


def _hand(by: Holder, facts: Mapping[str, Any], body: object) -> Hand:
    """Whose deed it is, for the audit trail: what it is done to is the path and the names said."""
    segments = _segments(facts["raw_path"])
    words = ["/".join(segments), *(getattr(body, name, None) for name in _NAMES)]
    subject = " ".join(word for word in words if isinstance(word, str) and word)
    query = dict(parse_qsl(facts["query_string"].decode("latin-1")))
    said = getattr(body, "account", None) or query.get("account")
    if said is None and segments[0] == "accounts" and len(segments) > 1:
        said = segments[1]
    return Hand(
        actor=f"token {by.token_id} {by.name}".rstrip(),
        deed=f"API {facts['method']} {segments[0]}",
        subject="".join(c if c.isprintable() else "?" for c in subject)[:SUBJECT_CHARACTERS],
        peer=facts["client"][0] if facts.get("client") else "",
        account=by.account or (said if isinstance(said, str) else None),
    )


def _needs_nothing(takes: type) -> bool:
    """A body of that shape may be left out."""
    return takes is Nothing or not any(f.required for f in msgspec.structs.fields(takes))


def _segments(raw_path: bytes) -> list[str]:
    """What stands between the slashes behind the root; a slash in a name is written %2F."""
    rest = raw_path.decode("latin-1").partition(ROOT)[2].strip("/")
    return [unquote(segment, errors="replace") for segment in rest.split("/")]


def _find(routes: Sequence[Route], method: str, raw_path: bytes) -> tuple[Route, dict[str, str]]:
    """The route and the names in the path. Raises `Failure` 404, 405."""
    asked = _segments(raw_path)
    allowed: list[str] = []
    for route in routes:
        segments = route.segments
        if len(segments) != len(asked) or not all(asked):
            continue
        pairs = list(zip(segments, asked, strict=True))
        if any(not known.startswith("{") and known != given for known, given in pairs):
            continue
        if route.method == method:
            names = {known[1:-1]: given for known, given in pairs if known.startswith("{")}
            return route, names
        allowed.append(route.method)
    if not allowed:
        raise Failure(404, "NOT_FOUND", "There is nothing at this address: see /docs")
    text = f"This address takes {', '.join(allowed)} alone: see /docs"
    raise Failure(405, "INVALID_REQUEST", text, headers={"Allow": ", ".join(allowed)})


def _body(told: object) -> bytes:
    if isinstance(told, Page):
        page = {"ok": True, "data": told.data, "nextCursor": told.cursor}
        return msgspec.json.encode(page)
    return answer.good(told.data if isinstance(told, Replayed) else told)


def _failure(error: Failure | Refused | ConnectionError | WaypostError) -> Failure:
    """Any of them as HTTP says it."""
    match error:
        case Failure():
            return error
        case Refused():
            return answer.failure(error)
        case WaypostError():
            return _of_the_desk(error)
    return Failure(400, "INVALID_REQUEST", "The body did not come whole")


def _of_the_desk(error: WaypostError) -> Failure:
    text = error.public[:1].upper() + error.public[1:]
    match error:
        case NotFound():
            return Failure(404, "NOT_FOUND", text)
        case Forbidden():
            return Failure(403, "FORBIDDEN", text, _field(error.field))
        case TooManyTests():
            again = {"Retry-After": str(error.retry_after_s)}
            return Failure(429, "RATE_LIMITED", text, headers=again)
        case Conflict():
            return Failure(409, "IDEMPOTENCY_CONFLICT", text)
        case BodyGone():
            return Failure(409, "BODY_GONE", text)
        case NotAccepted():
            return answer.failure(Refused(error.refusal))
        case WrongState():
            return Failure(409, "WRONG_STATE", text)
        case UsageError():
            return Failure(400, "INVALID_REQUEST", text, _field(error.field))
        case TestFailed():
            field = _DIAGNOSED.get(error.view.diagnosis or "", "host")
            text = f"Not saved: {error.public}. {error.view.fix or ''}".strip()
            return Failure(422, "TEST_FAILED", text, field)
        case NoSuchDomain():
            return Failure(400, "INVALID_ADDRESS", text, "address")
        case LookupFailed():
            return Failure(503, "UNAVAILABLE", text)
        case StoreAway():
            pass
        case _:
            get("manage").error("deed_failed", reason=error.private)
    return answer.failure(Refused(AWAY))


def _field(name: str) -> str:
    """A field as the JSON calls it."""
    if name in _FIELDS:
        return _FIELDS[name]
    first, *more = name.split("_")
    return first + "".join(word.capitalize() for word in more)
