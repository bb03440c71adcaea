"""Whether the relay lives, is ready, and which one it is: `/livez`, `/readyz`, `/version`.

Promises to say 503 while the relay starts, stops or cannot reach its store, so that a balancer
sends nobody here. Knows nothing of accounts and messages.
"""

from __future__ import annotations

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.status_codes import HTTP_200_OK, HTTP_503_SERVICE_UNAVAILABLE

from waypost.watch.readiness import Readiness


class Health(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of `/livez` and `/readyz`."""

    ok: bool
    reason: str = ""


class Version(msgspec.Struct, frozen=True):
    """The body of `/version`."""

    name: str
    version: str


def handlers(readiness: Readiness, version: str) -> list[HTTPRouteHandler]:
    """The three routes."""

    @get("/livez", sync_to_thread=False)
    def livez() -> Health:
        return Health(ok=True)

    @get("/readyz", sync_to_thread=False)
    def readyz() -> Response[Health]:
        reason = readiness.trouble()
        return Response(
            Health(ok=not reason, reason=reason),
            status_code=HTTP_503_SERVICE_UNAVAILABLE if reason else HTTP_200_OK,
            headers={"Retry-After": "2"} if reason else {},
        )

    @get("/version", sync_to_thread=False)
    def show_version() -> Version:
        return Version("waypost", version)

    return [livez, readyz, show_version]
