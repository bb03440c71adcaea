"""What a failed connection test means: from the step, what was seen and the reply.

Promises one of the ten diagnoses of the contract's section 9 for anything seen, with a title,
likely causes in order and what to change, the provider's own hints with it. The words are in
`diagnosis_words`. Knows nothing of sockets, and never looks at the password.
"""

from __future__ import annotations

import difflib
import enum
import re

import msgspec

from waypost.core.reply import Reply, printable
from waypost.core.upstream import Encryption, Upstream
from waypost.upstream import diagnosis_words as words
from waypost.upstream import presets
from waypost.upstream.diagnosis_words import Advice, Flaw


class Diagnosis(enum.StrEnum):
    """The names of section 9."""

    HOST_NOT_FOUND = "host_not_found"
    CONNECTION_TIMED_OUT = "connection_timed_out"
    CONNECTION_REFUSED = "connection_refused"
    WRONG_ENCRYPTION = "wrong_encryption"
    CERTIFICATE_ERROR = "certificate_error"
    TLS_ERROR = "tls_error"
    AUTHENTICATION_FAILED = "authentication_failed"
    SENDER_REJECTED = "sender_rejected"
    REJECTED = "rejected"
    ADDRESS_NOT_ALLOWED = "address_not_allowed"


CONNECTION_FAILURES = frozenset(
    {
        Diagnosis.CONNECTION_TIMED_OUT,
        Diagnosis.CONNECTION_REFUSED,
        Diagnosis.WRONG_ENCRYPTION,
    }
)
"""After these the other ports are tried."""


class Step(enum.StrEnum):
    """The steps of a test by the names that are shown. TLS stands before the greeting on a port
    of implicit TLS."""

    RESOLVE = "resolve"
    CONNECT = "connect"
    GREETING = "greeting"
    EHLO = "EHLO"
    TLS = "TLS"
    CERTIFICATE = "certificate"
    LOGIN = "login"
    MAIL = "MAIL FROM"
    SEND = "test mail"


class Fault(enum.Enum):
    """What was seen at the step that failed."""

    NO_ADDRESS = "the name has no address"
    FORBIDDEN = "a tenant's upstream may not be there"
    FORBIDDEN_PORT = "a tenant's upstream may not be at this port"
    UNANSWERED = "no TCP answer in time"
    UNREACHABLE = "no way to the address"
    REFUSED = "the port is closed"
    CLOSED = "the server ended the connection"
    SILENT = "the server says nothing"
    GARBLED = "what was said is not SMTP"
    OTHER_PROTECTION = "TLS spoken to a plain port, or the other way round"
    NO_STARTTLS = "STARTTLS is not offered"
    TLS_ALERT = "no common version or cipher"
    CERTIFICATE = "the certificate is not trusted"
    NO_LOGIN = "no way to log in that is known here"
    NO_TOKEN = "no token to log in with"
    REPLY = "the server refused"


class About(enum.Enum):
    """Whom a refusing reply is about, by the table that delivery has."""

    LOGIN = "the login, or the whole account"
    LIMIT = "a limit that passes by itself"
    SENDER = "the sender"
    OTHER = "anything else"


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What one failed test saw. `said`: an error's own words. `secured`: TLS held already.

    `starttls`: the server offered it. `about` goes with `reply`, `flaw` with a certificate.
    """

    step: Step
    fault: Fault
    said: str = ""
    reply: Reply | None = None
    about: About = About.OTHER
    flaw: Flaw = Flaw.OTHER
    secured: bool = False
    starttls: bool = False


class Finding(msgspec.Struct, frozen=True):
    """A diagnosis for people: causes likeliest first, `fix` what to change."""

    diagnosis: Diagnosis
    title: str
    causes: tuple[str, ...]
    fix: str


_WANTS_TLS = re.compile(r"STARTTLS|encryption required|TLS (is )?required|\b5\.7\.11\b", re.I)
_ABOUT_LOGIN = re.compile(r"auth|log ?in|\b5\.7\.(30|139|57)\b", re.I)
_ABOUT_SENDER = re.compile(r"sender|from address|mail from|domain", re.I)


def diagnose(seen: Seen, upstream: Upstream) -> Finding:
    """The finding. Raises nothing, whatever the server said."""
    name = name_of(seen)
    advice = _advice(name, seen, upstream)
    answer = ""
    if seen.reply is not None:
        answer = printable(f"{seen.reply.code} {seen.reply.text}")
    title = advice.title.format(
        host=upstream.host, port=upstream.port, user=upstream.username, step=seen.step.value
    )
    if seen.fault is Fault.NO_TOKEN:
        answer = seen.said
    if answer:
        title = f"{title}: {answer}"
    return Finding(name, title, advice.causes, _fix(name, advice, upstream))


def name_of(seen: Seen) -> Diagnosis:
    """The diagnosis alone."""
    named = _BY_FAULT.get(seen.fault)
    if named is not None:
        return named
    match seen.fault:
        case Fault.REPLY:
            return _of_reply(seen, seen.reply or Reply(500))
        case Fault.NO_LOGIN:
            plain = seen.starttls and not seen.secured
            return Diagnosis.WRONG_ENCRYPTION if plain else Diagnosis.AUTHENTICATION_FAILED
        case Fault.CLOSED if seen.step in (Step.CONNECT, Step.GREETING):
            return Diagnosis.CONNECTION_REFUSED
        case Fault.GARBLED if seen.step is Step.GREETING:
            return Diagnosis.CONNECTION_REFUSED
    if seen.step is Step.LOGIN:
        return Diagnosis.AUTHENTICATION_FAILED
    if seen.step is Step.TLS:
        return Diagnosis.TLS_ERROR
    return Diagnosis.CONNECTION_TIMED_OUT if seen.fault is Fault.SILENT else Diagnosis.REJECTED


_BY_FAULT = {
    Fault.NO_ADDRESS: Diagnosis.HOST_NOT_FOUND,
    Fault.FORBIDDEN: Diagnosis.ADDRESS_NOT_ALLOWED,
    Fault.FORBIDDEN_PORT: Diagnosis.ADDRESS_NOT_ALLOWED,
    Fault.UNANSWERED: Diagnosis.CONNECTION_TIMED_OUT,
    Fault.UNREACHABLE: Diagnosis.CONNECTION_TIMED_OUT,
    Fault.REFUSED: Diagnosis.CONNECTION_REFUSED,
    Fault.OTHER_PROTECTION: Diagnosis.WRONG_ENCRYPTION,
    Fault.NO_STARTTLS: Diagnosis.WRONG_ENCRYPTION,
    Fault.TLS_ALERT: Diagnosis.TLS_ERROR,
    Fault.CERTIFICATE: Diagnosis.CERTIFICATE_ERROR,
}


def _of_reply(seen: Seen, reply: Reply) -> Diagnosis:
    """RFC 4954 6 for 530, 534, 535 and 538; RFC 3207 4 for 454 at STARTTLS."""
    unsecured = not seen.secured and seen.step not in (Step.GREETING, Step.TLS)
    if unsecured and (reply.code == 538 or _WANTS_TLS.search(reply.text)):
        return Diagnosis.WRONG_ENCRYPTION
    if seen.step is Step.TLS:
        return Diagnosis.WRONG_ENCRYPTION if 500 <= reply.code < 504 else Diagnosis.TLS_ERROR
    if seen.step in (Step.GREETING, Step.EHLO) or seen.about is About.LIMIT:
        return Diagnosis.REJECTED
    if seen.step is Step.LOGIN:
        return Diagnosis.AUTHENTICATION_FAILED
    if seen.about is About.SENDER:
        return Diagnosis.SENDER_REJECTED
    if seen.about is About.LOGIN:
        login = reply.code in (530, 534, 535) or _ABOUT_LOGIN.search(reply.text)
        return Diagnosis.AUTHENTICATION_FAILED if login else Diagnosis.REJECTED
    if seen.step is Step.MAIL and reply.code != 552 and _ABOUT_SENDER.search(reply.text):
        return Diagnosis.SENDER_REJECTED
    return Diagnosis.REJECTED


def _advice(name: Diagnosis, seen: Seen, upstream: Upstream) -> Advice:
    """The words for it; a reply that a provider is known for comes with the cause it has there."""
    match name:
        case Diagnosis.HOST_NOT_FOUND:
            return words.HOST_NOT_FOUND
        case Diagnosis.ADDRESS_NOT_ALLOWED:
            port = seen.fault is Fault.FORBIDDEN_PORT
            return words.PORT_NOT_ALLOWED if port else words.ADDRESS_NOT_ALLOWED
        case Diagnosis.CONNECTION_TIMED_OUT:
            if seen.fault is Fault.SILENT:
                return words.FELL_SILENT
            return words.UNREACHABLE if seen.fault is Fault.UNREACHABLE else words.TIMED_OUT
        case Diagnosis.CONNECTION_REFUSED:
            return {Fault.GARBLED: words.NOT_SMTP, Fault.CLOSED: words.CLOSED}.get(
                seen.fault, words.CONNECTION_REFUSED
            )
        case Diagnosis.WRONG_ENCRYPTION:
            return _encryption_advice(seen, upstream)
        case Diagnosis.CERTIFICATE_ERROR:
            return words.CERTIFICATES[seen.flaw]
        case Diagnosis.TLS_ERROR:
            return words.TLS_ERROR
        case Diagnosis.SENDER_REJECTED:
            return words.SENDER_REJECTED
        case Diagnosis.AUTHENTICATION_FAILED:
            return _login_advice(seen)
    return _rejected_advice(seen)


def _encryption_advice(seen: Seen, upstream: Upstream) -> Advice:
    if seen.fault is Fault.NO_STARTTLS or (seen.step is Step.TLS and seen.reply is not None):
        return words.NO_STARTTLS
    if seen.fault in (Fault.NO_LOGIN, Fault.REPLY):
        return words.WANTS_STARTTLS
    return words.TLS_TO_PLAIN if upstream.encryption is Encryption.TLS else words.PLAIN_TO_TLS


def _login_advice(seen: Seen) -> Advice:
    if seen.fault is Fault.NO_LOGIN:
        return words.NO_LOGIN
    if seen.fault is Fault.NO_TOKEN:
        return words.NO_TOKEN
    if seen.reply is None:
        return words.LOGIN_UNANSWERED
    for pattern, advice in words.LOGINS:
        if pattern.search(f"{seen.reply.code} {seen.reply.text}"):
            return advice
    return words.LOGIN_LATER if seen.reply.temporary else words.LOGIN_REFUSED


def _rejected_advice(seen: Seen) -> Advice:
    if seen.about is About.LIMIT:
        return words.LIMITED
    if seen.step is Step.GREETING:
        return words.TURNED_AWAY
    if seen.about is About.LOGIN:
        return words.ACCOUNT_BLOCKED
    if seen.step is Step.SEND:
        return words.MAIL_REFUSED
    return words.REJECTED


_SETTINGS_MATTER = CONNECTION_FAILURES | {Diagnosis.HOST_NOT_FOUND, Diagnosis.TLS_ERROR}
_ACCOUNT_MATTERS = frozenset(
    {Diagnosis.AUTHENTICATION_FAILED, Diagnosis.SENDER_REJECTED, Diagnosis.REJECTED}
)


def _near(host: str) -> str:
    """The host of a provider that is spelt nearly so, or an empty text."""
    known = sorted({name for preset in presets.PRESETS.values() for name in preset.hosts()})
    return "".join(difflib.get_close_matches(host, known, 1, 0.85))


def _fix(name: Diagnosis, advice: Advice, upstream: Upstream) -> str:
    """What to change, and what the provider is known to want."""
    preset = presets.PRESETS.get(upstream.preset)
    parts = [advice.fix]
    if name is Diagnosis.HOST_NOT_FOUND and (near := _near(upstream.host)):
        parts.insert(0, f"Did you mean {near}?")
    if preset is not None and preset.host and name in _SETTINGS_MATTER and "{" not in preset.host:
        parts.append(
            f"{preset.title} is at {preset.host}, port {preset.port}, encryption "
            f"{preset.encryption.value}."
        )
    if preset is not None and name in _ACCOUNT_MATTERS and preset.host:
        if preset.hints:
            parts.append(f"{preset.title}: {'; '.join(preset.hints)}.")
        if name is Diagnosis.AUTHENTICATION_FAILED:
            parts.append(f"The user name there is {preset.username}.")
    return " ".join(parts)
