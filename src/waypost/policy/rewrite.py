"""The head as it goes out: octet for octet the client's, but for the few changes that section 3
lists.

On top one Received field, under it Date, Message-ID and From where the message had none. Taken out
whole: Bcc, Resent-Bcc, Return-Path, Content-Length and X-Waypost-*. A From display name of more
than 100 characters is cut, and only then is that field written anew. Knows nothing of whether a
message may go out.
"""

from __future__ import annotations

import re
import time

import msgspec

from waypost.core import ident
from waypost.core.address import Address
from waypost.core.message import Submission
from waypost.policy import words
from waypost.policy.grammar import Mailbox
from waypost.policy.header import Field, Fields
from waypost.policy.sender import foreign

NAME_CHARACTERS = 100
_DROPPED = frozenset({b"bcc", b"resent-bcc", b"return-path", b"content-length"})
_OWN_PREFIX = b"x-waypost-"
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_HELO_ODD = re.compile(r"[^\x21-\x27\x2a-\x3a\x3c-\x5b\x5d-\x7e]+")  # also no ( ) ; and backslash
_PEER_ODD = re.compile(r"[^0-9A-Za-z.:%_-]+")
HELO_OCTETS = 255  # a domain name (RFC 5321 4.5.3.1.2)


class Trace(msgspec.Struct, frozen=True):
    """What the Received field tells: this host, the message's id, when; `private` leaves out from
    whom.
    """

    hostname: str
    id: int
    now_ms: int
    private: bool


def head(
    fields: Fields, submission: Submission, trace: Trace, origin: Address, mailbox: Mailbox | None
) -> bytes:
    """The head that goes out. `origin` is put where there is no From; `mailbox` is the From that
    there is.
    """
    octets = fields.head
    has = {field.name for field in fields.read}
    top = received(submission, trace)
    if b"date" not in has:
        top += f"Date: {date(trace.now_ms)}\r\n"
    if b"message-id" not in has:
        top += f"Message-ID: <{made_message_id(trace)}>\r\n"
    if mailbox is None:
        top += f"From: {origin}\r\n"
    pieces = [top.encode("ascii", "replace")]
    kept = 0
    for field in fields.read:
        name = field.name
        if name in _DROPPED or name.startswith(_OWN_PREFIX):
            written = b""
        elif name == b"from" and mailbox and len(mailbox.name) > NAME_CHARACTERS:
            written = _from(fields, field, mailbox)
        else:
            continue
        pieces += (octets[kept : field.start], written)
        kept = field.end
    pieces.append(octets[kept:] if kept else octets)
    return b"".join(pieces)


def received(submission: Submission, trace: Trace) -> str:
    """The Received field (RFC 5321 4.4) without `for`, key or account."""
    by = f"by {trace.hostname} with {_protocol(submission)} id {ident.show(trace.id)};"
    peer = "" if trace.private else _from_part(submission)
    return f"Received: {peer}{by}\r\n {date(trace.now_ms)}\r\n"


def made_message_id(trace: Trace) -> str:
    """The Message-ID of a message that came without one, without its brackets."""
    return f"{ident.show(trace.id)}@{trace.hostname}"


def date(now_ms: int) -> str:
    """Milliseconds since 1970 as RFC 5322 3.3 writes them, in UTC."""
    t = time.gmtime(now_ms // 1000)
    return (
        f"{_DAYS[t.tm_wday]}, {t.tm_mday} {_MONTHS[t.tm_mon - 1]} {t.tm_year}"
        f" {t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02} +0000"
    )


def _protocol(submission: Submission) -> str:
    """The words of RFC 3848; for HTTP and the command line words of no registry."""
    if submission.channel == "smtp":
        return "ESMTPSA" if submission.tls else "ESMTPA"
    if submission.channel == "http":
        return "HTTPS" if submission.tls else "HTTP"
    return "LOCAL"


def _from_part(submission: Submission) -> str:
    peer = _PEER_ODD.sub("", submission.peer)
    if not peer or submission.channel == "command":
        return ""
    literal = f"[IPv6:{peer}]" if ":" in peer else f"[{peer}]"
    helo = _HELO_ODD.sub("?", submission.helo)[:HELO_OCTETS] or literal
    return f"from {helo} ({literal})\r\n "


def _from(fields: Fields, field: Field, mailbox: Mailbox) -> bytes:
    """The From field anew, its display name cut, quoted or encoded as it needs."""
    name = mailbox.name[:NAME_CHARACTERS].strip()
    while foreign(name, mailbox.address):  # the cut made another address of ours
        name = " ".join(name.split()[:-1])
    if name.isascii() and name.isprintable() and "=?" not in name:
        shown = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    else:
        shown = words.encode(name)
    label = fields.head[field.start : field.value].decode("latin-1")
    return f"{label} {shown}\r\n <{mailbox.address}>\r\n".encode("latin-1", "replace")
