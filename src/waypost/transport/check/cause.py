"""From the error of a sign-in, or a refusing reply, to what was seen.

Promises a `Seen` for every error that `sign_in` raises. Knows nothing of words for people.
"""

from __future__ import annotations

import errno
import ssl

from waypost.core.reply import Reply, Stage
from waypost.core.upstream import Encryption, Upstream
from waypost.transport import trouble
from waypost.transport.check.watch import Watched
from waypost.transport.oauth.tokens import NoToken
from waypost.transport.trouble import (
    AddressRefused,
    CertificateRefused,
    LoginImpossible,
    Lost,
    PortRefused,
    Refused,
    Silent,
    TransportError,
)
from waypost.transport.trouble_table import ROWS, Scope
from waypost.upstream.diagnosis import About, Fault, Seen, Step
from waypost.upstream.diagnosis_words import Flaw
from waypost.wire.errors import NoMechanism, ProtocolError

_STEPS = {
    Stage.CONNECT: Step.CONNECT,
    Stage.GREETING: Step.GREETING,
    Stage.EHLO: Step.EHLO,
    Stage.STARTTLS: Step.TLS,
    Stage.HANDSHAKE: Step.TLS,
    Stage.AUTH: Step.LOGIN,
    Stage.MAIL: Step.MAIL,
}
_FLAWS = {  # OpenSSL x509_vfy.h
    9: Flaw.NOT_YET_VALID,
    10: Flaw.EXPIRED,
    18: Flaw.SELF_SIGNED,
    19: Flaw.UNKNOWN_AUTHORITY,
    20: Flaw.UNKNOWN_AUTHORITY,
    21: Flaw.UNKNOWN_AUTHORITY,
    2: Flaw.UNKNOWN_AUTHORITY,
    62: Flaw.WRONG_NAME,
    64: Flaw.WRONG_NAME,
}
_PLAIN_HEARD = (  # OpenSSL sslerr.h: what came was no TLS record
    "WRONG_VERSION_NUMBER",
    "RECORD_LAYER_FAILURE",
    "UNKNOWN_PROTOCOL",
    "PACKET_LENGTH_TOO_LONG",
    "HTTP_REQUEST",
    "HTTPS_PROXY_REQUEST",
)
_TLS_RECORDS = (b"\x15\x03", b"\x16\x03")  # RFC 8446 5.1: alert and handshake
_NO_WAY = frozenset(
    {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EACCES, errno.EPERM}
)


def of_error(error: BaseException, watched: Watched, upstream: Upstream) -> Seen:
    """What an error of `sign_in`, or a lost connection after it, means."""
    cause = error.__cause__ or error
    session = watched.seen
    secured = session.tls if session is not None else False
    starttls = session.capabilities.starttls if session is not None else False
    step, fault, flaw, reply = watched.step, Fault.CLOSED, Flaw.OTHER, None
    if isinstance(cause, Refused):
        return of_reply(_STEPS.get(cause.stage, step), cause.stage, cause.reply, watched)
    if step is Step.RESOLVE:
        fault = Fault.FORBIDDEN if isinstance(cause, AddressRefused) else Fault.NO_ADDRESS
        fault = Fault.FORBIDDEN_PORT if isinstance(cause, PortRefused) else fault
    elif isinstance(cause, ssl.SSLCertVerificationError):
        flaw = _FLAWS.get(cause.verify_code, Flaw.OTHER)
        step, fault = Step.CERTIFICATE, Fault.CERTIFICATE
    elif isinstance(cause, CertificateRefused):
        flaw = Flaw.CHANGED if upstream.pin else Flaw.OTHER
        step, fault = Step.CERTIFICATE, Fault.CERTIFICATE
    elif isinstance(cause, LoginImpossible):
        fault = Fault.NO_STARTTLS
    elif isinstance(cause, NoToken) or isinstance(error, NoToken):
        fault = Fault.NO_TOKEN
    elif isinstance(cause, NoMechanism):
        fault = Fault.NO_LOGIN
    elif step is Step.CONNECT and isinstance(cause, OSError):
        fault = _of_connect(cause)
    elif isinstance(cause, Silent | ConnectionAbortedError | TimeoutError):
        fault = Fault.SILENT  # asyncio's handshake that takes too long is the second
    elif isinstance(cause, ssl.SSLError):
        fault = _of_tls(cause, upstream)
    elif isinstance(cause, Lost | ProtocolError) and session is not None and session.garbled:
        fault = Fault.GARBLED
        if step is Step.GREETING and session.first.startswith(_TLS_RECORDS):
            fault = Fault.OTHER_PROTECTION
    if fault is Fault.CLOSED and step is Step.TLS and upstream.encryption is Encryption.TLS:
        step = Step.GREETING if not _alert(cause) else step
    said = error.public if isinstance(error, TransportError) else ""
    return Seen(
        step=step,
        fault=fault,
        said=said,
        reply=reply,
        flaw=flaw,
        secured=secured,
        starttls=starttls,
    )


def of_reply(step: Step, stage: Stage, reply: Reply, watched: Watched) -> Seen:
    """What a refusing reply means, by delivery's own table."""
    meant = trouble.of_reply(stage, reply)
    about = About.OTHER
    if meant.scope is Scope.SENDER_HELD:
        about = About.SENDER
    elif meant.scope is Scope.UPSTREAM_PAUSED:
        about = About.LOGIN
    elif meant.scope is Scope.UPSTREAM_FAILING:
        # A bare 4yz up to the login may be trouble of any kind; else it is a limit.
        login = stage in trouble.LOGIN_STAGES
        if meant.crowded or not login or _worded(stage, reply):
            about = About.LIMIT
    session = watched.seen
    return Seen(
        step=step,
        fault=Fault.REPLY,
        reply=reply,
        about=about,
        secured=session.tls if session is not None else False,
        starttls=session.capabilities.starttls if session is not None else False,
    )


def _worded(stage: Stage, reply: Reply) -> bool:
    """Delivery's table knows the words, not the code alone."""
    return any(
        row.words is not None and row.words.search(reply.text) is not None
        for row in ROWS
        if stage in row.stages and row.code.fullmatch(str(reply.code))
    )


def _of_connect(error: OSError) -> Fault:
    if isinstance(error, TimeoutError):
        return Fault.UNANSWERED
    if isinstance(error, ConnectionRefusedError):
        return Fault.REFUSED
    return Fault.UNREACHABLE if error.errno in _NO_WAY else Fault.CLOSED


def _of_tls(error: ssl.SSLError, upstream: Upstream) -> Fault:
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError | ssl.SSLSyscallError):
        return Fault.CLOSED
    if upstream.encryption is Encryption.TLS and error.reason in _PLAIN_HEARD:
        return Fault.OTHER_PROTECTION
    return Fault.TLS_ALERT


def _alert(error: BaseException) -> bool:
    return isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or "")
