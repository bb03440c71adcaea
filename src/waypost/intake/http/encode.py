"""How text and octets are written for mail: header fields, parameters, bodies.

Promises lines of at most 76 octets where the text allows it and never over 998, ASCII alone, and no
line end that was not meant (its callers refuse control characters before). Knows nothing of
messages and of what a field means.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from urllib.parse import quote

LINE_OCTETS = 76  # RFC 2047 2, RFC 2045 6.7
PLAIN_LINE_OCTETS = 998  # RFC 5322 2.1.1
TOKEN_OCTETS = 900  # a longer word, or gap, is written as encoded words, which can be cut
PARAMETER_OCTETS = 60  # of a parameter's value in one line (RFC 2231 3)
QUOTED_NAME_OCTETS = 60
BASE64_FROM_OCTETS = 1_048_576  # larger texts are not worth being readable
ODD_PART = 6  # one octet in six that is not ASCII: quoted-printable is then the longer one
SLAB_OCTETS = 57 * 2048  # lines of base64 made at once

_FOLD = re.compile(r" +(?=[^ ])")
_PIECE = re.compile(r" *[^ ]+")  # what folding leaves whole
_ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_LINE_END = re.compile(rb"\r\n|\r|\n")
_PLAIN = bytes([9, 10, 13, *range(32, 127)])
_NOT_EXTENDED = re.compile(r"[^ !#-:<-\[\]-~]")  # some readers end a quoted value at its ;


def text_field(name: str, text: str) -> str:
    """An unstructured field (RFC 5322 2.2.1) with its CR LF, folded; encoded words where needed."""
    if _as_it_is(text):
        return _folded(f"{name}: {text}")
    return f"{name}: {encoded_words(text, len(name) + 2)}\r\n"


def address_field(name: str, mailboxes: list[tuple[str, str]]) -> str:
    """An address field of (display name, address) pairs, one a line."""
    shown = []
    for display, address in mailboxes:
        if not display:
            shown.append(address)
            continue
        phrase = _phrase(display, len(name) + 2)
        last = len(phrase) - phrase.rfind("\n")
        join = " " if last + len(address) + 4 <= LINE_OCTETS else "\r\n "
        shown.append(f"{phrase}{join}<{address}>")
    return f"{name}: " + ",\r\n ".join(shown) + "\r\n"


def encoded_words(text: str, used: int) -> str:
    """Encoded words in UTF-8 (RFC 2047), joined by folds; `used` octets stand before the first."""
    words: list[str] = []
    piece = b""
    room = _room(used)
    for character in text:
        octets = character.encode("utf-8", "replace")
        if piece and len(piece) + len(octets) > room:
            words.append(_word(piece))
            piece, room = b"", _room(1)
        piece += octets
    words.append(_word(piece))
    return "\r\n ".join(words)


def parameter(name: str, value: str) -> str:
    """A parameter of a MIME field with the fold before it; RFC 2231 where the value needs it."""
    plain = value.isascii() and not _NOT_EXTENDED.search(value)
    if plain and len(value) <= PARAMETER_OCTETS:
        return f';\r\n {name}="{value}"'
    escaped = quote(value, safe="", encoding="utf-8", errors="replace")
    if len(escaped) <= PARAMETER_OCTETS:
        return f";\r\n {name}*=utf-8''{escaped}"
    # A character stays in one piece: some readers decode each of them alone.
    pieces = [""]
    for character in value:
        octets = quote(character, safe="", encoding="utf-8", errors="replace")
        if len(pieces[-1]) + len(octets) > PARAMETER_OCTETS:
            pieces.append("")
        pieces[-1] += octets
    first = "utf-8''"
    return "".join(
        f";\r\n {name}*{number}*={first if number == 0 else ''}{piece}"
        for number, piece in enumerate(pieces)
    )


def text_body(text: str) -> tuple[str, list[bytes]]:
    """(Content-Transfer-Encoding, octets) of a text in UTF-8, line ends CR LF.

    What is read back equals the text with CR LF for every line end; a last line that has none may
    gain one.
    """
    octets = _LINE_END.sub(b"\r\n", text.encode("utf-8", "replace"))
    if len(octets) > BASE64_FROM_OCTETS:
        return "base64", list(base64_lines(octets))
    odd = len(octets.translate(None, _PLAIN))
    if not odd and max(map(len, octets.split(b"\r\n"))) <= PLAIN_LINE_OCTETS:
        return "7bit", [octets if octets.endswith(b"\r\n") else octets + b"\r\n"]
    if odd * ODD_PART > len(octets):
        return "base64", list(base64_lines(octets))
    written = binascii.b2a_qp(octets, istext=True)
    written = _LINE_END.sub(b"\r\n", written)  # without a line end in the text it writes bare LFs
    return "quoted-printable", [written if written.endswith(b"\r\n") else written + b"\r\n"]


def base64_lines(octets: bytes) -> Iterator[bytes]:
    """Base64 in lines of 76 with CR LF, in slabs."""
    for start in range(0, len(octets), SLAB_OCTETS):
        slab = base64.b64encode(octets[start : start + SLAB_OCTETS])
        lines = [slab[at : at + LINE_OCTETS] for at in range(0, len(slab), LINE_OCTETS)]
        yield b"\r\n".join(lines) + b"\r\n"


def _as_it_is(text: str) -> bool:
    """Whether readers get this text back without encoded words."""
    return (
        text.isascii()
        and "=?" not in text
        and text == text.strip()
        and (len(text) <= TOKEN_OCTETS or max(map(len, _PIECE.findall(text))) <= TOKEN_OCTETS)
    )


def _folded(line: str) -> str:
    """The line cut before blanks, so that its pieces fit where they can."""
    if len(line) <= LINE_OCTETS:
        return line + "\r\n"
    out: list[str] = []
    start = last = 0
    for gap in _FOLD.finditer(line, line.index(":") + 2):
        if gap.start() - start > LINE_OCTETS and last > start:
            out.append(line[start:last])
            start = last
        last = gap.start()
    if len(line) - start > LINE_OCTETS and last > start:
        out.append(line[start:last])
        start = last
    out.append(line[start:])
    return "\r\n".join(out) + "\r\n"


def _phrase(display: str, used: int) -> str:
    if display.isascii() and "=?" not in display and len(display) <= QUOTED_NAME_OCTETS:
        if _ATOM.fullmatch(display):
            return display
        return '"' + display.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return encoded_words(display, used)


def _room(used: int) -> int:
    """How many octets one word may hold after so many in its line."""
    return max((LINE_OCTETS - used - 12) // 4 * 3, 6)


def _word(octets: bytes) -> str:
    return f"=?utf-8?B?{base64.b64encode(octets).decode()}?="
