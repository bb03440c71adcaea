"""The SMTP listeners of a worker: sockets in, sessions out, one sweep a second.

Promises that a connection which cannot be let in is told so at once, that running out of files
stops accepting for a moment and nothing else, and that a stop finishes what is in progress.
Knows nothing of commands, keys and messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Callable
from typing import cast

from waypost.core.verdict import Reason, Refusal
from waypost.intake import answer
from waypost.intake.house import SHUTDOWN_S, House
from waypost.intake.session import Session
from waypost.log import get

SWEEP_S = 1.0
ACCEPTS_A_TURN = 64  # then the sessions that are open get their turn
BREATH_S = 1.0  # how long nothing is accepted when files have run out
REFUSED_HANDSHAKES = 32  # at once; those beyond are dropped without a word
REFUSED_HANDSHAKE_S = 5.0
STOP_S = 30.0  # the contract, section 12

_GONE = (errno.ECONNABORTED, errno.EPERM, errno.EPROTO)


class Listener:
    """A bound, listening, non-blocking socket, and whether TLS starts before the greeting."""

    def __init__(self, bound: socket.socket, implicit_tls: bool) -> None:
        self.socket = bound
        self.implicit_tls = implicit_tls
        bound.setblocking(False)
        with contextlib.suppress(OSError):  # accepted sockets inherit it; not on every family
            bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class SmtpServer:
    """Accepts on the listeners until `stop`. `ticked` is called once a second with the sweep."""

    def __init__(
        self,
        house: House,
        listeners: list[Listener],
        ticked: Callable[[float], None] | None = None,
    ) -> None:
        self._house = house
        self._listeners = listeners
        self._ticked = ticked
        self._log = get("intake")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._open = False
        self._refusing = 0

    def start(self) -> None:
        """Begins to accept, on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._open = True
        for listener in self._listeners:
            self._loop.add_reader(listener.socket, self._accept, listener)
        self._timer = self._loop.call_later(SWEEP_S, self._sweep)

    def leave(self) -> None:
        """Stops accepting, ends idle sessions; what is in progress goes on."""
        self._close()
        self._house.stop()

    async def stop(self, within_s: float = STOP_S) -> None:
        """Leaves, waits for what is in progress, ends the rest."""
        self.leave()
        await self._house.emptied(within_s)
        self._house.abort()
        await asyncio.sleep(0)
        if self._timer is not None:
            self._timer.cancel()

    def _close(self) -> None:
        if not self._open or self._loop is None:
            return
        self._open = False
        for listener in self._listeners:
            self._loop.remove_reader(listener.socket)
            listener.socket.close()

    def _sweep(self) -> None:
        assert self._loop is not None
        self._timer = self._loop.call_later(SWEEP_S, self._sweep)
        now_s = self._house.with_.clock.monotonic()
        self._house.sweep(now_s)
        said = self._house.with_.certificate.refresh()
        if said is not None:
            self._log.info("certificate", what=said)
        if self._ticked is not None:
            self._ticked(now_s)

    def _accept(self, listener: Listener) -> None:
        for _ in range(ACCEPTS_A_TURN):
            try:
                accepted, address = listener.socket.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno not in _GONE:
                    self._breathe(listener, error)
                    return
                continue
            self._admit(accepted, _shown(address[0]), listener.implicit_tls)

    def _breathe(self, listener: Listener, error: OSError) -> None:
        """Out of files or memory: accepting again at once would only spin."""
        assert self._loop is not None
        self._log.warning("cannot_accept", why=error.strerror)
        self._loop.remove_reader(listener.socket)
        self._loop.call_later(BREATH_S, self._resume, listener)

    def _resume(self, listener: Listener) -> None:
        if self._open and self._loop is not None:
            self._loop.add_reader(listener.socket, self._accept, listener)

    def _admit(self, accepted: socket.socket, peer: str, implicit_tls: bool) -> None:
        accepted.setblocking(False)
        why = self._house.full(peer)
        if why is not None:
            self._turn_away(accepted, peer, why, implicit_tls)
            return
        session = Session(self._house, peer, implicit_tls)
        self._house.came(session)
        self._house.run(self._connect(accepted, session, implicit_tls))

    async def _connect(self, accepted: socket.socket, session: Session, tls: bool) -> None:
        with_ = self._house.with_
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(
                lambda: session,
                accepted,
                ssl=with_.certificate.context if tls else None,
                ssl_handshake_timeout=self._house.patience.handshake_s if tls else None,
                ssl_shutdown_timeout=SHUTDOWN_S if tls else None,
            )
        except (OSError, ssl.SSLError, TimeoutError):
            session.connection_lost(None)
            accepted.close()

    def _turn_away(self, accepted: socket.socket, peer: str, why: str, tls: bool) -> None:
        """421 at once; behind TLS after a handshake, of which only so many are done."""
        line = answer.refused(Refusal(Reason.SESSIONS, why))
        self._house.with_.door.note("smtp", peer, (None, None), "", Reason.SESSIONS, line)
        if not tls:
            with contextlib.suppress(OSError):
                accepted.send(f"{line}\r\n".encode("ascii"))
            accepted.close()
        elif self._refusing < REFUSED_HANDSHAKES:
            self._refusing += 1
            self._house.run(self._refuse(accepted, line))
        else:
            accepted.close()

    async def _refuse(self, accepted: socket.socket, line: str) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: _Refuser(line),
                accepted,
                ssl=self._house.with_.certificate.context,
                ssl_handshake_timeout=REFUSED_HANDSHAKE_S,
                ssl_shutdown_timeout=SHUTDOWN_S,
            )
        except (OSError, ssl.SSLError, TimeoutError):
            accepted.close()
        finally:
            self._refusing -= 1


class _Refuser(asyncio.Protocol):
    """Says one line and closes."""

    def __init__(self, line: str) -> None:
        self._line = line

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast(asyncio.Transport, transport)
        stream.write(f"{self._line}\r\n".encode("ascii"))
        stream.close()


def _shown(host: str) -> str:
    """IPv4 as IPv4, also where it came in over an IPv6 socket; no zone."""
    host = host.partition("%")[0]
    return host.removeprefix("::ffff:") if host.startswith("::ffff:") and "." in host else host
