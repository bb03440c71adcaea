"""The routes that send: `send`, `batch` and `raw` under /api/v1/email.

Promises that every call is let in, bounded and answered in one form, and that a relay which is not
ready says 503. Knows nothing of how a message is made and judged.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from litestar import Request, post
from litestar.handlers import HTTPRouteHandler
from litestar.response.base import ASGIResponse

from waypost.core.errors import StoreAway
from waypost.core.verdict import Reason
from waypost.intake.accept import AWAY
from waypost.intake.bounds import Memory, SessionCaps
from waypost.intake.http import answer, once
from waypost.intake.http.body import READ_ON_OCTETS, Body, take, too_large
from waypost.intake.http.draft import Refused, wrong
from waypost.intake.http.gate import Caller, Gate, header
from waypost.intake.http.once import Call, Once, Reply
from waypost.intake.http.send import Envelope, Sending
from waypost.intake.receive import MEMORY_FULL
from waypost.store.idempotency import Remembered
from waypost.web import BODY_OCTETS, JSON, Failure

JSON_TYPES = frozenset({"", JSON})
RAW_TYPES = frozenset({"message/rfc822"})
NO_ROOM = frozenset({Reason.FULL, Reason.TROUBLE})  # said to repeats too, which need a disk
NOT_NOW = frozenset(Reason) - {Reason.RATE_LIMIT}  # the commit says exactly how long to wait
STARTING = "The relay is starting, try again in a moment"
STARTING_S = "2"

Work = Callable[[Caller, Body, Call | None], Awaitable[Reply]]
Again = Callable[[Remembered, Body], Awaitable[Reply | None]]


class Doing(msgspec.Struct, frozen=True):
    """What a ready relay does calls with. `folder`: where large bodies are kept while they come;
    `memory` counts the others.
    """

    gate: Gate
    sending: Sending
    once: Once
    caps: SessionCaps
    folder: Path
    memory: Memory


class Ready:
    """Holds the `Doing` once the relay has one. Routes exist before, to say that it starts."""

    def __init__(self) -> None:
        self.doing: Doing | None = None

    @property
    def now(self) -> Doing:
        if self.doing is None:
            raise Failure(503, "UNAVAILABLE", STARTING, headers={"Retry-After": STARTING_S})
        return self.doing


def handlers(ready: Ready) -> list[HTTPRouteHandler]:
    """The three routes."""

    @post("/api/v1/email/send", status_code=200)
    async def send(request: Request[Any, Any, Any]) -> ASGIResponse:
        do = ready.now
        return await answered(do, request, JSON_TYPES, do.sending.one, do.sending.again)

    @post("/api/v1/email/batch", status_code=200)
    async def batch(request: Request[Any, Any, Any]) -> ASGIResponse:
        do = ready.now
        return await answered(do, request, JSON_TYPES, do.sending.batch, do.sending.batch_again)

    @post("/api/v1/email/raw", status_code=200)
    async def raw(request: Request[Any, Any, Any]) -> ASGIResponse:
        do = ready.now

        async def work(caller: Caller, body: Body, call: Call | None) -> Reply:
            envelope = _envelope(request.scope["query_string"])
            return await do.sending.raw(caller, body, envelope, call)

        return await answered(do, request, RAW_TYPES, work, do.sending.again)

    return [send, batch, raw]


async def answered(
    do: Doing, request: Request[Any, Any, Any], types: frozenset[str], work: Work, again: Again
) -> ASGIResponse:
    """The answer to a call that sends: `work` does it, `again` tells what became of it before."""
    caller: Caller | None = None
    try:
        caller = await do.gate.caller(request.scope)
        reply = await _within(do, request, caller, types, work, again)
    except (Refused, StoreAway) as error:
        refused = error if isinstance(error, Refused) else Refused(AWAY)
        if caller is not None:
            await do.sending.note(caller, refused)
        return failed(do.gate, caller, answer.failure(refused))
    except Failure as failure:
        return failed(do.gate, caller, failure)
    headers = do.gate.limits(caller)
    if reply.replayed:
        headers["Idempotent-Replayed"] = "true"
    return response(reply.body, reply.status, headers)


async def _within(
    do: Doing,
    request: Request[Any, Any, Any],
    caller: Caller,
    types: frozenset[str],
    work: Work,
    again: Again,
) -> Reply:
    scope = request.scope
    why = do.caps.enter(caller.peer)
    if why is not None:
        raise wrong(f"There are {why}", "", Reason.SESSIONS)
    try:
        check_type(scope, types)
        name = header(scope, b"idempotency-key")
        digest = once.key_digest(name) if name else b""
        early = do.gate.door.known_at_mail(caller.account_id, caller.key.id)
        if early is not None and early.reason in (NO_ROOM if name else NOT_NOW):
            raise Refused(early)
        declared = _declared(scope)
        if declared > (BODY_OCTETS if header(scope, b"expect") else READ_ON_OCTETS):
            raise too_large({"Connection": "close"})  # it waits for a word, or nobody reads so far
        if not do.memory.room_for(declared):
            raise Refused(MEMORY_FULL)
        body = await take(request.receive, do.folder, do.memory)
        try:
            if not name:
                return await work(caller, body, None)
            asked = body.digest(scope["raw_path"], scope["query_string"])
            call = Call(caller.account_id, digest, asked)
            return await do.once.run(
                call, lambda: work(caller, body, call), lambda found: again(found, body)
            )
        finally:
            body.close()
    except ConnectionError:
        raise Failure(400, "INVALID_REQUEST", "The body did not come whole") from None
    finally:
        do.caps.leave(caller.peer)


def response(body: bytes, status: int, headers: Mapping[str, str]) -> ASGIResponse:
    """An answer in JSON."""
    return ASGIResponse(body=body, status_code=status, headers=dict(headers), media_type=JSON)


def failed(gate: Gate, caller: Caller | None, failure: Failure) -> ASGIResponse:
    """An error, with the limits of the caller's key."""
    headers = dict(failure.headers)
    if caller is not None:
        wait_s = int(headers["Retry-After"]) if failure.status == 429 else None
        headers.update(gate.limits(caller, wait_s))
    return response(failure.body, failure.status, headers)


def check_type(scope: Mapping[str, Any], types: frozenset[str]) -> None:
    """Refuses another content type, and encodings: a small body could become a large one."""
    given = header(scope, b"content-type").partition(";")[0].strip().lower()
    if given not in types:
        text = f"The body must be of Content-Type {max(types)}: set that header"
        raise Failure(415, "INVALID_REQUEST", text)
    if header(scope, b"content-encoding").lower() not in ("", "identity"):
        raise Failure(
            415, "INVALID_REQUEST", "Content-Encoding is not taken: send the body as it is"
        )


def _declared(scope: Mapping[str, Any]) -> int:
    """How large the body is said to be; 0: it is not said."""
    said = header(scope, b"content-length")
    return int(said) if said.isascii() and said.isdecimal() else 0


def _envelope(query: bytes) -> Envelope:
    to: list[str] = []
    sender = None
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name == "envelope-to":
            to += [text.strip() for text in value.split(",") if text.strip()]
        elif name == "envelope-from":
            sender = value.strip()
        else:
            text = "There is no parameter of that name: those are envelope-to and envelope-from"
            raise Failure(400, "INVALID_REQUEST", text)
    return Envelope(tuple(to), sender)
