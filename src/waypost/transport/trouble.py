"""What a failure means: the one module that decides it, from the stage, the code and the words.

Promises one `Trouble` for any reply and any exception, and that what the table does not know is
temporary. Nobody else in this folder says that something is permanent, but for abilities that an
upstream lacks and bodies that are lost. Knows nothing of connections, queues or time.
"""

from __future__ import annotations

import errno
import os
import ssl

import msgspec

from waypost.core.errors import WaypostError
from waypost.core.reply import Reply, Stage, printable
from waypost.transport.trouble_table import LOGIN_STAGES, ROWS, Scope
from waypost.wire.errors import NoMechanism, ProtocolError

__all__ = ["LOGIN_STAGES", "Scope"]


class Trouble(msgspec.Struct, frozen=True):
    """A failure, understood. `reason`: plain words with the upstream's own, no secret in it.

    `permanent` only with RECIPIENT and MESSAGE. `crowded`: fewer connections may be all it takes.
    `closing`: the connection is not to be used any more.
    """

    stage: Stage
    scope: Scope
    reason: str
    permanent: bool = False
    crowded: bool = False
    closing: bool = False

    @property
    def upstream(self) -> bool:
        return self.scope in (Scope.UPSTREAM_PAUSED, Scope.UPSTREAM_FAILING)


class TransportError(WaypostError):
    """A session that could not go on. `trouble`: where its meaning is known already."""

    def __init__(self, stage: Stage, public: str, trouble: Trouble | None = None) -> None:
        super().__init__(public)
        self.stage = stage
        self.trouble = trouble
        self.transcript = ""


class Lost(TransportError):
    """The connection ended, fell silent, or said what no server says. `ours`: we ended it."""

    ours = False


class Silent(Lost):
    """The upstream said nothing for as long as the stage may take."""


class Stopped(Lost):
    """We ended the connection since the relay stops; nobody is to blame."""

    ours = True


class Garbled(Lost):
    """What the upstream said is not SMTP; the text shows it."""


class CertificateRefused(TransportError):
    """The certificate is not the one that is trusted; the text says why."""


class AddressRefused(TransportError):
    """The upstream's address or port is not one that a tenant's upstream may have."""


class PortRefused(AddressRefused):
    """It is the port."""


class LoginImpossible(TransportError):
    """TLS or a way to log in that was asked for is not offered."""


class Refused(TransportError):
    """The upstream answered, and the session cannot go on: `reply` is the answer."""

    def __init__(self, stage: Stage, reply: Reply) -> None:
        super().__init__(stage, printable(f"{reply.code} {reply.text}"))
        self.reply = reply


def of_reply(stage: Stage, reply: Reply) -> Trouble:
    """What a refusing reply at this stage means."""
    code, text = str(reply.code), reply.text
    for row in ROWS:
        if stage not in row.stages or not row.code.fullmatch(code):
            continue
        if row.words is not None and not row.words.search(text):
            continue
        return Trouble(
            stage,
            row.scope,
            printable(f"{row.says} ({stage}: {code} {text})"),
            row.permanent,
            row.crowded,
            reply.code == 421,
        )
    scope = Scope.UPSTREAM_FAILING if stage in LOGIN_STAGES else Scope.MESSAGE
    return Trouble(stage, scope, printable(f"unexpected answer ({stage}: {code} {text})"))


def of_exception(stage: Stage, error: BaseException) -> Trouble:
    """What an exception at this stage means; never permanent."""
    if isinstance(error, TransportError):
        if error.trouble is not None:
            return error.trouble
        if isinstance(error, Refused):
            return of_reply(error.stage, error.reply)
    if isinstance(error, TransportError | ProtocolError):
        stage = error.stage
    text = printable(_words(error))
    if _protection(stage, error):
        return Trouble(stage, Scope.UPSTREAM_PAUSED, text, closing=True)
    scope = Scope.UPSTREAM_FAILING if stage in LOGIN_STAGES else Scope.MESSAGE
    return Trouble(stage, scope, text, closing=True)


_FOR_PEOPLE = (
    CertificateRefused,
    AddressRefused,
    LoginImpossible,
    NoMechanism,
    ssl.SSLCertVerificationError,
)


def _protection(stage: Stage, error: BaseException) -> bool:
    """Whether certificate, TLS or address were refused, which only a person can mend."""
    if isinstance(error, _FOR_PEOPLE):
        return True
    dropped = isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError | ssl.SSLSyscallError)
    return stage is Stage.HANDSHAKE and isinstance(error, ssl.SSLError) and not dropped


def _words(error: BaseException) -> str:
    if isinstance(error, WaypostError):
        return error.public
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate refused: {getattr(error, 'verify_message', None) or error}"
    if isinstance(error, ssl.SSLError):
        return f"TLS refused: {getattr(error, 'reason', None) or type(error).__name__}"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError):
        # asyncio writes address and port as Python does where the system has words.
        if error.errno is not None and error.errno in errno.errorcode:
            return os.strerror(error.errno)
        return error.strerror or type(error).__name__
    return f"trouble of our own ({type(error).__name__})"
