"""The head as it goes out: octet for octet the client's, but for the few changes that section 3
lists.

On top one Received field, under it Date, Message-ID and From where the message had none. Taken out
whole: Bcc, Resent-Bcc, Return-Path, Content-Length and X-Waypost-*. A From display name of more
than 100 characters is cut, and only then is that field written anew. Knows nothing of whether a
message may go out.
"""

from __future__ import annotations

import functools
import re
import time

import msgspec

from waypost.core import ident
from waypost.core.address import Address
from waypost.core.message import NOTICE, Submission
from waypost.policy import words
from waypost.policy.grammar import Mailbox
from waypost.policy.header import OWN_PREFIX, Field, Fields
from waypost.policy.sender import foreign

NAME_CHARACTERS = 100
_DROPPED = frozenset({b"bcc", b"resent-bcc", b"return-path", b"content-length", OWN_PREFIX})
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_HELO_ODD = re.compile(r"[^\x21-\x27\x2a-\x3a\x3c-\x5b\x5d-\x7e]+")  # also no ( ) ; and backslash
_PEER_ODD = re.compile(r"[^0-9A-Za-z.:%_-]+")
HELO_OCTETS = 255  # a domain name (RFC 5321 4.5.3.1.2)
KEPT_ROUTES = 1_024  # one for each session that is open
KEPT_DATES = 8  # one for each second; a clock may go back


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
    top = received(submission, trace)
    if not fields.named(b"date"):
        top += f"Date: {date(trace.now_ms)}\r\n"
    if not fields.named(b"message-id"):
        top += f"Message-ID: <{made_message_id(trace)}>\r\n"
    if mailbox is None:
        top += f"From: {origin}\r\n"
    return top.encode("ascii", "replace") + _changed(fields, mailbox)


def _changed(fields: Fields, mailbox: Mailbox | None) -> bytes:
    """The client's head without the fields that are taken out, its From with a name that fits."""
    octets = fields.head
    cut = mailbox if mailbox is not None and len(mailbox.name) > NAME_CHARACTERS else None
    if cut is None and _DROPPED.isdisjoint(fields.values):
        return octets
    pieces: list[bytes] = []
    kept = 0
    for field in fields.read:
        if field.name in _DROPPED:
            written = b""
        elif cut is not None and field.name == b"from":
            written = _from(fields, field, cut)
        else:
            continue
        pieces += (octets[kept : field.start], written)
        kept = field.end
    pieces.append(octets[kept:])
    return b"".join(pieces)


def received(submission: Submission, trace: Trace) -> str:
    """The Received field (RFC 5321 4.4) without `for`, key or account."""
    route = _route(
        trace.hostname,
        trace.private,
        submission.channel,
        submission.tls,
        submission.peer,
        submission.helo,
    )
    return f"Received: {route} id {ident.show(trace.id)};\r\n {date(trace.now_ms)}\r\n"


def made_message_id(trace: Trace) -> str:
    """The Message-ID of a message that came without one, without its brackets."""
    return f"{ident.show(trace.id)}@{trace.hostname}"


def date(now_ms: int) -> str:
    """Milliseconds since 1970 as RFC 5322 3.3 writes them, in UTC."""
    return _date(now_ms // 1000)


@functools.lru_cache(KEPT_DATES)
def _date(now_s: int) -> str:
    t = time.gmtime(now_s)
    return (
        f"{_DAYS[t.tm_wday]}, {t.tm_mday} {_MONTHS[t.tm_mon - 1]} {t.tm_year}"
        f" {t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02} +0000"
    )


@functools.lru_cache(KEPT_ROUTES)
def _route(hostname: str, private: bool, channel: str, tls: bool, peer: str, helo: str) -> str:
    """From whom, by whom and how: the same in all messages of a session."""
    by = f"by {hostname} with {_protocol(channel, tls)}"
    host = _PEER_ODD.sub("", peer)
    if private or not host or channel in ("command", NOTICE):
        return by
    literal = f"[IPv6:{host}]" if ":" in host else f"[{host}]"
    named = _HELO_ODD.sub("?", helo)[:HELO_OCTETS] or literal
    return f"from {named} ({literal})\r\n {by}"


def _protocol(channel: str, tls: bool) -> str:
    """The words of RFC 3848; for HTTP and the command line words of no registry."""
    if channel == "smtp":
        return "ESMTPSA" if tls else "ESMTPA"
    if channel == "http":
        return "HTTPS" if tls else "HTTP"
    return "LOCAL"


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
