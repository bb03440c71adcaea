"""A received message as fields and a body, whatever it was saved by. Pure.

Promises bounds: of a header with more octets or fields than any real one only the first are read.
Knows nothing of what fields mean.
"""

from __future__ import annotations

import re

import msgspec

from waypost.core.errors import AddressError
from waypost.domain.dkim import signature
from waypost.domain.dkim.check import Field
from waypost.policy import grammar

HEAD_OCTETS = 1 << 20
FIELDS = 2_000
FROM_CHARACTERS = 8_192
SIGNATURES = 10  # verified of one message; RFC 6376 6.1 lets a verifier stop
_BARE = re.compile(rb"(?<!\r)\n")
_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")


class Message(msgspec.Struct, frozen=True):
    """`cut`: what was not read, in words."""

    fields: tuple[Field, ...]
    body: bytes
    cut: str = ""

    def named(self, name: str) -> list[str]:
        """The values of the fields of that name, unfolded, top first."""
        return [unfolded(field.value) for field in self.fields if field.name == name]


def read(octets: bytes) -> Message:
    """The message. A line "From …" of a mailbox file on top is passed over; line ends become
    CR LF, as they were on the wire."""
    if octets.startswith((b"From ", b">From ")):
        octets = octets.partition(b"\n")[2]
    octets = octets.removeprefix(b"\xef\xbb\xbf")
    head, body = _split(_BARE.sub(b"\r\n", octets))
    cut = ""
    if len(head) > HEAD_OCTETS:
        head = head[: head.rfind(b"\r\n", 0, HEAD_OCTETS) + 2]
        cut = f"the header is longer than {HEAD_OCTETS >> 20} MB; the rest was not read"
    fields: list[Field] = []
    lines = head.split(b"\r\n")
    start = 0
    while start < len(lines) and len(fields) <= FIELDS:
        end = start + 1
        while end < len(lines) and lines[end][:1] in (b" ", b"\t"):
            end += 1
        raw = b"\r\n".join(lines[start:end]) + b"\r\n"
        if _FIELD.match(raw):
            name = raw.partition(b":")[0].strip(b" \t").decode("latin-1").lower()
            fields.append(Field(name, raw))
        start = end
    if len(fields) > FIELDS:
        cut = f"there are more than {FIELDS} header fields; the rest were not read"
    return Message(tuple(fields[:FIELDS]), body, cut)


def _split(octets: bytes) -> tuple[bytes, bytes]:
    if octets.startswith(b"\r\n"):
        return b"", octets[2:]
    head, _, body = octets.partition(b"\r\n\r\n")
    return head, body


def unfolded(value: str) -> str:
    return re.sub(r"\r\n(?=[ \t])", "", value).strip(" \t\r\n")


def author_domains(message: Message) -> list[str]:
    """The domains of the From field's addresses, distinct; none where it cannot be read."""
    found: list[str] = []
    for value in message.named("from"):
        if len(value) > FROM_CHARACTERS:
            continue
        try:
            text = value.encode("latin-1").decode("utf-8", "surrogateescape")
            found += [box.address.domain for box in grammar.mailbox_list(text)]
        except AddressError:
            continue
    return list(dict.fromkeys(found))


def selectors(octets: bytes, domain: str) -> tuple[str, ...]:
    """The selectors of the message's signatures of that domain."""
    values = [field.value for field in read(octets).fields if field.name == "dkim-signature"]
    signed = [signature.parse(value) for value in values[:SIGNATURES]]
    return tuple(dict.fromkeys(one.selector for one in signed if one.domain == domain))
