"""Encoded words (RFC 2047): read for checks, lengths and the log, written for a display name that
is cut.

Promises to read anything in linear time, to raise nothing, and to look up no charset name that is
not on its list (Python remembers every name it is asked for). Knows nothing of fields or addresses.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import re

_WORD = re.compile(r"=\?([^\s?]{1,80})\?([BbQq])\?([^\s?]*+)\?=")
_BETWEEN = re.compile(r"[ \t]+")
_HEX = re.compile(rb"=([0-9A-Fa-f]{2})")
_CHARSET = re.compile(
    r"utf-?(?:7|8|16|16le|16be|32)|(?:us-)?ascii|iso-?8859-?\d{1,2}|latin-?\d|windows-?12[0-9]{2}"
    r"|cp(?:437|850|852|866|874|93[26]|949|950|12[0-9]{2})|koi8-[rut]|gb(?:2312|k|18030)"
    r"|big5(?:-hkscs)?|euc-(?:jp|kr)|shift[_-]jis|iso-2022-(?:jp|kr)|tis-620|ks_c_5601-1987"
)
_UNORDERED = re.compile(r"utf-?(?:16|32)")
_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
_WORD_OCTETS = 45  # 60 of base64, so that a word with its frame stays below 75 (RFC 2047 2)


def decode(text: str) -> str:
    """The text with its encoded words read; what cannot be read stays, or shows U+FFFD."""
    if "=?" not in text:
        return text
    out: list[str] = []
    run: list[bytes] = []  # octets of neighbouring words: some programs cut inside a character
    charset = ""
    end = 0
    for found in _WORD.finditer(text):
        gap = text[end : found.start()]
        name = found[1].partition("*")[0].lower()  # RFC 2231 5: charset*language
        if not (run and name == charset and _BETWEEN.fullmatch(gap)):
            out.append(_read(b"".join(run), charset))
            if not (run and _BETWEEN.fullmatch(gap)):
                out.append(gap)
            run, charset = [], name
        run.append(_octets(found[2], found[3]))
        end = found.end()
    out.append(_read(b"".join(run), charset))
    out.append(text[end:])
    return "".join(out)


def _read(octets: bytes, charset: str) -> str:
    """As `decoded`. Where nothing tells the order of wide characters readers differ, and one would
    show an address where another does not: so their NULs are shown."""
    unordered = _UNORDERED.fullmatch(charset) and not octets.startswith(_MARKS)
    return decoded(octets, "latin-1" if unordered else charset)


def encode(text: str) -> str:
    """The text as encoded words in UTF-8, joined by folds."""
    words: list[str] = []
    piece = b""
    for character in text:
        octets = character.encode("utf-8", "replace")
        if len(piece) + len(octets) > _WORD_OCTETS:
            words.append(_word(piece))
            piece = b""
        piece += octets
    words.append(_word(piece))
    return "\r\n ".join(words)


def _word(octets: bytes) -> str:
    return f"=?utf-8?B?{base64.b64encode(octets).decode()}?="


def _octets(encoding: str, text: str) -> bytes:
    raw = text.encode("utf-8", "surrogateescape")
    if encoding in "Qq":
        return _HEX.sub(lambda m: bytes.fromhex(m[1].decode()), raw.replace(b"_", b" "))
    try:
        return base64.b64decode(raw + b"=" * (-len(raw) % 4))
    except binascii.Error:
        return raw


def decoded(octets: bytes, charset: str) -> str:
    """The text of octets in that charset; one that is not on the list is read as Latin-1."""
    known = _CHARSET.fullmatch(charset)
    if not known:
        return octets.decode("latin-1")
    try:
        return octets.decode(charset, "replace")
    except (LookupError, UnicodeError):
        return octets.decode("latin-1")
