"""The table of what refusing replies mean, as data: stage, code, words, scope, effect, source.

The first row that fits decides, so rows with words come before those without. A row that is
permanent ends recipients; every other one leaves mail queued. Knows nothing but text.

Sources: RFC numbers; `google` support.google.com/a/answer/3726730; `microsoft` learn.microsoft.com
"Fix NDR error codes" and "SMTP submission improvements"; `ses` docs.aws.amazon.com/ses
smtp-response-codes and troubleshoot-error-messages; `zoho` help.zoho.com and zeptomail
smtp-error-codes; `yahoo` senders.yahooinc.com/smtp-error-codes; `postfix`, `exim`, `cpanel`: their
sources and manuals.
"""

from __future__ import annotations

import enum
import re

import msgspec

from waypost.core.reply import Stage


class Scope(enum.Enum):
    """Whom a failure is about."""

    UPSTREAM_PAUSED = "upstream, until somebody acts"
    UPSTREAM_FAILING = "upstream, for a time"
    SENDER_HELD = "sender"
    RECIPIENT = "recipient"
    MESSAGE = "message"


class Row(msgspec.Struct, frozen=True):
    """One line of the table: stage, code and words must all fit; the first row that fits decides.

    `code` and `words` are regular expressions (the first on the whole code, the second anywhere in
    the reply's text, in any case); `says` is the plain text of the reason; `source` where it is
    from. `crowded`: fewer connections may be all it takes.
    """

    stages: frozenset[Stage]
    code: re.Pattern[str]
    words: re.Pattern[str] | None
    scope: Scope
    permanent: bool
    crowded: bool
    says: str
    source: str


_LOGIN = (Stage.GREETING, Stage.EHLO, Stage.STARTTLS, Stage.AUTH)
_MAIL = (Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.DOT)
_ALL = (*_LOGIN, *_MAIL)
_BODY = (Stage.DATA, Stage.DOT)

LOGIN_STAGES = frozenset({Stage.CONNECT, Stage.HANDSHAKE, *_LOGIN})
"""Trouble here is found again by a login; later trouble only by a message."""


def _row(
    stages: tuple[Stage, ...],
    code: str,
    words: str,
    scope: Scope,
    says: str,
    source: str,
    *,
    permanent: bool = False,
    crowded: bool = False,
) -> Row:
    pattern = re.compile(words, re.IGNORECASE) if words else None
    return Row(
        frozenset(stages), re.compile(code), pattern, scope, permanent, crowded, says, source
    )


_P, _F, _S = Scope.UPSTREAM_PAUSED, Scope.UPSTREAM_FAILING, Scope.SENDER_HELD
_R, _M = Scope.RECIPIENT, Scope.MESSAGE

_CROWD = "too many connections"
_SLOW = "the upstream asks for less mail"
_QUOTA = "the upstream's sending limit is reached"
_LOGIN_NO = "login refused"
_AS = "the login may not send as this address"

_WORDED: tuple[Row, ...] = (
    # Who may send as whom: before quotas, since Microsoft uses 5.2.252 for it as well.
    _row(_MAIL, "5..", r"SendAsDenied|SendOnBehalf\w*Denied", _S, _AS, "microsoft 5.2.252"),
    _row(_MAIL, "5..", r"\b5\.7\.60\b|permissions? to send as", _S, _AS, "microsoft 5.7.60"),
    _row(
        _MAIL,
        "5..",
        r"(address|identit\w+) (is|are|was) not verified|unverified (sender|"
        r"identity|address)|identities failed the check",
        _S,
        _AS,
        "ses troubleshoot",
    ),
    _row(
        _MAIL,
        "5..",
        r"not owned by user|sender address rejected: not (owned|logged in)"
        r"|sender .{0,80}does not match|relaying disallowed as",
        _S,
        _AS,
        "postfix reject_sender_login_mismatch; zoho 553",
    ),
    _row(
        _MAIL,
        "5..",
        r"not (allowed|authori[sz]ed|permitted) to (send|use|relay) .{0,40}"
        r"(as|from|address|sender|behalf)|from header .{0,40}(not match|mismatch)"
        r"|sender (address )?(is )?not (allowed|authori[sz]ed|permitted)|unauthori[sz]ed sender"
        r"|sender .{0,80}(not allowed|not authorized|not permitted)",
        _S,
        _AS,
        "exim, gmx, ionos, ovh",
    ),
    _row((Stage.MAIL, Stage.RCPT), "5..", r"sender verify failed", _S, _AS, "exim verify = sender"),
    # A size is no quota, whatever words it is said with.
    _row(
        _BODY,
        "5..",
        r"^5\.3\.4\b|message size",
        _M,
        "too large for the upstream",
        "RFC 3463 5.3.4; google 552 5.3.4",
        permanent=True,
    ),
    # Limits that pass by themselves.
    _row(
        _ALL,
        "[45]..",
        r"SubmissionQuotaExceeded|OutboundSpamException|\b5\.2\.25[1-5]\b"
        r"|exceeded.{0,30}(daily|hourly|sending|message|recipient rate|submission).{0,30}"
        r"(limit|quota)|(limit|quota).{0,20}(is |was |has been )?exceeded for (today|this hour)",
        _F,
        _QUOTA,
        "microsoft 5.2.0, 5.2.251 to 255",
    ),
    _row(
        _ALL,
        "[45]..",
        r"\b5\.4\.5\b|daily (user |smtp relay |sending |message )*"
        r"(sending |relay )?(limit|quota)|maximum (daily|hourly) .{0,20}(quota|limit)"
        r"|(daily|hourly) (message |sending |email )?(quota|limit)",
        _F,
        _QUOTA,
        "google 550 5.4.5; ses 454 daily message quota exceeded",
    ),
    _row(
        _ALL, "[45]..", r"unusual sending activity|unusual activity", _F, _QUOTA, "zoho 550 5.4.6"
    ),
    _row(
        _ALL,
        "[45]..",
        r"max(imum)? (defers and failures|emails) per (hour|day)"
        r"|sending (limit|rate|quota).{0,20}exceeded|rate limit|too many (messages|mails|emails)"
        r"|too much mail|message rate|limit on the number of (allowed )?(outgoing|messages)",
        _F,
        _SLOW,
        "cpanel; postfix anvil; fastmail; ionos",
    ),
    _row((Stage.DOT,), "554", r"^5\.2\.2\b", _F, _QUOTA, "microsoft 554 5.2.2 at the dot"),
    _row(
        _ALL,
        "4..",
        r"throttl|maximum sending rate",
        _F,
        _SLOW,
        "ses 454 Throttling failure",
        crowded=True,
    ),
    _row(_ALL, "432", "", _F, _CROWD, "microsoft 432 4.3.2 concurrent connections", crowded=True),
    _row(
        _ALL,
        "4..",
        r"too many (concurrent |simultaneous |open )*(smtp )?(connections|sessions)"
        r"|concurrent connections? limit|connection (count|rate|limit)|sender thread limit",
        _F,
        _CROWD,
        "ses 421; microsoft 4.3.2; postfix anvil; exim smtp_accept_max",
        crowded=True,
    ),
    _row(
        (*_LOGIN, Stage.MAIL),
        "4..",
        r"too many (login|auth)\w*|login attempts",
        _F,
        "too many logins",
        "google 454 4.7.0",
        crowded=True,
    ),
    # The login does not hold.
    _row(
        (Stage.MAIL, Stage.RCPT, Stage.DATA),
        "5..",
        r"authentication (is )?required"
        r"|must authenticate|need to authenticate|not authenticated|auth(enticate)? first"
        r"|client was not authenticated|please log ?in|smtp ?auth",
        _P,
        _LOGIN_NO,
        "RFC 4954 6 530 5.7.0; google 530; microsoft 530 5.7.57",
    ),
    _row(
        _MAIL,
        "5..",
        r"\b5\.7\.30\b|\b5\.7\.139\b|basic authentication is (not supported|disabled)"
        r"|SmtpClientAuthentication is disabled",
        _P,
        _LOGIN_NO,
        "microsoft 550 5.7.30",
    ),
    _row((Stage.MAIL,), "53[045]", "", _P, _LOGIN_NO, "RFC 4954 6"),
    _row(
        _MAIL,
        "5..",
        r"account (is |has been |was )*(blocked|suspended|disabled|locked)"
        r"|outgoing blocked|bad outbound sender|sender address blocked|sending (is |has been )*"
        r"(suspended|paused|disabled|blocked)",
        _P,
        "the account is blocked",
        "zoho 554 5.1.8; microsoft 550 5.1.8; ses sending paused",
    ),
    # Size and form at MAIL are the message's.
    _row(
        (Stage.MAIL,), "552", "", _M, "too large for the upstream", "RFC 1870 6.1", permanent=True
    ),
    _row(
        (Stage.MAIL,),
        "5..",
        r"\b5\.3\.4\b|message size exceeds|too (large|big)",
        _M,
        "too large for the upstream",
        "RFC 3463 5.3.4; postfix",
        permanent=True,
    ),
    _row(
        (Stage.MAIL,),
        "5..",
        r"unsupported (option|parameter)|unrecognized parameter"
        r"|\b5\.5\.[124]\b|syntax|bad sequence|nested mail|sender already",
        _M,
        "the upstream did not understand",
        "RFC 5321 4.2.2",
    ),
)

_PLAIN: tuple[Row, ...] = (
    _row((Stage.GREETING,), "554", "", _P, "the upstream refuses us", "RFC 5321 3.1"),
    _row((Stage.AUTH,), "5..", "", _P, _LOGIN_NO, "RFC 4954 6 535, 534; microsoft 535 5.7.139"),
    _row((Stage.STARTTLS,), "5..", "", _P, "TLS refused", "RFC 3207 4"),
    _row(_LOGIN, "421", "", _F, "the upstream is not available", "RFC 5321 3.8", crowded=True),
    _row(_LOGIN, "4..", "", _F, "the upstream is not available", "RFC 5321 4.2.1"),
    _row(_LOGIN, "...", "", _F, "the upstream does not let us in", "unknown is temporary"),
    _row(_MAIL, "421", "", _M, "the upstream ended the session", "RFC 5321 3.8"),
    _row((Stage.MAIL,), "5..", "", _S, "the upstream refuses the sender", "RFC 5321 4.3.2 MAIL"),
    _row((Stage.RCPT,), "5..", "", _R, "recipient refused", "RFC 5321 4.3.2 RCPT", permanent=True),
    _row((Stage.RCPT,), "4..", "", _R, "recipient put off", "RFC 5321 4.2.1"),
    _row(_BODY, "5..", "", _M, "message refused", "RFC 5321 4.3.2 DATA", permanent=True),
    _row(_MAIL, "4..", "", _M, "message put off", "RFC 5321 4.2.1"),
)

ROWS: tuple[Row, ...] = _WORDED + _PLAIN
