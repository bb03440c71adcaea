"""What the two ends tell: the server's events first, then the client's.

Plain frozen values. Knows nothing of how they are read from the bytes or what is done about them.
"""

from __future__ import annotations

import msgspec

from waypost.core.address import Address
from waypost.core.errors import Secret
from waypost.core.reply import Reply, Stage
from waypost.wire.errors import ProtocolError

MESSAGE_OCTETS = 31_457_280  # the contract, section 3: 30 MB raw
SESSION_RECIPIENTS = 1_000  # the contract, section 3; RFC 5321 4.5.3.1.8 asks for 100
SESSION_REFUSALS = 20  # the contract, section 2


class ServerLimits(msgspec.Struct, frozen=True):
    """What one session may cost. A message past `message_octets` is the doer's to refuse after its
    end; one past twice that ends the session."""

    message_octets: int = MESSAGE_OCTETS
    recipients: int = SESSION_RECIPIENTS
    refusals: int = SESSION_REFUSALS


class Hello(msgspec.Struct, frozen=True, gc=False):
    """EHLO (`extended`) or HELO, answered: a transaction under way is forgotten. `name`: at most
    255 letters, digits, `.:_-[]`, and `?` for any other."""

    name: str
    extended: bool


class StartTls(msgspec.Struct, frozen=True, gc=False):
    """The 220 is in the output: write it, do the handshake, then call `tls_started`."""


class Auth(msgspec.Struct, frozen=True, gc=False):
    """Wants an answer. `authcid` is as the client gave it: never log it unescaped."""

    mechanism: str
    authcid: str
    password: Secret


class Mail(msgspec.Struct, frozen=True, gc=False):
    """Wants an answer. `address` None is `<>`; `size` as declared (octets), or None."""

    address: Address | None
    size: int | None
    eight_bit: bool


class Rcpt(msgspec.Struct, frozen=True, gc=False):
    """Wants an answer."""

    address: Address


class DataStart(msgspec.Struct, frozen=True, gc=False):
    """Wants an answer: `accept` says 354, any other answer forgets the transaction."""


class DataChunk(msgspec.Struct, frozen=True, gc=False):
    """A slice of the message, un-dotted, never empty."""

    data: bytes


class DataEnd(msgspec.Struct, frozen=True, gc=False):
    """Wants an answer. `octets`: of all un-dotted data, the discarded with it."""

    octets: int


class Reset(msgspec.Struct, frozen=True, gc=False):
    """RSET, answered: forget the transaction."""


class Quit(msgspec.Struct, frozen=True, gc=False):
    """QUIT, answered; the session has ended."""


class Refused(msgspec.Struct, frozen=True, gc=False):
    """The session itself refused a command with this line. `verb` is a command of SMTP, or `?`;
    `mail_from` and `rcpt_to`: what a refused MAIL or RCPT named, printable.
    """

    verb: str
    line: str
    mail_from: str = ""
    rcpt_to: str = ""


class Violation(msgspec.Struct, frozen=True, gc=False):
    """The session itself ended the session with this line."""

    line: str


ServerEvent = (
    Hello
    | StartTls
    | Auth
    | Mail
    | Rcpt
    | DataStart
    | DataChunk
    | DataEnd
    | Reset
    | Quit
    | Refused
    | Violation
)


class HelloDone(msgspec.Struct, frozen=True):
    """EHLO or HELO was accepted: the client's `capabilities` are fresh."""

    reply: Reply


class StartHandshake(msgspec.Struct, frozen=True):
    """STARTTLS was accepted: do the handshake, then call `tls_started`."""


class LoggedIn(msgspec.Struct, frozen=True):
    """The login was accepted."""

    reply: Reply


class Declined(msgspec.Struct, frozen=True):
    """The server said no at the greeting, EHLO, STARTTLS or AUTH; or a code that is no yes."""

    stage: Stage
    reply: Reply


class WantData(msgspec.Struct, frozen=True):
    """354 came for a message whose octets were not given: write them, then end them."""


class MessageDone(msgspec.Struct, frozen=True):
    """A transaction has ended. None: never asked, or never answered, or without meaning.

    `rcpts` is in the order of the recipients, always as long. After a refused MAIL all is None.
    `final` answers the dot. `dot_sent` with `final` None: whether it was taken is not known.
    """

    mail: Reply | None
    rcpts: list[Reply | None]
    data: Reply | None
    final: Reply | None
    dot_sent: bool = False

    @property
    def taken(self) -> Reply | None:
        """The answer by which it was taken for every recipient, or None: it was not."""
        if self.final is None or not self.final.good:
            return None
        for reply in self.rcpts:
            if reply is None or not reply.good:
                return None
        return self.final

    @property
    def postponed(self) -> list[int]:
        """Indexes of recipients that got 452 or 552 after an accepted one (RFC 5321 4.5.3.1.10)."""
        late: list[int] = []
        accepted = False
        for index, reply in enumerate(self.rcpts):
            if reply is None:
                continue
            if reply.good:
                accepted = True
            elif accepted and reply.code in (452, 552):
                late.append(index)
        return late


class Unasked(msgspec.Struct, frozen=True):
    """421 while nothing was asked: the server is closing."""

    reply: Reply


class QuitDone(msgspec.Struct, frozen=True):
    """QUIT was answered."""


class Broken(msgspec.Struct, frozen=True):
    """The dialogue cannot go on; the last event. `ClientSession.partial`: what was answered."""

    error: ProtocolError


ClientEvent = (
    HelloDone
    | StartHandshake
    | LoggedIn
    | Declined
    | WantData
    | MessageDone
    | Unasked
    | QuitDone
    | Broken
)
