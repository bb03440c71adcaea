"""The client towards an upstream (RFC 5321, 3207, 4954, 1870, 6152, 2920) without I/O.

The doer feeds what it read, and writes the output after every call. Greeting and EHLO (HELO where
EHLO is refused) go by themselves; STARTTLS, login and messages are asked for. MAIL, RCPT and DATA
go out in one write where PIPELINING is offered, step by step elsewhere; either way a transaction
ends in one `MessageDone`. A reply that nothing asked for breaks the connection. Knows nothing of
upstreams, of what an answer means for the mail, of sockets, TLS or time.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence

from waypost.core.address import Address
from waypost.core.errors import Secret
from waypost.core.reply import Reply, Stage
from waypost.wire import sasl
from waypost.wire.errors import CannotCarry, ProtocolError
from waypost.wire.events import (
    Broken,
    ClientEvent,
    Declined,
    HelloDone,
    LoggedIn,
    MessageDone,
    QuitDone,
    StartHandshake,
    Unasked,
    WantData,
)
from waypost.wire.lines import DotStuffer, command, commands
from waypost.wire.replies import Capabilities, ReplyReader, read_capabilities
from waypost.wire.transcript import Transcript

CLOSING = 421  # RFC 5321 3.8: may come at any time
AUTH_ROUNDS = 8  # challenges in one AUTH; no known mechanism has more than 3


class _Transaction:
    """One message under way. `commands`: still to be said, where they are said step by step."""

    def __init__(self, total: int, chunks: Sequence[bytes] | None) -> None:
        self.commands: list[str] = []
        self.total = total
        self.chunks = chunks
        self.stuffer = DotStuffer()
        self.accepted = False
        self.lone_dot = False
        self.dot_sent = False
        self.mail: Reply | None = None
        self.rcpts: list[Reply | None] = []
        self.data: Reply | None = None
        self.final: Reply | None = None

    def done(self) -> MessageDone:
        if self.mail is not None and not self.mail.good:
            return MessageDone(self.mail, [None] * self.total, None, None)
        rcpts = self.rcpts + [None] * (self.total - len(self.rcpts))
        return MessageDone(self.mail, rcpts, self.data, self.final, self.dot_sent)


class ClientSession:
    """One connection. `tls`: the handshake was done before (RFC 8314).

    Readable: `stage` (what is awaited), `capabilities`, `usable` (a message can still be sent over
    it, now or later), `tls`, `transcript`.

    `veil`, where it is set, takes the secrets out of a text that a server may repeat them in: what
    is told and kept of its replies has been through it.
    """

    def __init__(self, ehlo_name: str, tls: bool = False) -> None:
        self.stage = Stage.GREETING
        self.capabilities = Capabilities()
        self.usable = True
        self.tls = tls
        self.transcript = Transcript()
        self.veil: Callable[[str], str] | None = None
        self._ehlo_name = ehlo_name
        self._replies = ReplyReader()
        self._out = b""
        self._events: list[ClientEvent] = []
        self._awaited = 1  # replies to what was said
        self._then: Callable[[Reply], None] = self._greeting
        self._mechanism: sasl.Mechanism | None = None
        self._rounds = 0
        self._transaction: _Transaction | None = None
        self._abandoned = False  # RSET must come before the next MAIL
        self._over = False

    def take_output(self) -> bytes:
        """What is to be written now, or nothing."""
        out, self._out = self._out, b""
        return out

    def receive(self, data: bytes) -> list[ClientEvent]:
        """Takes what was read; what it means, in order. Nothing is told after `Broken`."""
        events: list[ClientEvent] = []
        if self._over:
            return events
        self._events = events
        try:
            if self.stage is Stage.HANDSHAKE and data:
                raise ProtocolError("the server spoke in clear behind STARTTLS", self.stage)
            self._replies.feed(data)
            while not self._over and (reply := self._replies.next(self.stage)) is not None:
                self._heard(reply)
        except ProtocolError as error:
            self._over = True
            self._out = b""
            if self.veil is not None:
                error = ProtocolError(self.veil(error.public), error.stage)
            events.append(Broken(error))
        if self._over or (self.stage is Stage.IDLE and not self._replies.empty()):
            self.usable = False
        return events

    def starttls(self) -> None:
        """Says STARTTLS; `ProtocolError` where it is not offered."""
        self._idle()
        if self.tls or not self.capabilities.starttls:
            raise ProtocolError("the server does not offer STARTTLS", Stage.STARTTLS)
        self._say(command("STARTTLS", Stage.STARTTLS), Stage.STARTTLS, self._starttls)

    def tls_started(self) -> None:
        """The handshake is done: what was known of the server is forgotten, and EHLO said anew."""
        if self.stage is not Stage.HANDSHAKE or self._over:
            raise ProtocolError("there was no handshake to be done", self.stage)
        self.tls = True
        self._hello("EHLO")

    def login(self, username: str, password: Secret) -> None:
        """AUTH by PLAIN, else LOGIN; raises `NoMechanism` where neither is offered."""
        self.authenticate(sasl.choose(self.capabilities.auth, username, password))

    def login_with_token(self, username: str, token: Secret) -> None:
        """AUTH XOAUTH2; raises `NoMechanism` where it is not offered."""
        self.authenticate(sasl.bearer(self.capabilities.auth, username, token))

    def authenticate(self, mechanism: sasl.Mechanism) -> None:
        """AUTH by any mechanism."""
        self._idle()
        self._mechanism = mechanism
        self._rounds = 0
        initial = mechanism.initial()
        words = f"AUTH {mechanism.name}"
        self.transcript.add(words if initial is None else f"{words} ***")
        if initial is not None:
            words += " " + (base64.b64encode(initial).decode() or "=")
        self._say(command(words, Stage.AUTH), Stage.AUTH, self._auth, shown=False)

    def send(
        self,
        sender: Address | None,
        recipients: Sequence[Address],
        octets: int,
        eight_bit: bool,
        chunks: Sequence[bytes] | None,
    ) -> None:
        """Begins a transaction that ends in `MessageDone`; one or more recipients.

        `octets`: of the message, not dotted. `chunks`: the message, whose lines all end in CR LF;
        None: `WantData` asks for it. Raises `CannotCarry` before anything is said.
        """
        self._idle()
        if not recipients:
            raise ValueError("a transaction needs a recipient")
        offered = self.capabilities
        if eight_bit and not offered.eight_bit:
            raise CannotCarry("the server does not offer 8BITMIME, the message needs it", "5.6.3")
        if offered.size and octets > offered.size:
            text = f"the server takes {offered.size} octets, the message has {octets}"
            raise CannotCarry(text, "5.3.4")
        mail = "MAIL FROM:<>" if sender is None else f"MAIL FROM:<{sender}>"
        if offered.size is not None:
            mail += f" SIZE={octets}"
        if eight_bit:
            mail += " BODY=8BITMIME"
        rcpts = [f"RCPT TO:<{address}>" for address in recipients]
        self._begin(_Transaction(len(rcpts), chunks), [mail, *rcpts, "DATA"])

    def write_data(self, chunk: bytes) -> None:
        """Some octets of the message that `WantData` asked for, cut anywhere."""
        self._out += self._streaming().stuffer.stuff(chunk)

    def end_data(self) -> None:
        """The message that `WantData` asked for is whole."""
        transaction = self._streaming()
        self._dot(transaction.stuffer.end())
        transaction.dot_sent = True

    def partial(self) -> MessageDone | None:
        """What was answered in a transaction under way, when the connection is lost, or None."""
        return self._transaction.done() if self._transaction is not None else None

    def quit(self) -> None:
        """Says QUIT; nothing else can be said after it."""
        self._idle()
        self.usable = False
        self._say(b"QUIT\r\n", Stage.QUIT, self._quit)

    def _idle(self) -> None:
        if self._over or not self._replies.empty():
            raise ProtocolError("the connection is no longer usable", self.stage)
        if self.stage is not Stage.IDLE:
            raise ValueError(f"something is under way: {self.stage}")

    def _say(
        self, octets: bytes, stage: Stage, then: Callable[[Reply], None], shown: bool = True
    ) -> None:
        self._nothing_behind()
        self._out += octets
        if shown:
            self.transcript.add(octets)
        self.stage = stage
        self._then = then
        self._awaited += 1

    def _heard(self, reply: Reply) -> None:
        if self.veil is not None:
            lines = tuple([self.veil(line) for line in reply.lines])
            shown = reply if lines == reply.lines else Reply(reply.code, lines)
            self.transcript.add(shown)
            # What is read on, the extensions and a challenge, must be read as it was said.
            if not (reply.good and self.stage in (Stage.EHLO, Stage.AUTH)):
                reply = shown
        else:
            self.transcript.add(reply)
        if not self._awaited:
            self._unasked(reply)
            return
        self._awaited -= 1
        if reply.code == CLOSING:
            self._over = self.stage is not Stage.QUIT
            self.usable = False
        self._then(reply)
        if self._over and self._transaction is not None:
            self._finish(abandoned=False)

    def _nothing_behind(self) -> None:
        """What stands behind a reply that we act upon was said too early: injected, or spoofed."""
        if not self._replies.empty() and not self._replies.closing():
            raise ProtocolError("the server answers what was not asked", self.stage)

    def _unasked(self, reply: Reply) -> None:
        self.usable = False
        transaction = self._transaction
        if transaction is not None and reply.code >= 400:  # it will not have the rest of the data
            self._over = True
            transaction.final = reply
            self._finish(abandoned=False)
        elif reply.code == CLOSING:
            self._over = True
            self._events.append(Unasked(reply))
        else:
            raise ProtocolError("the server spoke without being asked", self.stage)

    def _yes(self, reply: Reply) -> bool:
        """Whether it is 2yz; False for a no; anything else is not an answer here."""
        if reply.code < 300:
            return True
        if reply.code < 400:
            raise ProtocolError(f"the server's {reply.code} is no answer here", self.stage)
        return False

    def _decline(self, reply: Reply) -> None:
        self.usable = False
        self._events.append(Declined(self.stage, reply))
        self.stage = Stage.IDLE

    def _greeting(self, reply: Reply) -> None:
        if self._yes(reply):
            self._hello("EHLO")
        else:
            self._decline(reply)

    def _hello(self, verb: str) -> None:
        self.capabilities = Capabilities()
        then = self._ehlo if verb == "EHLO" else self._helo
        self._say(command(f"{verb} {self._ehlo_name}", Stage.EHLO), Stage.EHLO, then)

    def _ehlo(self, reply: Reply) -> None:
        if self._yes(reply):
            self.capabilities = read_capabilities(reply)
            self._ready(HelloDone(reply))
        elif reply.permanent:
            self._hello("HELO")
        else:
            self._decline(reply)

    def _helo(self, reply: Reply) -> None:
        if self._yes(reply):
            self._ready(HelloDone(reply))
        else:
            self._decline(reply)

    def _ready(self, event: ClientEvent) -> None:
        self.stage = Stage.IDLE
        self._events.append(event)

    def _starttls(self, reply: Reply) -> None:
        if self._yes(reply):
            if not self._replies.empty():
                raise ProtocolError("the server spoke in clear behind STARTTLS", self.stage)
            self.stage = Stage.HANDSHAKE
            self._events.append(StartHandshake())
        else:
            self._decline(reply)

    def _auth(self, reply: Reply) -> None:
        if reply.code != 334:
            self._mechanism = None
            if self._yes(reply):
                self._ready(LoggedIn(reply))
            else:
                self._decline(reply)
            return
        self._rounds += 1
        if self._mechanism is None or self._rounds > AUTH_ROUNDS:
            raise ProtocolError("the server's login has no end", self.stage)
        text = reply.text.encode("utf-8", "replace")
        try:
            challenge = binascii.a2b_base64(text)
        except binascii.Error:
            challenge = text
        answer = self._mechanism.respond(challenge)
        line = "*" if answer is None else base64.b64encode(answer).decode()
        self.transcript.add("***" if answer else line)
        self._say(command(line, Stage.AUTH), Stage.AUTH, self._auth, shown=False)

    def _quit(self, reply: Reply) -> None:
        self._over = True
        self._events.append(QuitDone())

    def _begin(self, transaction: _Transaction, texts: list[str]) -> None:
        resetting = self._abandoned
        if resetting:
            texts.insert(0, "RSET")
        said = commands(texts, Stage.MAIL)
        if not self.capabilities.pipelining:
            first, *transaction.commands = texts
            said = command(first, Stage.MAIL)
        self.transcript.clear()
        self.transcript.add(said)
        self._out += said
        self._transaction = transaction
        self._abandoned = False
        self._awaited = len(texts) - len(transaction.commands)
        self.stage = Stage.MAIL
        self._then = self._reset if resetting else self._mail

    def _say_next(self, transaction: _Transaction) -> None:
        """The command of this stage, where the commands are said step by step."""
        if self._over:
            return
        if self.stage is Stage.DATA and not transaction.accepted:
            self._finish(abandoned=True)
        else:
            text = transaction.commands.pop(0)
            self._say(command(text, self.stage), self.stage, self._then)

    def _reset(self, reply: Reply) -> None:
        transaction = self._transaction
        assert transaction is not None
        if reply.code == CLOSING:
            transaction.mail = reply
        elif not self._yes(reply):
            raise ProtocolError(f"the server refuses RSET: {reply.code}", self.stage)
        self._then = self._mail
        if transaction.commands:
            self._say_next(transaction)

    def _mail(self, reply: Reply) -> None:
        transaction = self._transaction
        assert transaction is not None
        transaction.mail = reply
        if not self._yes(reply) and not self._awaited:
            self._finish(abandoned=True)
            return
        self.stage = Stage.RCPT
        self._then = self._rcpt
        if transaction.commands:
            self._say_next(transaction)

    def _rcpt(self, reply: Reply) -> None:
        transaction = self._transaction
        assert transaction is not None
        transaction.rcpts.append(reply)
        if self._yes(reply) and transaction.mail is not None and transaction.mail.good:
            transaction.accepted = True
        if len(transaction.rcpts) == transaction.total:
            self.stage = Stage.DATA
            self._then = self._data
        if transaction.commands:
            self._say_next(transaction)

    def _data(self, reply: Reply) -> None:
        transaction = self._transaction
        assert transaction is not None
        transaction.data = reply
        if reply.code >= 400:
            self._finish(abandoned=True)
            return
        if reply.code < 300:
            raise ProtocolError(f"the server's {reply.code} is no answer to DATA", self.stage)
        if not transaction.accepted:
            transaction.lone_dot = True  # RFC 2920 3.1: it must be ended, and means nothing
            self._dot(b".\r\n")
        elif transaction.chunks is None:
            self._nothing_behind()
            self._events.append(WantData())
        else:
            stuffer = transaction.stuffer
            data = [stuffer.stuff(chunk) for chunk in transaction.chunks]
            self._dot(*data, stuffer.end())
            transaction.dot_sent = True

    def _dot(self, *data: bytes) -> None:
        """Says what is left of the data, its end with it."""
        self.transcript.add("(the message and its final dot)")
        self._say(b"".join(data), Stage.DOT, self._final, shown=False)

    def _final(self, reply: Reply) -> None:
        transaction = self._transaction
        assert transaction is not None
        self._yes(reply)
        if not transaction.lone_dot:
            transaction.final = reply
        self._finish(abandoned=False)

    def _finish(self, abandoned: bool) -> None:
        assert self._transaction is not None
        self._events.append(self._transaction.done())
        self._transaction = None
        self._abandoned = abandoned
        self._awaited = 0
        self.stage = Stage.IDLE

    def _streaming(self) -> _Transaction:
        transaction = self._transaction
        if transaction is None or self.stage is not Stage.DATA or transaction.data is None:
            raise ProtocolError("no data is wanted", self.stage)
        return transaction
