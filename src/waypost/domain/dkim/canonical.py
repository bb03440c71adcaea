"""The canonical forms of header fields and bodies (RFC 6376 3.4). Pure, linear in what is given.

Knows nothing of signatures. Expects CR LF line ends.
"""

from __future__ import annotations

import re

_BLANKS = re.compile(rb"[ \t]+")
_SIGNATURE = re.compile(rb"((?:^|;)[ \t\r\n]*b[ \t\r\n]*=)[^;]*", re.IGNORECASE)


def field(raw: bytes, form: str) -> bytes:
    """A whole field with its last CR LF."""
    if form == "simple":
        return raw
    name, _, value = raw.partition(b":")
    plain = _BLANKS.sub(b" ", value.replace(b"\r\n", b"")).strip(b" ")
    return name.strip(b" \t").lower() + b":" + plain + b"\r\n"


def body(octets: bytes, form: str) -> bytes:
    """The body after the empty line."""
    if form == "relaxed":
        if octets and not octets.endswith(b"\r\n"):
            octets += b"\r\n"
        octets = _BLANKS.sub(b" ", octets).replace(b" \r\n", b"\r\n")
    stripped = _without_empty_lines(octets)
    if not stripped:
        return b"" if form == "relaxed" else b"\r\n"
    return stripped


def _without_empty_lines(octets: bytes) -> bytes:
    """3.4.3: empty lines at the end become none; a last line without an end gets one."""
    end = len(octets)
    while octets.endswith(b"\r\n", 0, end):
        end -= 2
    return octets[:end] + b"\r\n" if end else b""


def unsigned(raw: bytes) -> bytes:
    """A DKIM-Signature field with what stands in b= taken out (3.7)."""
    name, colon, value = raw.partition(b":")
    return name + colon + _SIGNATURE.sub(rb"\1", value, count=1)
