"""How a notice reads: what failed, in plain words, as the octets of a message.

Promises that nothing a client or an upstream said can become a header field or a line of its own,
and that a notice stays below 20 KB. Pure. Knows nothing of who sends it and when.
"""

from __future__ import annotations

import base64
import re
import time

import msgspec

from waypost.core import ident
from waypost.core.address import Address
from waypost.core.reply import printable
from waypost.policy import words
from waypost.store.read.owed import Failed, Owed

SHOWN_RECIPIENTS = 20
SUBJECT_CHARACTERS = 150
WORDS_OCTETS = 300
_LINE_OCTETS = 76  # RFC 2045 6.8
_CONTROL = re.compile("[\\x00-\\x1f\\x7f-\\x9f\u2028\u2029\ud800-\udfff]+")
_MESSAGE_ID = re.compile(r"[\x21-\x3b\x3d\x3f-\x7e]{1,250}")
_HOST_ODD = re.compile(r"[^0-9A-Za-z.-]+")

# By the first words or code that fit; RFC 3463 3 has the classes of codes.
_ADVICE: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"uncertain"),
        "It may have arrived all the same: ask, before you send it again.",
    ),
    (
        re.compile(r"(queued|tried) for too long"),
        "The mail server could not be reached, or did not take it, for days: see what the\n"
        "log says of the upstream, then send it again.",
    ),
    (
        re.compile(r"5\.1\.[0-9]|5\.2\.1|no such user|user unknown|does not exist", re.IGNORECASE),
        "Check the address. If it is wrong or gone, take it off your list.",
    ),
    (
        re.compile(r"5\.2\.2|4\.2\.2|mailbox.{0,20}full|over ?quota", re.IGNORECASE),
        "The mailbox is full: reach its owner in another way, or try again in some days.",
    ),
    (
        re.compile(r"5\.3\.4|5\.2\.3|too (large|big)", re.IGNORECASE),
        "Send a smaller message: put what is large behind a link.",
    ),
    (
        re.compile(r"5\.7\.|spam|blocked|policy", re.IGNORECASE),
        "The other side did not want it. Have the sender's domain checked (SPF, DKIM, DMARC), and\n"
        "read what the words above say.",
    ),
)
_OTHERWISE = "The words above say why. Send it again when that is mended."


class Facts(msgspec.Struct, frozen=True):
    """What a notice is made of. `upstream`: the name of the one tried last, or nothing."""

    owed: Owed
    failed: tuple[Failed, ...]
    upstream: str
    hostname: str
    sender: Address
    to: Address


def compose(facts: Facts) -> tuple[bytes, bytes]:
    """(head with its empty line, body) of the notice, without Date and Message-ID."""
    body = _text(facts).replace("\n", "\r\n")
    coding = "7bit" if body.isascii() else "base64"
    host = _HOST_ODD.sub("", facts.hostname)
    fields = [
        f'From: "Mail relay {host}" <{facts.sender}>',
        f"To: <{facts.to}>",
        f"Subject: {_subject(facts.owed)}",
        "Auto-Submitted: auto-replied",  # RFC 3834 5
        "X-Auto-Response-Suppress: All",  # what Exchange asks for the same with
    ]
    if _MESSAGE_ID.fullmatch(facts.owed.smtp_message_id):
        fields.append(f"In-Reply-To: <{facts.owed.smtp_message_id}>")
        fields.append(f"References: <{facts.owed.smtp_message_id}>")
    fields += [
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Transfer-Encoding: {coding}",
    ]
    head = "\r\n".join(fields) + "\r\n\r\n"
    return head.encode("ascii"), body.encode() if coding == "7bit" else _base64(body)


def advice(failed: Failed) -> str:
    """What to do about a recipient that failed so."""
    said = f"{failed.code} {failed.text}"
    return next((then for pattern, then in _ADVICE if pattern.search(said)), _OTHERWISE)


def _subject(owed: Owed) -> str:
    text = f"Not delivered: {_line(owed.subject)[:SUBJECT_CHARACTERS] or '(no subject)'}"
    return text if text.isascii() and "=?" not in text else words.encode(text)


def _text(facts: Facts) -> str:
    owed = facts.owed
    shown = ident.show(owed.message_id)
    host = _HOST_ODD.sub("", facts.hostname)
    lines = [
        "A message that this mail relay had accepted could not be delivered to",
        f"{owed.failed} of its {owed.recipients} recipients. It will not be tried again.",
        "",
        f"  Message   {shown}",
        f"  Accepted  {_time(ident.milliseconds(owed.message_id))}",
        f"  From      {_line(owed.sender)}",
        f"  Subject   {_line(owed.subject)[:SUBJECT_CHARACTERS]}",
    ]
    if facts.upstream:
        lines.append(f"  Upstream  {_line(facts.upstream)}")
    for failed in facts.failed[:SHOWN_RECIPIENTS]:
        lines += ["", f"Not delivered to {_line(failed.address)}", f"  {_said(failed)}"]
        lines += [f"  {line}" for line in advice(failed).split("\n")]
    more = owed.failed - min(len(facts.failed), SHOWN_RECIPIENTS)
    if more > 0:
        lines += ["", f"and {more} more: the log has them all."]
    lines += [
        "",
        "Those recipients were refunded. Everything that is known of the message:",
        f"`waypost log show {shown}`, or GET /api/v1/email/messages/{shown}.",
        "",
        f"{host} sends this notice because the account {_line(owed.account)}",
        "names this address for it. Nobody reads answers to it.",
        "",
    ]
    return "\n".join(lines)


def _said(failed: Failed) -> str:
    said = printable(failed.text, WORDS_OCTETS)
    if not failed.code:
        return said or "No reason is known."
    return f"The mail server said: {failed.code} {said}".strip()


def _line(text: str) -> str:
    """The text as one line without control characters."""
    return _CONTROL.sub(" ", text).strip()


def _time(ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(ms // 1000))


def _base64(text: str) -> bytes:
    octets = base64.b64encode(text.encode("utf-8", "replace"))
    pieces = [octets[at : at + _LINE_OCTETS] for at in range(0, len(octets), _LINE_OCTETS)]
    return b"\r\n".join(pieces) + b"\r\n"
