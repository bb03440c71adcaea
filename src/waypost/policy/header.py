"""The header section as octets: where it ends, where its fields are, whether it may be relayed at
all.

Promises that every octet of a head belongs to exactly one field or to the empty line, that a
continuation belongs to the field above it, and that only fields which some rule reads are copied:
a megabyte of odd fields costs no memory. Names are compared in lower case without the white space
before the colon. Knows nothing of what fields mean. Expects mended line ends.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from waypost.core.verdict import Reason, Refusal

HEAD_OCTETS = 1_048_576  # what intake keeps in memory of a message's head; 550 5.3.4 beyond it
READ_FIELDS = 1_000  # fields that rules read; real mail has some thirty
RECEIVED_FIELDS = 50  # RFC 5321 6.3 asks for a large number; Postfix's hopcount_limit
OWN_RECEIVED_FIELDS = 3
OWN_PREFIX = b"x-waypost-"

_BREAKERS = b"\x0b\x0c\x1c\x1d\x1e"  # some readers end a line at these
_FIELD = re.compile(rb"([^:\r\n]++):([^\r]*+(?:\r\n[ \t][^\r]*+)*+\r\n)")
_READ = frozenset(
    b"from sender resent-from resent-sender to cc bcc resent-bcc return-path content-length "
    b"received date message-id subject".split()
)


class Field(msgspec.Struct, frozen=True, gc=False):
    """One field of a head: `head[start:end]` is all of it, folds and last CR LF too; `value` is
    after the colon. `name`: lower case; of all X-Waypost-* it is `OWN_PREFIX`.
    """

    name: bytes
    start: int
    value: int
    end: int


class Fields(msgspec.Struct, frozen=True):
    """The values of the fields that rules read, by name in lower case, each with its folds and last
    CR LF. `end`: where the last field of any name ends.
    """

    head: bytes
    values: dict[bytes, list[bytes]]
    end: int

    def named(self, name: bytes) -> Sequence[bytes]:
        """The values of the fields of this name, in order."""
        return self.values.get(name, ())

    @property
    def read(self) -> tuple[Field, ...]:
        """Where these fields are, in order."""
        return tuple(
            Field(name, found.start(), found.start(2), found.end())
            for found in _FIELD.finditer(self.head, 0, self.end)
            if (name := _known(found[1]))
        )


def unfolded(value: bytes) -> str:
    """A value on one line (RFC 5322 2.2.3); what is not UTF-8 as surrogates."""
    return value.replace(b"\r\n", b"").decode("utf-8", "surrogateescape")


def head_end(data: bytes | bytearray, start: int = 0) -> int:
    """The offset after the empty line that ends the header section, or -1 while there is none.

    `start`: how many octets were searched before.
    """
    if data.startswith(b"\r\n"):
        return 2
    found = data.find(b"\r\n\r\n", max(start - 3, 0))
    return found + 4 if found >= 0 else -1


def split(data: bytes) -> tuple[bytes, bytes]:
    """Head and rest of a whole message; without an empty line all of it is head."""
    end = head_end(data)
    return (data, b"") if end < 0 else (data[:end], data[end:])


def scan(head: bytes) -> Fields | Refusal:
    """The fields of a head; a refusal where it is not a header section (550 5.6.0) or too long
    (5.3.4).
    """
    if len(head) > HEAD_OCTETS:
        return Refusal(
            Reason.TOO_LARGE,
            f"The header is larger than {HEAD_OCTETS} bytes: move text into the body",
        )
    if len(head.translate(None, _BREAKERS)) < len(head):
        octet = next(octet for octet in _BREAKERS if octet in head)
        return _malformed(f"The header holds the control character 0x{octet:02x}: take it out")
    if head.startswith((b" ", b"\t")):
        return _malformed("The first line begins with white space: begin it with a header name")
    values: dict[bytes, list[bytes]] = {}
    read = end = 0
    while found := _FIELD.match(head, end):
        end = found.end()
        name = _known(found[1])
        if name:
            values.setdefault(name, []).append(found[2])
            read += 1
            if read > READ_FIELDS:
                return loop(Fields(head, values, end), "-") or _malformed(
                    f"The header repeats address and trace fields more than {READ_FIELDS} times"
                )
    if head[end:] not in (b"", b"\r\n"):
        line = head.count(b"\n", 0, end) + 1
        return _malformed(
            f"Line {line} of the header has no name and colon:"
            " write `Name: value`, and an empty line before the body"
        )
    return Fields(head, values, end)


def _known(name: bytes) -> bytes:
    """The name as rules ask for it; empty where none does."""
    name = name.lower()
    if name in _READ:
        return name
    if name.startswith(OWN_PREFIX):
        return OWN_PREFIX
    name = name.rstrip(b" \t")
    return name if name in _READ else b""


def loop(fields: Fields, hostname: str) -> Refusal | None:
    """550 5.4.6 for a message that has travelled too far, or through here too often."""
    received = fields.named(b"received")
    if len(received) <= OWN_RECEIVED_FIELDS:
        return None
    if len(received) > RECEIVED_FIELDS:
        return Refusal(
            Reason.LOOP,
            f"The message has more than {RECEIVED_FIELDS} Received fields: it is going round"
            " in a loop, look for a forwarding rule that points back",
        )
    by_us = re.compile(rf"\bby[ \t]+{re.escape(hostname)}(?=[ \t;(]|$)", re.IGNORECASE)
    own = sum(1 for value in received if by_us.search(unfolded(value)))
    if own > OWN_RECEIVED_FIELDS:
        return Refusal(
            Reason.LOOP,
            f"The message came through this relay {own} times: it is going round in a loop,"
            " look for a forwarding rule that points back",
        )
    return None


def _malformed(why: str) -> Refusal:
    return Refusal(Reason.MALFORMED, why)
