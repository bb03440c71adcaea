"""What of a message can be shown: its first text and HTML parts, decoded, and its header fields.

Uses the bounded walk of `size`; nothing is raised for any octets. The HTML is the sender's: whoever
shows it must not trust it. Knows nothing of pages.
"""

from __future__ import annotations

import base64
import binascii
import re

import msgspec

from waypost.policy.header import head_end
from waypost.policy.size import Kind, leaves
from waypost.policy.words import decode, decoded

SHOWN_OCTETS = 1 << 20
FIELDS_MOST = 200
VALUE_CHARACTERS = 2_000

_FIELD = re.compile(rb"([!-9;-~]++)[ \t]*:([^\r]*+(?:\r\n[ \t][^\r]*+)*+)\r\n")
_CHARSET = re.compile(rb';\s*charset\s*=\s*"?([A-Za-z0-9._-]{1,40})', re.IGNORECASE)


class Shown(msgspec.Struct, frozen=True):
    """`text`, `html`: None where there is no such part. `names`: what else there is, by name or
    type."""

    text: str | None
    html: str | None
    names: tuple[str, ...]


def fields(data: bytes) -> list[tuple[str, str]]:
    """(name, value on one line, encoded words read) of the header fields, in order."""
    end = head_end(data)
    head = data if end < 0 else data[:end]
    found: list[tuple[str, str]] = []
    for field in _FIELD.finditer(head):
        if len(found) == FIELDS_MOST:
            break
        raw = field[2].replace(b"\r\n", b"")
        value = decode(raw.decode("utf-8", "replace")).strip()
        found.append((field[1].decode("ascii"), value[:VALUE_CHARACTERS]))
    return found


def shown(data: bytes) -> Shown:
    """The parts to show of a message, or of the beginning of one."""
    end = max(head_end(data), 0)
    text = html = None
    names: list[str] = []
    for kind, start, stop in leaves(data[:end], data, end):
        if kind.type == b"text/html" and not kind.attached and html is None:
            html = _text(kind, data[start:stop])
        elif kind.type == b"text/plain" and not kind.attached and text is None:
            text = _text(kind, data[start:stop])
        elif len(names) < FIELDS_MOST:
            names.append(kind.name or kind.type.decode("latin-1")[:100])
    return Shown(text, html, tuple(names))


def _text(kind: Kind, octets: bytes) -> str:
    octets = octets[: 2 * SHOWN_OCTETS]
    try:
        if kind.encoding == b"base64":
            octets = base64.b64decode(octets[: len(octets) // 4 * 4])
        elif kind.encoding == b"quoted-printable":
            octets = binascii.a2b_qp(octets)
    except binascii.Error:
        pass  # as it stands
    found = _CHARSET.search(b";" + kind.parameters)
    charset = found[1].decode("ascii").lower() if found else "utf-8"
    return decoded(octets[:SHOWN_OCTETS], charset)
