"""The way to the relay: a connection, TLS, the key, and then letters or a session of the caller's.

Promises that the key is said behind TLS alone, to a relay on this machine or one with a certificate
that is valid. What may pass is `Away`; what does not is `Ended`. Knows nothing of what becomes of a
letter that was not taken.
"""

from __future__ import annotations

import ipaddress
import os
import select
import socket
import ssl
from collections.abc import Sequence

import msgspec

from waypost.cli.relay.local.flags import Ended, Exit
from waypost.cli.relay.local.letter import Letter
from waypost.cli.relay.local.pace import Pace
from waypost.config import Config
from waypost.core.address import Address
from waypost.core.errors import Secret
from waypost.core.reply import Reply
from waypost.values import Endpoint
from waypost.wire.client import ClientSession
from waypost.wire.errors import CannotCarry, NoMechanism, ProtocolError
from waypost.wire.events import (
    Broken,
    ClientEvent,
    Declined,
    HelloDone,
    LoggedIn,
    MessageDone,
    StartHandshake,
    Unasked,
)

CONNECT_S = 10.0
REPLY_S = 600.0  # RFC 5321 4.5.3.2.6, the longest: the relay may wait for the upstream
READ_OCTETS = 65_536
_ANY = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


class Away(Exception):
    """The relay cannot take it now; the text says why."""


class Outcome(msgspec.Struct):
    """What became of a letter: `left` are to be tried again, `refused` never. `answer`: the last
    good one."""

    answer: str = ""
    left: tuple[Address, ...] = ()
    why: str = ""
    refused: tuple[Address, ...] = ()
    code: Exit = Exit.OK
    said: str = ""


def place(config: Config) -> tuple[Endpoint, bool]:
    """Where the relay listens, and whether TLS comes first. Raises `Ended` (CONFIG)."""
    listen = config.listen
    for endpoints, implicit in ((listen.submission, False), (listen.submissions, True)):
        if endpoints and endpoints[0].port:
            host = _ANY.get(endpoints[0].host, endpoints[0].host)
            return Endpoint(host, endpoints[0].port), implicit
    raise Ended(Exit.CONFIG, "listen.submission names no port to hand mail to")


class Link:
    """One connection, opened and logged in when it is made; raises `Away` and `Ended`."""

    def __init__(self, config: Config, key: Secret) -> None:
        endpoint, implicit = place(config)
        self.name = f"the relay at {endpoint}"
        self._host = endpoint.host
        self._session = ClientSession(config.hostname, tls=implicit)
        try:
            self._socket = socket.create_connection((endpoint.host, endpoint.port), CONNECT_S)
        except OSError as error:
            raise Away(f"{self.name} is away: {error.strerror or error}") from error
        try:
            self._open(key, implicit)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Ends it without a word: nothing is owed once a letter has its answer."""
        self._socket.close()

    def deliver(self, letter: Letter) -> Outcome:
        """Hands the letter over, in as many transactions as the relay wants. Raises nothing."""
        outcome = Outcome(left=letter.recipients)
        eight_bit = not letter.octets.isascii()
        while outcome.left:
            trying, outcome.left = outcome.left, ()
            try:
                self._session.send(
                    letter.sender, trying, len(letter.octets), eight_bit, (letter.octets,)
                )
                done = self._until(MessageDone)
            except CannotCarry as error:
                _refuse(outcome, trying, Exit.DATA, str(error))
                break
            except (Away, ProtocolError, ValueError) as error:
                outcome.left, outcome.why = trying, str(error)
                break
            assert isinstance(done, MessageDone)
            if not _sorted(outcome, trying, done):
                break
        return outcome

    def proxy(self, source: int, sink: int) -> None:
        """Joins the caller's octets to the session that is logged in, until either ends it; a
        caller that does not wait for answers is made to (`Pace`)."""
        os.write(sink, f"220 {self._host} ESMTP Waypost\r\n".encode("ascii", "replace"))
        pace = Pace()
        watched: list[int | socket.socket] = [self._socket, source]
        try:
            while source in watched or not pace.idle:
                pending = isinstance(self._socket, ssl.SSLSocket) and self._socket.pending()
                ready = [self._socket] if pending else select.select(watched, [], [], REPLY_S)[0]
                if not ready:
                    return
                if self._socket in ready:
                    data = self._socket.recv(READ_OCTETS)
                    if not data:
                        return
                    due = pace.heard(data)
                    while data:
                        data = data[os.write(sink, data) :]
                elif data := os.read(source, READ_OCTETS):
                    due = pace.said(data)
                else:
                    watched.remove(source)
                    due = pace.ended()
                if due:
                    self._socket.sendall(due)
        except OSError as error:
            raise Away(f"{self.name} broke the connection: {error.strerror or error}") from error

    def _open(self, key: Secret, implicit: bool) -> None:
        self._socket.settimeout(REPLY_S)
        if implicit:
            self._secure()
        self._until(HelloDone)
        try:
            if not implicit:
                self._session.starttls()
                self._until(StartHandshake)
                self._secure()
                self._session.tls_started()
                self._until(HelloDone)
            self._session.login("waypost", key)
            self._until(LoggedIn)
        except (ProtocolError, NoMechanism) as error:
            raise Away(f"{self.name} is not one of ours: {error}") from error

    def _secure(self) -> None:
        context = ssl.create_default_context()
        if self._is_here():
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        try:
            self._socket = context.wrap_socket(self._socket, server_hostname=self._host)
        except (OSError, ValueError) as error:
            raise Away(f"{self.name} and TLS: {error}") from error

    def _is_here(self) -> bool:
        """Whether the other end is this machine: then nobody is between."""
        ours, theirs = self._socket.getsockname()[0], self._socket.getpeername()[0]
        return ours == theirs or ipaddress.ip_address(theirs.partition("%")[0]).is_loopback

    def _until(self, kind: type[ClientEvent]) -> ClientEvent:
        """Talks until the event that is waited for."""
        while True:
            try:
                if out := self._session.take_output():
                    self._socket.sendall(out)
                data = self._socket.recv(READ_OCTETS)
            except OSError as error:
                raise Away(f"{self.name} broke off: {error.strerror or error}") from error
            if not data:
                raise Away(f"{self.name} closed the connection")
            for event in self._session.receive(data):
                if isinstance(event, kind):
                    return event
                self._judge(event)

    def _judge(self, event: ClientEvent) -> None:
        match event:
            case Declined(reply=reply) if reply.code == 535:
                raise Ended(Exit.NO_PERMISSION, f"{self.name} does not know the key: {reply.text}")
            case Declined(reply=reply) | Unasked(reply=reply):
                raise Away(f"{self.name} says {_shown(reply)}")
            case Broken(error=error):
                raise Away(f"{self.name}: {error}")
            case _:
                raise Away(f"{self.name} cannot be understood")


def _sorted(outcome: Outcome, trying: Sequence[Address], done: MessageDone) -> bool:
    """Puts each recipient where it belongs; whether those left may be tried in the next
    transaction at once, since this one took some."""
    if done.mail is None or not done.mail.good:
        _put(outcome, trying, done.mail)
        return False
    accepted = [a for a, r in zip(trying, done.rcpts, strict=True) if r is not None and r.good]
    for address, reply in zip(trying, done.rcpts, strict=True):
        if reply is None or not reply.good:
            _put(outcome, (address,), reply)
    if not accepted:
        return False
    _put(outcome, accepted, done.final if done.final is not None else done.data)
    return done.final is not None and done.final.good


def _put(outcome: Outcome, addresses: Sequence[Address], reply: Reply | None) -> None:
    if reply is not None and reply.good:
        outcome.answer = _shown(reply)
    elif reply is not None and reply.permanent:
        _refuse(outcome, addresses, _code(reply), _shown(reply))
    else:
        outcome.left = (*outcome.left, *addresses)
        outcome.why = "the relay says " + (_shown(reply) if reply is not None else "nothing")


def _refuse(outcome: Outcome, addresses: Sequence[Address], code: Exit, text: str) -> None:
    outcome.refused = (*outcome.refused, *addresses)
    outcome.code, outcome.said = code, text


def _code(reply: Reply) -> Exit:
    """What a refusal for good is to a caller."""
    enhanced = reply.text.split(" ", 1)[0]
    if enhanced.startswith("5.1.") or enhanced == "5.6.7":
        return Exit.NO_USER
    if enhanced.startswith("5.7."):
        return Exit.NO_PERMISSION
    if enhanced.startswith(("5.3.4", "5.4.6", "5.5.", "5.6.")):
        return Exit.DATA
    return Exit.UNAVAILABLE


def _shown(reply: Reply) -> str:
    return f"{reply.code} {reply.text}"
