"""From an upstream's settings to a connection that is signed in.

Promises that a tenant's upstream is reached only at an address that was checked, at that very
connect; that the certificate is judged before the login; and that no login goes out unprotected
unless the upstream was set up without encryption. Every failure is a `TransportError` with its
`trouble`. Knows nothing of messages or of when to try.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
from collections.abc import Callable

import msgspec

from waypost.clock import Clock, SystemClock
from waypost.core.errors import Secret, WaypostError
from waypost.core.reply import Stage
from waypost.core.upstream import Encryption, Login, Upstream, Validate
from waypost.transport import trouble
from waypost.transport.link import tls
from waypost.transport.link.guard import Guard
from waypost.transport.link.mask import Mask, clear, masker
from waypost.transport.link.names import Found, Names
from waypost.transport.link.stream import Stream, Timeouts
from waypost.transport.oauth.tokens import NoToken, Tokens
from waypost.transport.trouble import (
    AddressRefused,
    CertificateRefused,
    Garbled,
    LoginImpossible,
    Lost,
    PortRefused,
    Refused,
    TransportError,
)
from waypost.wire.client import ClientSession
from waypost.wire.events import ClientEvent, Declined, HelloDone, LoggedIn, StartHandshake

HANDSHAKE_S = 30.0  # of the time to connect
ADDRESS_S = 10.0  # for one of several addresses
ADDRESSES = 64  # of one name: whoever runs its DNS could answer with thousands
NOT_SMTP = "what answers there does not speak SMTP"

Saying = Callable[[Stage], None]


class SignedIn(msgspec.Struct, frozen=True):
    """A connection that takes mail. `pin`: what `auto` decided just now, else empty."""

    stream: Stream
    pin: str


class Dialer:
    """Makes connections. `hostname` is said in EHLO, `authorities` a PEM file of further roots.

    `clock` is for time-outs alone, which are of the real world even where the queue's time is not.
    `tokens`: where those of upstreams whose login is by token come from.
    """

    def __init__(
        self,
        hostname: str,
        guard: Guard,
        timeouts: Timeouts | None = None,
        authorities: str | None = None,
        clock: Clock | None = None,
        tokens: Tokens | None = None,
    ) -> None:
        self.tokens = tokens
        self.timeouts = timeouts or Timeouts()
        self.monotonic = (clock or SystemClock()).monotonic
        self._hostname = hostname
        self._guard = guard
        self._authorities = authorities
        self._names = Names()

    def contexts(self) -> tls.Contexts:
        """The TLS contexts of one edition of one upstream; make them once and pass them in."""
        return tls.Contexts(self._authorities)

    async def sign_in(
        self, upstream: Upstream, contexts: tls.Contexts, saying: Saying | None = None
    ) -> SignedIn:
        """Connects, protects, logs in. `saying` is told of each stage as it begins.

        A token that the server no longer takes is renewed once, and all begins anew.
        """
        attempt = _Opening(self, upstream, contexts, saying)
        try:
            return await self._trusting(attempt)
        except TransportError as error:
            if attempt.kept_token is None or not _login_refused(error):
                raise
            refused, transcript = attempt.kept_token, error.transcript
        assert self.tokens is not None
        try:
            await self.tokens.refused(upstream, refused)
        except NoToken as none:
            none.transcript = transcript
            raise
        return await self._trusting(attempt)

    async def _trusting(self, attempt: _Opening) -> SignedIn:
        """What `auto` does where nothing is pinned yet: it asks less of the certificate."""
        upstream = attempt.upstream
        trust = tls.trust_of(upstream.validate, upstream.pin)
        try:
            return await attempt.run(trust)
        except TransportError as error:
            undecided = upstream.validate is Validate.AUTO and not upstream.pin
            cause = error.__cause__
            if not undecided or not isinstance(cause, ssl.SSLCertVerificationError):
                raise
            weaker = tls.weaker(cause)
            if weaker is None:
                raise
        return await attempt.run(weaker)

    async def resolve(self, upstream: Upstream) -> list[Found]:
        """The addresses that may be connected to; raises `AddressRefused`, OSError."""
        tenant = upstream.account_id is not None
        if tenant and not self._guard.allows_port(upstream.port):
            raise PortRefused(Stage.CONNECT, f"port {upstream.port} is not allowed here")
        found = await self._names.find(upstream.host, upstream.port, upstream.account_id)
        places = [
            place
            for place in found[:ADDRESSES]
            if not tenant or self._guard.allows(str(place[1][0]))
        ]
        if found and not places:
            raise AddressRefused(Stage.CONNECT, "the host's address is not allowed here")
        return places

    def session(self, encryption: Encryption) -> ClientSession:
        return ClientSession(self._hostname, tls=encryption is Encryption.TLS)


class _Opening:
    """One way in, from the first packet to the login; each `run` begins anew.

    `kept_token`: the one that was used, where it was not got just then.
    """

    def __init__(
        self,
        dialer: Dialer,
        upstream: Upstream,
        contexts: tls.Contexts,
        saying: Saying | None,
    ) -> None:
        self.upstream = upstream
        self.kept_token: Secret | None = None
        self._dialer = dialer
        self._contexts = contexts
        self._saying = saying
        self._stage = Stage.CONNECT
        self._stream: Stream | None = None
        self._veil: Mask = clear

    async def run(self, trust: tls.Trust) -> SignedIn:
        self._stream = self.kept_token = None
        try:
            stream = await self._open(trust)
            pin = self._judge(stream, trust)
            await self._login(stream)
            if stream.pending or not stream.usable:
                raise Lost(self._stage, "the upstream spoke out of turn")
        except BaseException as error:
            transcript, veil = self._end(), self._veil
            if not isinstance(error, OSError | WaypostError | EOFError):
                raise
            known = trouble.of_exception(self._stage, error)
            tenant = self.upstream.account_id is not None
            if tenant and isinstance(error, Garbled) and error.stage is Stage.GREETING:
                # No account reads by us what another service says of itself.
                known = msgspec.structs.replace(known, reason=NOT_SMTP)
            known = msgspec.structs.replace(known, reason=veil(known.reason))
            failed = TransportError(known.stage, known.reason, known)
            failed.transcript = transcript
            raise failed from error
        return SignedIn(stream, pin)

    def _end(self) -> str:
        if self._stream is None:
            return ""
        transcript = self._stream.session.transcript.text()
        self._stream.fail(Lost(self._stage, "closed by us"))
        return transcript

    def _at(self, stage: Stage) -> None:
        self._stage = stage
        if self._saying is not None:
            self._saying(stage)

    async def _open(self, trust: tls.Trust) -> Stream:
        upstream = self.upstream
        self._at(Stage.CONNECT)
        async with asyncio.timeout(self._dialer.timeouts.connect_s):
            sock = await self._connect()
        session = self._dialer.session(upstream.encryption)
        self._veil = self._masker()
        session.veil = None if self._veil is clear else self._veil
        stream = self._stream = Stream(session, self._dialer.timeouts, self._dialer.monotonic)
        loop = asyncio.get_running_loop()
        if upstream.encryption is Encryption.TLS:
            self._at(Stage.HANDSHAKE)
            await loop.create_connection(
                lambda: stream,
                sock=sock,
                ssl=self._contexts.get(trust),
                server_hostname=_server_name(upstream.host),
                ssl_handshake_timeout=min(HANDSHAKE_S, self._dialer.timeouts.reply_s),
            )
        else:
            await loop.create_connection(lambda: stream, sock=sock)
        self._at(Stage.GREETING)
        await self._expect(stream, HelloDone)
        if upstream.encryption is Encryption.STARTTLS:
            await self._starttls(stream, trust)
        return stream

    async def _connect(self) -> socket.socket:
        """A socket connected to the first address that answers, all of them checked before."""
        places = await self._dialer.resolve(self.upstream)
        failure: OSError | None = None
        for place in places:
            limit = ADDRESS_S if len(places) > 1 else None
            try:
                async with asyncio.timeout(limit):
                    return await _reach(*place)
            except OSError as error:  # TimeoutError is one
                failure = error
        raise failure or OSError("no address for the host")

    async def _starttls(self, stream: Stream, trust: tls.Trust) -> None:
        self._at(Stage.STARTTLS)
        if not stream.session.capabilities.starttls:
            raise LoginImpossible(Stage.STARTTLS, "TLS refused: STARTTLS is not offered")
        stream.session.starttls()
        stream.flush()
        await self._expect(stream, StartHandshake)
        self._at(Stage.HANDSHAKE)
        assert stream.transport is not None
        transport = await asyncio.get_running_loop().start_tls(
            stream.transport,
            stream,
            self._contexts.get(trust),
            server_hostname=_server_name(self.upstream.host),
            ssl_handshake_timeout=min(HANDSHAKE_S, self._dialer.timeouts.reply_s),
        )
        if transport is None:
            raise Lost(Stage.HANDSHAKE, "the upstream closed the connection")
        stream.connection_made(transport)
        stream.session.tls_started()
        self._at(Stage.EHLO)
        stream.flush()
        await self._expect(stream, HelloDone)

    def _judge(self, stream: Stream, trust: tls.Trust) -> str:
        """Compares or decides the pin of `auto`; raises `CertificateRefused`."""
        upstream = self.upstream
        if upstream.encryption is Encryption.NONE or upstream.validate is not Validate.AUTO:
            return ""
        assert stream.transport is not None
        secured = stream.transport.get_extra_info("ssl_object")
        certificate = secured.getpeercert(binary_form=True) if secured is not None else None
        if not certificate:
            raise CertificateRefused(Stage.HANDSHAKE, "the upstream showed no certificate")
        try:
            if upstream.pin:
                tls.check_pin(upstream.pin, certificate)
                return ""
            return tls.pin_of(trust, certificate)
        except (tls.Mismatch, ValueError) as error:
            raise CertificateRefused(Stage.HANDSHAKE, str(error)) from error

    async def _login(self, stream: Stream) -> None:
        upstream = self.upstream
        if not upstream.username:
            return
        self._at(Stage.AUTH)
        if upstream.login is Login.XOAUTH2:
            token = await self._token()
            stream.session.veil = self._veil = self._masker()
            stream.session.login_with_token(upstream.username, token)
        else:
            stream.session.login(upstream.username, upstream.password or Secret(""))
        stream.flush()
        await self._expect(stream, LoggedIn)

    async def _token(self) -> Secret:
        tokens = self._dialer.tokens
        if tokens is None:
            raise NoToken(Stage.AUTH, "logins by token are not possible here")
        token, fresh = await tokens.token(self.upstream)
        self.kept_token = None if fresh else token
        return token

    def _masker(self) -> Mask:
        tokens = self._dialer.tokens
        return masker(self.upstream, *(() if tokens is None else tokens.known(self.upstream)))

    async def _expect(self, stream: Stream, kind: type[ClientEvent]) -> None:
        event = await stream.event()
        if isinstance(event, Declined):
            raise Refused(event.stage, event.reply)
        if not isinstance(event, kind):
            raise Lost(self._stage, "the upstream spoke out of turn")


def _login_refused(error: TransportError) -> bool:
    """RFC 4954 6: a 5yz at AUTH."""
    cause = error.__cause__
    return isinstance(cause, Refused) and cause.stage is Stage.AUTH and cause.reply.permanent


async def _reach(family: socket.AddressFamily, address: tuple[object, ...]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        with contextlib.suppress(OSError):  # a path without TCP_NODELAY is only slower
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


def _server_name(host: str) -> str:
    """The name that is verified and sent as SNI: a trailing dot is no part of it."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host.rstrip(".") or host
