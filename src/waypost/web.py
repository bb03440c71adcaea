"""The HTTP listeners: route handlers of any folder, served by uvicorn in the relay's own loop.

Promises to answer on sockets that app bound, to leave signals and logging to the relay, to cut a
client that does not finish its header, and that every error has one form, whoever made it:
`{"ok":false,"error","code","field"?}`. Knows nothing of what the routes do.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import ssl
import sys
import termios
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, cast

import httptools
import msgspec
import uvicorn
from litestar import Litestar, Request, Response
from litestar.exceptions import HTTPException
from litestar.handlers import BaseRouteHandler
from litestar.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from waypost.log import get

BODY_OCTETS = 25 * 1024 * 1024  # section 8 of the contract
HEAD_OCTETS = 65_536  # of a request's header in all; servers take 8 to 64 KB
HEAD_S = 30.0  # for a client to finish it
HANDSHAKES = 2_000  # of TLS at once; those beyond are dropped without a word
HANDSHAKE_S = 10.0
BREATH_S = 1.0  # how long nothing is accepted when files have run out
CONNECTIONS = 2_000  # of http, and of https; idle ones too: they take files from the mail
WATCH_S = 60.0  # how often a connection is looked at: a client that has not moved is cut
KEPT_S = 65  # idle keep-alive; longer than the 60 s of usual balancers
STOP_S = 10  # how long requests in progress may take at a stop
STOP_LEAST_S = 3  # the same where the rest of the relay took its time
STRICT = (b"strict-transport-security", b"max-age=31536000")  # RFC 6797 6.1: a year
AGAIN_S = "30"  # Retry-After where nobody knows better
JSON = "application/json"

_LENGTHS = (b"content-length", b"transfer-encoding")  # RFC 9112 6
_WORDS = {404: "NOT_FOUND", 413: "TOO_LARGE"}
_TEXTS = {
    404: "There is nothing at this address: see /docs",
    405: "This address does not take this method: see /docs",
    413: f"The request is larger than {BODY_OCTETS} bytes: send less",
    431: f"The header of the request is larger than {HEAD_OCTETS} bytes: send less",
    500: "Something went wrong here, try again later",
}


class Failure(Exception):
    """An answer that is no success. `text` is for people, `code` for programs."""

    def __init__(
        self,
        status: int,
        code: str,
        text: str,
        field: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(text)
        self.status = status
        self.code = code
        self.text = text
        self.field = field
        self.headers = dict(headers or {})
        if status in (429, 503):
            self.headers.setdefault("Retry-After", AGAIN_S)

    @property
    def body(self) -> bytes:
        return failure_body(self.code, self.text, self.field)


def failure_body(code: str, text: str, field: str = "") -> bytes:
    """The JSON of an error."""
    told = {"ok": False, "error": text, "code": code}
    if field:
        told["field"] = field
    return msgspec.json.encode(told)


def failure_of(status: int) -> Failure:
    """The error of a status that nothing more is known about."""
    known = _WORDS.get(status, "INVALID_REQUEST" if status < 500 else "UNAVAILABLE")
    text = _TEXTS.get(status, _TEXTS[500] if status >= 500 else "This request cannot be read")
    return Failure(status, known, text)


def _failed(_request: Request[Any, Any, Any], error: Failure) -> Response[bytes]:
    return Response(error.body, status_code=error.status, headers=error.headers, media_type=JSON)


def _framework(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """What Litestar itself refuses: no such route or method."""
    failure = failure_of(error.status_code)
    for name, value in (error.headers or {}).items():
        if name.lower() == "allow":  # RFC 9110 15.5.6: a 405 names the methods that there are
            failure.headers["Allow"] = value
    return _failed(request, failure)


def _broke(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    # The route, not the address: that of a login link lets somebody in.
    route = request.scope.get("path_template", "")
    get("web").error("request_broke", route=route, exc_info=error)
    return _failed(request, failure_of(500))


class _QuietServer(uvicorn.Server):
    """uvicorn without its signal handlers: the relay has its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Protocol(HttpToolsProtocol):
    """uvicorn's, with bounds on a header's size and time, our errors, and an end to idlers."""

    _timer: asyncio.TimerHandle | None = None
    _watch: asyncio.TimerHandle | None = None
    _head_octets = 0
    _unfinished_octets = 0
    _body_to_come = False
    _seen: tuple[int, object] = (0, None)  # octets unread; a call answered before its body came

    # asyncio names a wider type than what it gives a stream protocol.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch = self.loop.call_later(WATCH_S, self._look)
        self._arm()
        if len(self.connections) > CONNECTIONS:
            text = "There are too many connections: try again in a moment"
            self._end(Failure(503, "UNAVAILABLE", text))

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        if self._watch is not None:
            self._watch.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        self._parse(data)
        if self._timer is None or self.transport.is_closing():
            return
        # The parser keeps an unfinished field to itself, however long it gets.
        self._unfinished_octets += len(data)
        if self._unfinished_octets > HEAD_OCTETS:
            self._head_octets = self._unfinished_octets
            self.send_400_response("")

    def _parse(self, data: bytes) -> None:
        while data:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserError:
                self.send_400_response("")
                return
            except httptools.HttpParserUpgrade as upgrade:
                # Another protocol is offered beside the request (Java's client offers HTTP/2 with
                # each) and declined (RFC 9110 7.8). The parser has stopped behind the head: another
                # one goes on, with the body.
                self.parser = httptools.HttpRequestParser(cast("Any", _BehindHead(self)))
                data = _framing(self.headers) + data[upgrade.args[0] :]

    def on_message_complete(self) -> None:
        if not self.parser.should_upgrade():  # else its body is still to come
            self._body_to_come = False
            super().on_message_complete()

    def on_message_begin(self) -> None:
        self._head_octets = self._unfinished_octets = 0
        self._arm()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._disarm()
        self._body_to_come = True
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        self._end(failure_of(431 if self._head_octets > HEAD_OCTETS else 400))

    def _end(self, failure: Failure) -> None:
        again = failure.headers.get("Retry-After")
        self.transport.write(
            STATUS_LINE[failure.status]
            + (b"retry-after: %s\r\n" % again.encode() if again else b"")
            + b"content-type: application/json\r\nconnection: close\r\n"
            + b"content-length: %d\r\n\r\n" % len(failure.body)
            + failure.body
        )
        self.transport.close()

    def _count(self, octets: int) -> None:
        self._head_octets += octets
        if self._head_octets > HEAD_OCTETS:
            raise ValueError  # the parser makes it an error of its own: `send_400_response`

    def _look(self) -> None:
        """Cuts a client that has read nothing since the last look, of what waits for it, or that
        was answered before it and still keeps the body back: nobody waits for either.
        """
        unread = self.transport.get_write_buffer_size()
        if unread:  # the kernel takes the next when it is rid of much: what it keeps counts too
            kept = bytearray(4)
            with contextlib.suppress(OSError):
                fcntl.ioctl(self.transport.get_extra_info("socket"), termios.TIOCOUTQ, kept)
            unread += int.from_bytes(kept, sys.byteorder)
        early = self._body_to_come and self.cycle is not None and self.cycle.response_complete
        seen, self._seen = self._seen, (unread, self.cycle if early else None)
        if (unread and unread == seen[0]) or (early and self.cycle is seen[1]):
            self.transport.abort()
            return
        self._watch = self.loop.call_later(WATCH_S, self._look)

    def _arm(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(HEAD_S, self.transport.close)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _BehindHead:
    """What a parser tells that is given the body of a request whose head was parsed: all but the
    head of ours in front of it."""

    def __init__(self, protocol: _Protocol) -> None:
        self._protocol = protocol
        self._ours = True

    def on_message_begin(self) -> None:
        if not self._ours:
            self._protocol.on_message_begin()

    def on_url(self, url: bytes) -> None:
        if not self._ours:
            self._protocol.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._ours:
            self._protocol.on_header(name, value)

    def on_headers_complete(self) -> None:
        if not self._ours:
            self._protocol.on_headers_complete()
        self._ours = False

    def on_body(self, body: bytes) -> None:
        self._protocol.on_body(body)

    def on_message_complete(self) -> None:
        self._protocol.on_message_complete()


def _framing(headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """A head that says the same of the length of the body, and nothing else."""
    lines = [b"%s: %s\r\n" % pair for pair in headers if pair[0] in _LENGTHS]
    return b"POST / HTTP/1.1\r\n%s\r\n" % (b"".join(lines) or b"content-length: 0\r\n")


class HasContext(Protocol):
    """A certificate that may change: its context is asked for at each handshake."""

    @property
    def context(self) -> ssl.SSLContext: ...


def _following(certificate: HasContext) -> ssl.SSLContext:
    """A context for uvicorn, which asks only once: each handshake goes to the present one."""
    context = certificate.context

    def follow(handshake: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        handshake.context = certificate.context

    context.sni_callback = follow
    return context


async def _secured(
    bound: socket.socket, context: ssl.SSLContext, protocol: Callable[[], _Protocol]
) -> None:
    """Accepts connections for TLS until cancelled: uvicorn knows of them behind their handshake."""
    loop = asyncio.get_running_loop()
    shaking: set[asyncio.Task[None]] = set()

    async def shake(accepted: socket.socket) -> None:
        limits = {"ssl_handshake_timeout": HANDSHAKE_S}
        try:
            await loop.connect_accepted_socket(protocol, accepted, ssl=context, **limits)
        except (OSError, ssl.SSLError, TimeoutError):
            accepted.close()

    bound.setblocking(False)
    try:
        while True:
            try:
                accepted, _ = await loop.sock_accept(bound)
            except ConnectionAbortedError:
                continue
            except OSError:  # files have run out: accepting again at once would only spin
                await asyncio.sleep(BREATH_S)
                continue
            if len(shaking) >= HANDSHAKES:
                accepted.close()
                continue
            task = loop.create_task(shake(accepted))
            shaking.add(task)
            task.add_done_callback(shaking.discard)
    finally:
        bound.close()
        for task in shaking:
            task.cancel()


Lost = Callable[[Request[Any, Any, Any], Failure], Response[bytes]]


def _for_people(request: Request[Any, Any, Any]) -> bool:
    """Whether a browser asks for a page, and no program for the API."""
    path = request.scope["path"]
    return "text/html" in request.headers.get("accept", "") and not path.startswith("/api/")


def _head_as_get(application: ASGIApp) -> ASGIApp:
    """What takes GET takes HEAD (RFC 9110 9.3.2): health checks ask so.

    uvicorn, which keeps a scope of its own, leaves the body out.
    """

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        asked = cast("dict[str, Any]", scope)
        if asked.get("method") == "HEAD":
            scope = cast("Scope", {**asked, "method": "GET"})
        await application(scope, receive, send)

    return answer


def _strict_over_tls(application: ASGIApp) -> ASGIApp:
    """What came by https is to come so from then on (RFC 6797), whatever is answered."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        async def told(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], STRICT]}
            await send(message)

        await application(scope, receive, told if scope.get("scheme") == "https" else send)

    return answer


class WebListener:
    """Runs an application on bound sockets until `close`. `lost` makes the page of an address where
    there is nothing; without it that is JSON for browsers too.
    """

    def __init__(
        self,
        handlers: Sequence[BaseRouteHandler],
        trusted_proxies: Sequence[str],
        lost: Lost | None = None,
    ) -> None:
        def nowhere(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
            if lost is not None and error.status_code in (404, 405) and _for_people(request):
                return lost(request, failure_of(error.status_code))
            return _framework(request, error)

        self._application = Litestar(
            route_handlers=list(handlers),
            openapi_config=None,
            logging_config=None,
            request_max_body_size=BODY_OCTETS,
            exception_handlers={
                Failure: _failed,
                HTTPException: nowhere,
                Exception: _broke,
            },
        )
        self._proxies = list(trusted_proxies)
        self._running: list[tuple[uvicorn.Server, asyncio.Task[None]]] = []
        self._doors: list[asyncio.Task[None]] = []

    def start(
        self, sockets: Sequence[socket.socket], certificate: HasContext | None = None
    ) -> None:
        """Begins to serve, over TLS where a certificate is given; returns at once."""
        if not sockets:
            return
        config = uvicorn.Config(
            _strict_over_tls(_head_as_get(self._application)),
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=bool(self._proxies),
            forwarded_allow_ips=self._proxies,
            timeout_keep_alive=KEPT_S,
            timeout_graceful_shutdown=STOP_S,
        )
        config.load()
        server = _QuietServer(config)
        plain = list(sockets)
        if certificate is not None:
            context, plain = _following(certificate), []

            def protocol() -> _Protocol:
                return _Protocol(config, server.server_state, {})

            doors = [_secured(bound, context, protocol) for bound in sockets]
            self._doors += [asyncio.create_task(door) for door in doors]
        task = asyncio.create_task(server.serve(sockets=plain))
        self._running.append((server, task))

    async def close(self, within_s: float = STOP_S) -> None:
        """Ends after the requests in progress; how long these may take is between the bounds."""
        for door in self._doors:
            door.cancel()
        for server, _ in self._running:
            server.config.timeout_graceful_shutdown = int(min(max(within_s, STOP_LEAST_S), STOP_S))
            server.should_exit = True
        for _, task in self._running:
            await task
        await asyncio.gather(*self._doors, return_exceptions=True)
