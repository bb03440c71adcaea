"""The message of a call of sendmail: read, given what a local program leaves out, and addressed.

Promises line ends in CR LF, an empty line behind the header, a Date and a Message-ID (by which the
relay knows a letter that it was given before), and that not one address of To, Cc and Bcc is lost.
Nothing else is changed. Knows nothing of how a letter travels.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import BinaryIO

import msgspec

from waypost.cli.relay.local.flags import Ended, Exit, Said
from waypost.clock import Clock
from waypost.core.address import Address
from waypost.core.errors import AddressError
from waypost.core.verdict import Refusal
from waypost.policy import words
from waypost.policy.grammar import address_list, mailbox_list
from waypost.policy.header import Fields, scan, unfolded
from waypost.policy.line_ends import Mender
from waypost.policy.rewrite import date

_NAME = re.compile(rb"[!-9;-~]+[ \t]*:")
_TO = (b"to", b"cc", b"bcc")
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
_LINE_ENDS = (b".\n", b".\r\n", b".")


class Letter(msgspec.Struct, frozen=True):
    """What is handed to the relay; `sender` None is `<>`."""

    sender: Address | None
    recipients: tuple[Address, ...]
    octets: bytes


def read(source: BinaryIO, dots: bool, limit_octets: int) -> bytes:
    """Up to the end, or to a line that is a lone dot where `dots` do not count as text. Raises
    `Ended` (DATA) where it is longer than the relay takes."""
    if dots:
        octets = source.read(limit_octets + 1)
    else:
        lines: list[bytes] = []
        size = 0
        while size <= limit_octets and (line := source.readline(limit_octets + 1)):
            if line in _LINE_ENDS:
                break
            lines.append(line)
            size += len(line)
        octets = b"".join(lines)
    if len(octets) > limit_octets:
        raise Ended(Exit.DATA, f"the message is larger than {limit_octets} bytes")
    return octets


def written(octets: bytes, said: Said, hostname: str, clock: Clock) -> Letter:
    """The letter of what was read. Raises `Ended` (USAGE, DATA, NO_USER)."""
    mender = Mender()
    head, rest = _divided(mender.feed(octets) + mender.finish())
    fields = scan(head)
    if isinstance(fields, Refusal):
        raise Ended(Exit.DATA, fields.text)
    sender = _sender(said, fields)
    recipients = _recipients(said, fields)
    top = ""
    if said.name and said.sender and not fields.named(b"from"):
        top += f"From: {_display(said.name)}\r\n <{sender}>\r\n"
    now_ms = clock.wall_ms()
    if not fields.named(b"date"):
        top += f"Date: {date(now_ms)}\r\n"
    if not fields.named(b"message-id"):
        top += f"Message-ID: <{now_ms:x}.{clock.token(_LETTERS, 12)}@{hostname}>\r\n"
    return Letter(sender, recipients, top.encode("ascii") + head + rest)


def _divided(octets: bytes) -> tuple[bytes, bytes]:
    """Header section and body; what does not look like a header begins the body. An empty line
    ends the first in any case, and the line that a mailbox begins with is left out."""
    at = 0
    if octets.startswith((b"From ", b">From ")):
        at = octets.index(b"\n") + 1
    start = at
    while at < len(octets):
        if octets.startswith(b"\r\n", at):
            return octets[start : at + 2], octets[at + 2 :]
        folded = at > start and octets.startswith((b" ", b"\t"), at)
        if not folded and not _NAME.match(octets, at):
            break
        at = octets.index(b"\n", at) + 1
    return octets[start:at] + b"\r\n", octets[at:]


def _sender(said: Said, fields: Fields) -> Address | None:
    """-f, else the one address of the From field; the relay judges what it holds beside."""
    if said.sender is not None:
        if not said.sender:
            return None
        try:
            return next(iter(address_list(said.sender)))
        except (AddressError, StopIteration):
            raise Ended(Exit.USAGE, f"-f {said.sender}: not an email address") from None
    values = fields.named(b"from")
    if len(values) != 1:
        return None
    try:
        return mailbox_list(unfolded(values[0]).strip())[0].address
    except AddressError:
        return None


def _recipients(said: Said, fields: Fields) -> tuple[Address, ...]:
    found: dict[str, Address] = {}
    texts: list[str] = list(said.recipients)
    if said.from_header:
        texts += [unfolded(value) for name in _TO for value in fields.named(name)]
    for text in texts:
        for address in _each(text):
            found.setdefault(address.key, address)
    if not found:
        where = "To, Cc and Bcc name nobody" if said.from_header else "name one, or say -t"
        raise Ended(Exit.USAGE, f"there is no recipient: {where}")
    return tuple(found.values())


def _each(text: str) -> Iterable[Address]:
    try:
        return list(address_list(text.strip()))
    except AddressError as error:
        raise Ended(Exit.NO_USER, f"a recipient cannot be read: {error.public}") from None


def _display(name: str) -> str:
    if name.isascii() and "=?" not in name:
        return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return words.encode(name)
