"""The submission server (RFC 5321, 6409, 4954, 3207, 2920) without I/O.

The doer feeds what it read, asks for events until there is none, and writes the output. Whatever
depends on syntax and state alone is answered here, by `table.py`; the events that want an answer
stop the session until it is given, and pipelined commands wait behind them. A session ends by QUIT,
by a violation, or by the doer. Knows nothing of keys, senders, messages, sockets or time.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import ClassVar

from waypost.core.reply import printable
from waypost.wire import grammar, sasl
from waypost.wire.events import (
    Auth,
    DataChunk,
    DataEnd,
    DataStart,
    Hello,
    Mail,
    Quit,
    Rcpt,
    Refused,
    Reset,
    ServerEvent,
    ServerLimits,
    StartTls,
    Violation,
)
from waypost.wire.lines import AUTH_LINE_OCTETS, CommandLines, DataReader, Fault
from waypost.wire.table import OTHER, TABLE, Do, State

LINE_OCTETS = 512  # RFC 5321 4.5.3.1.4, CR LF included, as of all lines here
MAIL_LINE_OCTETS = 1_055  # 512 + SIZE 26 (RFC 1870), BODY 17 (RFC 6152), AUTH 500 (RFC 4954)
REPLY_OCTETS = 510  # RFC 5321 4.5.3.1.5, less CR LF
RCPTS_TRIED = 10_000  # in one transaction; beyond it 452 counts as a refusal, so that a bomb ends

_LINE_OCTETS = {"MAIL": MAIL_LINE_OCTETS, "AUTH": AUTH_LINE_OCTETS}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

_BAD_OCTETS = "500 5.5.2 A command line is printable ASCII and ends in CR LF"
_TOO_LONG = "500 5.5.6 Line too long"
_ENDLESS = "500 5.5.6 Line far too long, closing the connection"
_EARLY = "554 5.5.0 You spoke before the greeting"
_AHEAD = "554 5.5.0 You spoke before the answer, which must be waited for here"
_AHEAD_OF_TLS = "554 5.5.1 Nothing may follow STARTTLS before the handshake"
_NO_ARGUMENT = "501 5.5.4 This command takes no argument"
_NO_BDAT = "502 5.5.1 CHUNKING is not offered, closing the connection"
_NO_HTTP = "554 5.5.0 This is SMTP, not HTTP"
_REFUSALS = "421 4.7.0 Too many commands were refused, closing the connection"
_RCPT_LIMIT = "452 4.5.3 Too many recipients in one transaction, send the rest in another"
_FAR_TOO_LARGE = "550 5.3.4 The message is far too large, closing the connection"


_Kind = type[ServerEvent]

_YES: dict[_Kind | None, bytes] = {
    Auth: b"235 2.7.0 Authentication successful\r\n",
    Mail: b"250 OK\r\n",
    Rcpt: b"250 OK\r\n",
    DataStart: b"354 End data with <CR><LF>.<CR><LF>\r\n",
}
_AFTER_YES: dict[_Kind | None, State] = {
    Auth: State.READY,
    Mail: State.MAIL,
    Rcpt: State.RCPT,
    DataStart: State.RCPT,
    DataEnd: State.READY,
}


class ServerSession:
    """One connection. `tls`: the handshake was done before (RFC 8314).

    Readable: `ended` (write the output, then close), `tls`, `waiting` (the kind of event that wants
    its answer, or None; what is read meanwhile is only kept), `data_octets` (of the current or the
    last message, un-dotted).
    """

    def __init__(
        self, hostname: str, limits: ServerLimits | None = None, tls: bool = False
    ) -> None:
        self.ended = False
        self.tls = tls
        self.waiting: _Kind | None = None
        self.data_octets = 0
        self._hostname = hostname
        self._limits = limits or ServerLimits()
        self._state = State.STRANGER if tls else State.CLEAR
        self._greeted = False
        self._lines = CommandLines()
        self._out: list[bytes] = []
        self._queued: ServerEvent | None = None
        self._exchange: sasl.Exchange | None = None
        self._reader: DataReader | None = None
        self._discarding = False
        self._refusals = 0
        self._rcpts = 0
        self._rcpts_tried = 0
        self._distinct_max: int | None = None
        self._distinct: set[str] = set()
        self._rcpt: Rcpt | None = None

    @property
    def buffered(self) -> int:
        """Octets that were read and not yet looked at."""
        return self._lines.left

    @property
    def authenticated(self) -> bool:
        return self._state >= State.READY

    @property
    def transaction(self) -> bool:
        """MAIL was accepted and its transaction has not ended."""
        return self._state >= State.MAIL

    def greet(self) -> None:
        """Says 220. Nothing may have been received before."""
        self._greeted = True
        self._say(f"220 {self._hostname} ESMTP Waypost")

    def receive(self, data: bytes) -> None:
        """Takes what was read, of any length; then ask for events."""
        if self.ended:
            return
        if self.waiting is StartTls:
            self._queued = self._violate(_AHEAD_OF_TLS)
        elif not self._greeted:
            self._queued = self._violate(_EARLY)
        else:
            self._lines.feed(data)

    def take_output(self) -> bytes:
        """What is to be written now, or nothing; call it when `next_event` gave None."""
        if not self._out:
            return b""
        out, self._out = self._out, []
        return b"".join(out)

    def next_event(self) -> ServerEvent | None:
        """The next event, or None: wants more octets, or an answer, or the session has ended."""
        if self._queued is not None:
            event: ServerEvent | None
            event, self._queued = self._queued, None
            return event
        while self.waiting is None and self._lines.left and not self.ended:
            if self._reader is not None:
                return self._read_data(self._reader)
            line = self._lines.line()
            if line is None:
                return None
            event = self._line(line) if isinstance(line, bytes) else self._fault(line)
            if event is not None:
                return event
        return None

    def accept(self) -> None:
        """Answers what waits with its yes: 235, 250 or 354. A message's end has none of its own."""
        want = self.waiting
        line = _YES.get(want)
        if line is None:
            raise ValueError("nothing waits that could be accepted")
        self.waiting = None
        if want is Rcpt:
            self._count_rcpt()
        elif want is DataStart:
            if self._lines.left:
                self._queued = self._violate(_AHEAD)
                return
            self._reader = DataReader()
            self._discarding = False
            self.data_octets = 0
        self._state = _AFTER_YES[want]
        self._out.append(line)

    def answer(self, line: str, end: bool = False) -> None:
        """Answers what waits with a line (no CR LF); 2yz is a yes. `end`: the session is over."""
        want = self.waiting
        yes = line[:1] == "2"
        if want is None or want is StartTls or (yes and want is DataStart):
            raise ValueError("this answer fits nothing that waits")
        self.waiting = None
        if yes:
            if want is Rcpt:
                self._count_rcpt()
            self._state = _AFTER_YES[want]
        elif want is DataStart or want is DataEnd:
            self._state = State.READY
        self._say(line)
        if end:
            self.ended = True
        elif not yes:
            if want is DataStart and self._lines.left:
                self._queued = self._violate(_AHEAD)
            else:
                self._queued = self._counted()

    def shut(self, line: str) -> None:
        """Says the line and ends the session, at any time."""
        self._say(line)
        self.ended = True
        self._queued = None

    def discard(self) -> None:
        """No more chunks of the message under way; its end is told all the same."""
        self._discarding = True

    def limit_distinct(self, recipients: int | None) -> None:
        """Beyond so many distinct addresses in a transaction RCPT is 452; None: no such limit."""
        self._distinct_max = recipients

    def tls_started(self) -> None:
        """The handshake that `StartTls` asked for is done: all starts anew (RFC 3207 4.2)."""
        if self.waiting is not StartTls:
            raise ValueError("no handshake was asked for")
        self.waiting = None
        self.tls = True
        self._state = State.STRANGER
        self._lines = CommandLines()
        self._distinct_max = None

    def _say(self, line: str) -> None:
        if not (line.isascii() and line.isprintable()) or len(line) > REPLY_OCTETS:
            line = printable(line, REPLY_OCTETS)
        self._out.append(f"{line}\r\n".encode("ascii"))

    def _violate(self, line: str) -> Violation:
        self._say(line)
        self.ended = True
        return Violation(line)

    def _counted(self) -> Violation | None:
        self._refusals += 1
        if self._refusals < self._limits.refusals:
            return None
        return self._violate(_REFUSALS)

    def _refuse(
        self, verb: str, line: str, counted: bool = True, mail_from: str = "", rcpt_to: str = ""
    ) -> Refused:
        self._say(line)
        if counted:
            self._queued = self._counted()
        return Refused(verb, line, mail_from, rcpt_to)

    def _count_rcpt(self) -> None:
        self._rcpts += 1
        if self._distinct_max is not None and self._rcpt is not None:
            self._distinct.add(self._rcpt.address.key)

    def _fault(self, fault: Fault) -> ServerEvent:
        if fault is Fault.ENDLESS:
            return self._violate(_ENDLESS)
        self._exchange = None
        return self._refuse(OTHER, _BAD_OCTETS)

    def _line(self, line: bytes) -> ServerEvent | None:
        if self._exchange is not None:
            return self._auth_line(line)
        text = line.decode("utf-8", "surrogateescape")
        verb, _, argument = text.partition(" ")
        verb = verb.upper()
        entry = TABLE.get((self._state, verb))
        if entry is None:
            verb = OTHER
            entry = TABLE[self._state, OTHER]
        if len(line) > LINE_OCTETS - 2 and len(line) > _LINE_OCTETS.get(verb, LINE_OCTETS) - 2:
            return self._refuse(verb, _TOO_LONG)
        if not (text.isascii() and text.isprintable() and text) and (
            # 8-bit only where an address may stand, so that its sender learns what is wrong.
            verb not in ("MAIL", "RCPT") or _CONTROL.search(text)
        ):
            return self._refuse(verb, _BAD_OCTETS)
        if isinstance(entry, str):
            if entry[0] == "2":
                self._say(entry)
                return None
            if verb == "DATA" and self.authenticated and self._lines.left:
                return self._violate(_AHEAD)  # a message body would be read as commands
            return self._refuse(verb, entry)
        return self._DEEDS[entry](self, argument.strip(" "), verb)

    def _auth_line(self, line: bytes) -> ServerEvent | None:
        assert self._exchange is not None
        if len(line) + 2 > AUTH_LINE_OCTETS:
            self._exchange = None
            return self._refuse("AUTH", _TOO_LONG)
        if not line.isascii():
            self._exchange = None
            return self._refuse("AUTH", sasl.BAD_BASE64)
        return self._auth_step(self._exchange, self._exchange.step(line.decode("ascii")))

    def _auth_step(self, exchange: sasl.Exchange, step: Auth | str) -> ServerEvent | None:
        self._exchange = None
        if isinstance(step, Auth):
            self.waiting = Auth
            return step
        if step.startswith("334"):
            self._exchange = exchange
            self._say(step)
            return None
        return self._refuse("AUTH", step)

    def _read_data(self, reader: DataReader) -> ServerEvent | None:
        piece, behind = reader.feed(self._lines.take())
        self.data_octets = reader.octets
        chunk = DataChunk(piece) if piece and not self._discarding else None
        if behind is None:
            if reader.octets > 2 * self._limits.message_octets:
                return self._violate(_FAR_TOO_LARGE)
            return chunk
        self._reader = None
        if behind:
            self._lines.feed(behind)
        self.waiting = DataEnd
        end = DataEnd(reader.octets)
        if chunk is None:
            return end
        self._queued = end
        return chunk

    def _hello(self, argument: str, verb: str) -> ServerEvent | None:
        if self._lines.left:  # RFC 2920 3.1: the last of its group
            return self._violate(_AHEAD)
        name = grammar.read_name(argument)
        if name is None:
            return self._refuse(verb, f"501 5.5.4 Syntax: {verb} hostname")
        if self._state is not State.CLEAR:
            self._state = State.READY if self.authenticated else State.GREETED
        if verb == "HELO":
            self._say(f"250 {self._hostname}")
        else:
            for line in (
                f"250-{self._hostname}",
                "250-PIPELINING",
                f"250-SIZE {self._limits.message_octets}",
                "250-8BITMIME",
                "250 AUTH PLAIN LOGIN" if self.tls else "250 STARTTLS",
            ):
                self._say(line)
        return Hello(name, verb == "EHLO")

    def _starttls(self, argument: str, verb: str) -> ServerEvent | None:
        if self._lines.left:
            return self._violate(_AHEAD_OF_TLS)
        if argument:
            return self._refuse(verb, _NO_ARGUMENT)
        self.waiting = StartTls
        self._say("220 2.0.0 Ready to start TLS")
        return StartTls()

    def _auth(self, argument: str, verb: str) -> ServerEvent | None:
        words = argument.split(" ")
        if not words[0] or len(words) > 2:
            return self._refuse(verb, "501 5.5.4 Syntax: AUTH mechanism [initial-response]")
        exchange = sasl.Exchange(words[0])
        return self._auth_step(exchange, exchange.begin(words[1] if len(words) == 2 else ""))

    def _mail(self, argument: str, verb: str) -> ServerEvent | None:
        mail = grammar.read_mail(argument, self._limits.message_octets)
        if not isinstance(mail, Mail):
            return self._refuse(verb, mail, mail_from=grammar.named(argument))
        self._rcpts = 0
        self._rcpts_tried = 0
        self._distinct.clear()
        self.waiting = Mail
        return mail

    def _rcpt_to(self, argument: str, verb: str) -> ServerEvent | None:
        self._rcpts_tried += 1
        if self._rcpts >= self._limits.recipients:
            return self._refuse(verb, _RCPT_LIMIT, self._rcpts_tried > RCPTS_TRIED)
        rcpt = grammar.read_rcpt(argument)
        if not isinstance(rcpt, Rcpt):
            return self._refuse(verb, rcpt, rcpt_to=grammar.named(argument))
        most = self._distinct_max
        full = most is not None and len(self._distinct) >= most
        if full and rcpt.address.key not in self._distinct:
            return self._refuse(verb, _RCPT_LIMIT, self._rcpts_tried > RCPTS_TRIED)
        self._rcpt = rcpt
        self.waiting = Rcpt
        return rcpt

    def _data(self, argument: str, verb: str) -> ServerEvent | None:
        if self._lines.left:
            return self._violate(_AHEAD)
        if argument:
            return self._refuse(verb, _NO_ARGUMENT)
        self.waiting = DataStart
        return DataStart()

    def _rset(self, argument: str, verb: str) -> ServerEvent | None:
        if argument:
            return self._refuse(verb, _NO_ARGUMENT)
        if self.authenticated:
            self._state = State.READY
        self._say("250 OK")
        return Reset()

    def _quit(self, argument: str, verb: str) -> ServerEvent | None:
        if argument:
            return self._refuse(verb, _NO_ARGUMENT)
        self._say("221 2.0.0 Bye")
        self.ended = True
        return Quit()

    def _end(self, argument: str, verb: str) -> ServerEvent | None:
        return self._violate(_NO_BDAT if verb == "BDAT" else _NO_HTTP)

    _DEEDS: ClassVar[dict[Do, Callable[[ServerSession, str, str], ServerEvent | None]]] = {
        Do.EHLO: _hello,
        Do.HELO: _hello,
        Do.STARTTLS: _starttls,
        Do.AUTH: _auth,
        Do.MAIL: _mail,
        Do.RCPT: _rcpt_to,
        Do.DATA: _data,
        Do.RSET: _rset,
        Do.QUIT: _quit,
        Do.END: _end,
    }
