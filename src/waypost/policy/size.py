"""How large a message is to read: its text and HTML parts that are not attachments, decoded, in
octets.

A walk without recursion, at most 20 deep and over 1,000 parts, on octets or a mapped file, by
searches for boundaries and nothing line by line. What lies beyond these bounds counts as text as it
stands, so that no shape of a message makes its text disappear. Multiparts are opened, enclosed
messages are not. Knows nothing of limits on the whole message.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator

import msgspec

DEPTH = 20
PARTS = 1_000
HEAD_OCTETS = 16_384  # of a part; real ones have a few hundred
PIECE_OCTETS = 1 << 20  # how much is copied at a time for counting
LOOKALIKES = 10_000  # lines that begin as a boundary and are none, in all
LINE_OCTETS = 100  # what is looked at after a boundary: white space up to the line end

Octets = bytes | mmap.mmap

_FIELD = re.compile(rb"([^:\r\n]++):([^\r]*+(?:\r\n[ \t][^\r]*+)*+)\r\n")
_BOUNDARY = re.compile(rb';\s*boundary\s*=\s*(?:"((?:[^"\\]|\\.)*+)"|([^\s;"]++))', re.I | re.S)
_NAME = re.compile(rb';\s*(?:file)?name\s*=\s*(?:"([^"\r]{1,200})"|([^\s;"]{1,200}))', re.I)
_DELIMITER_END = re.compile(rb"(--)?[ \t]*+(?:\r\n|\Z)")
_NOT_BASE64 = bytes(
    sorted(
        set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
    )
)


class Kind(msgspec.Struct, frozen=True):
    """What a part's head says: media type, boundary of a multipart, transfer encoding, attachment
    or not; `parameters` of the media type as they stand, and `name` of a file.
    """

    type: bytes = b"text/plain"  # RFC 2045 5.2
    boundary: bytes = b""
    encoding: bytes = b""
    attached: bool = False
    parameters: bytes = b""
    name: str = ""


class _Part(msgspec.Struct):
    kind: Kind
    start: int
    end: int
    depth: int


def text_octets(head: bytes, data: Octets, start: int, limit: int) -> int:
    """The decoded size of all shown text of a message, or any number above `limit` once it is
    passed.

    `head`: its header section; its body is `data` from `start` to the end.
    """
    return _Walk(data).total(_Part(_kind(head), start, len(data), 0), limit)


def leaves(head: bytes, data: Octets, start: int) -> Iterator[tuple[Kind, int, int]]:
    """(what it is, where it begins, where it ends) of the parts that hold no others, in order."""
    walk = _Walk(data)
    waiting = [_Part(_kind(head), start, len(data), 0)]
    while waiting:
        part = waiting.pop()
        children = walk.within(part)
        if children is None:
            yield part.kind, part.start, part.end
        else:
            waiting += reversed(children)


class _Walk:
    """One walk over one message, with what it may still spend."""

    def __init__(self, data: Octets) -> None:
        self._data = data
        self._parts = PARTS
        self._lookalikes = LOOKALIKES

    def total(self, root: _Part, limit: int) -> int:
        waiting = [root]
        total = 0
        while waiting and total <= limit:
            part = waiting.pop()
            kind = part.kind
            children = self.within(part)
            if children is not None:
                waiting += children
            elif kind.boundary or (kind.type.startswith(b"text/") and not kind.attached):
                total += _decoded(self._data, part)
        return total

    def within(self, part: _Part) -> list[_Part] | None:
        """The parts of a multipart that is opened, else None."""
        if part.kind.boundary and part.depth < DEPTH and self._parts > 0:
            return self._children(part)
        return None

    def _children(self, part: _Part) -> list[_Part]:
        """The parts of a multipart (RFC 2046 5.1.1); where the walk must stop, the last reaches to
        the end.
        """
        data = self._data
        needle = b"--" + part.kind.boundary
        children: list[_Part] = []
        opened = -1
        if data[part.start : part.start + len(needle)] == needle:
            at = part.start
        else:
            at = data.find(b"\n" + needle, part.start, part.end) + 1 or -1
        while at >= 0 and self._parts > 0 and self._lookalikes > 0:
            after = search = at + len(needle)
            ending = _DELIMITER_END.match(data[after : min(after + LINE_OCTETS, part.end)])
            if ending is None:
                self._lookalikes -= 1
            else:
                if opened >= 0:
                    self._parts -= 1
                    children.append(_child(part, data, opened, max(at - 2, opened)))
                if ending[1]:
                    return children
                opened = after + ending.end()
                search = max(opened - 2, after)
            at = data.find(b"\n" + needle, search, part.end) + 1 or -1
        if opened < 0:
            opened = part.start
        self._parts -= 1
        if at < 0:
            children.append(_child(part, data, opened, part.end))
        else:
            children.append(_Part(Kind(), opened, part.end, part.depth + 1))
        return children


def _child(parent: _Part, data: Octets, start: int, end: int) -> _Part:
    window = data[start : min(end, start + HEAD_OCTETS)]
    if window.startswith(b"\r\n"):
        return _Part(Kind(), start + 2, end, parent.depth + 1)
    empty = window.find(b"\r\n\r\n")
    if empty < 0:
        return _Part(Kind(), start, end, parent.depth + 1)
    return _Part(_kind(window[: empty + 2]), start + empty + 4, end, parent.depth + 1)


def _kind(head: bytes) -> Kind:
    media, encoding, disposition = b"", b"", b""
    end = 0
    while found := _FIELD.match(head, end):
        end = found.end()
        name = found[1].rstrip(b" \t").lower()
        if name == b"content-type":
            media = media or found[2]
        elif name == b"content-transfer-encoding":
            encoding = encoding or found[2]
        elif name == b"content-disposition":
            disposition = disposition or found[2]
    type_ = _first_word(media) or b"text/plain"
    boundary = b""
    if type_.startswith(b"multipart/"):
        named = _BOUNDARY.search(media)
        if named:
            boundary = re.sub(rb"\\(.)", rb"\1", named[1]) if named[1] is not None else named[2]
        type_ = type_ if boundary else b"text/plain"
    attached = _first_word(disposition) == b"attachment"
    named = _NAME.search(disposition) or _NAME.search(media)
    name = (named[1] or named[2]).decode("utf-8", "replace") if named else ""
    return Kind(type_, boundary, _first_word(encoding), attached, media.partition(b";")[2], name)


def _first_word(value: bytes) -> bytes:
    return value.partition(b";")[0].strip().lower()


def _decoded(data: Octets, part: _Part) -> int:
    """The octets of a part after its transfer encoding is taken off."""
    encoding = part.kind.encoding
    if part.kind.boundary or encoding not in (b"base64", b"quoted-printable"):
        return part.end - part.start
    total = digits = 0
    at = part.start
    while at < part.end:
        cut = min(at + PIECE_OCTETS, part.end)
        if cut < part.end:  # at a line end, so that no =XX is cut in two
            line = data.rfind(b"\n", at, cut)
            cut = line + 1 if line >= 0 else cut
        piece = data[at:cut]
        if encoding == b"base64":
            digits += len(piece.translate(None, _NOT_BASE64))
        else:
            soft = piece.count(b"=\r\n")
            total += len(piece) - 3 * soft - 2 * (piece.count(b"=") - soft)
        at = cut
    return total + digits * 3 // 4
