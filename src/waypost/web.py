"""The HTTP listener: route handlers of any folder, served by uvicorn in the relay's own loop.

Promises to answer on sockets that app bound, and to leave signals and logging to the relay. Knows
nothing of what the routes do.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator, Sequence

import uvicorn
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler

BODY_OCTETS = 25 * 1024 * 1024  # section 8 of the contract
KEPT_S = 65  # idle keep-alive; longer than the 60 s of usual balancers
STOP_S = 10  # how long requests in progress may take at a stop


class _QuietServer(uvicorn.Server):
    """uvicorn without its signal handlers: the relay has its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class WebListener:
    """Runs an application on bound sockets until `close`."""

    def __init__(
        self, handlers: Sequence[HTTPRouteHandler], trusted_proxies: Sequence[str]
    ) -> None:
        application = Litestar(
            route_handlers=list(handlers),
            openapi_config=None,
            logging_config=None,
            request_max_body_size=BODY_OCTETS,
        )
        self._server = _QuietServer(
            uvicorn.Config(
                application,
                http="httptools",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=bool(trusted_proxies),
                forwarded_allow_ips=list(trusted_proxies),
                timeout_keep_alive=KEPT_S,
                timeout_graceful_shutdown=STOP_S,
            )
        )
        self._task: asyncio.Task[None] | None = None

    def start(self, sockets: Sequence[socket.socket]) -> None:
        """Begins to serve; returns at once."""
        self._task = asyncio.create_task(self._server.serve(sockets=list(sockets)))

    async def close(self) -> None:
        """Ends after the requests in progress, at most `STOP_S`."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task
