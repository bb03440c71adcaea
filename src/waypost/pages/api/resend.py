"""`POST /api/v1/email/messages/{id}/resend`: a message of one's own once more.

Promises a new message with a new id and charge, through the same door, limits and answers as any
other call that sends. Knows nothing of how octets are kept.
"""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, post
from litestar.handlers import HTTPRouteHandler
from litestar.response.base import ASGIResponse

from waypost.core.errors import NotFound, WrongState
from waypost.desk.office import Desk
from waypost.desk.send.again import kept
from waypost.intake.http import draft
from waypost.intake.http.body import Body
from waypost.intake.http.gate import Caller
from waypost.intake.http.once import Call, Reply
from waypost.intake.http.routes import JSON_TYPES, Ready, answered
from waypost.pages.api.reading import told


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """A body that says nothing: a field that is not heeded would be mail not meant."""


NOTHING = msgspec.json.Decoder(Nothing)


def handlers(ready: Ready, desk: Desk) -> list[HTTPRouteHandler]:
    """The one route."""

    @post("/api/v1/email/messages/{ident:str}/resend", status_code=200)
    async def resend(request: Request[Any, Any, Any], ident: str) -> ASGIResponse:
        do = ready.now

        async def work(caller: Caller, body: Body, call: Call | None) -> Reply:
            if body.octets:
                draft.read(body.whole(), NOTHING)
            try:
                return await do.sending.anew(
                    caller, lambda: kept(desk, ident, account=caller.account), call
                )
            except (NotFound, WrongState) as error:
                raise told(error) from None

        return await answered(do, request, JSON_TYPES, work, do.sending.again)

    return [resend]
