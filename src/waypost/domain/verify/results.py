"""Authentication-Results fields (RFC 8601 2.2). Pure, linear, and bounded.

Promises to read what receivers really write, which is not always what the RFC says. Knows nothing
of whether it may be believed.
"""

from __future__ import annotations

import re

import msgspec

VALUE_CHARACTERS = 32_768
METHODS = 50
DEPTH = 20  # of comments within comments
_RESULT = re.compile(r"([A-Za-z0-9-]++)(?:\s*+/\s*+\d++)?+\s*+=\s*+([A-Za-z]++)")
_PROPERTY = re.compile(  # possessive: a hostile field is read once, not tried over and over
    r"(?<![A-Za-z0-9_.-])([A-Za-z0-9-]++(?:\s*+\.\s*+[A-Za-z0-9_-]++)?+)\s*+=\s*+"
    r"(\"(?:[^\"\\]|\\.)*+\"|[^\s;\"]++)"
)


class Method(msgspec.Struct, frozen=True):
    """One result, such as spf=pass. `properties`: such as smtp.mailfrom, in lower case."""

    method: str
    result: str
    reason: str = ""
    properties: dict[str, str] = {}


class Stated(msgspec.Struct, frozen=True):
    """One field: who states it, and what. `said`: its comments, which hold what people read."""

    server: str
    methods: tuple[Method, ...] = ()
    said: str = ""


def parse(value: str) -> Stated:
    """A field's value, unfolded."""
    plain, said = _without_comments(value[:VALUE_CHARACTERS])
    parts = _split(plain)
    server = (parts[0].split() or [""])[0]
    if "=" in server:  # a receiver that leaves its name out
        server, parts = "", ["", *parts]
    methods = []
    for part in parts[1 : METHODS + 1]:
        found = _RESULT.match(part.strip())
        if found is None:
            continue
        rest = part.strip()[found.end() :]
        properties = {
            re.sub(r"\s", "", name).lower(): _plain(text)
            for name, text in _PROPERTY.findall(rest[:4_096])
        }
        reason = properties.pop("reason", "")
        methods.append(Method(found[1].lower(), found[2].lower(), reason, properties))
    return Stated(server, tuple(methods), said)


def _without_comments(value: str) -> tuple[str, str]:
    """The value with a blank for each comment, and the comments."""
    kept: list[str] = []
    said: list[str] = []
    depth = 0
    quoted = False
    escaped = False
    for character in value:
        if escaped:
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == '"' and not depth:
            quoted = not quoted
        elif character == "(" and not quoted:
            depth = min(depth + 1, DEPTH)
            if depth == 1:
                kept.append(" ")
                said.append(" ")
                continue
        elif character == ")" and not quoted and depth:
            depth -= 1
            continue
        (said if depth else kept).append(character)
    return "".join(kept), " ".join("".join(said).split())


def _split(plain: str) -> list[str]:
    """At semicolons outside of quotes."""
    quoted = False
    pieces: list[list[str]] = [[]]
    for character in plain:
        if character == '"':
            quoted = not quoted
        if character == ";" and not quoted:
            pieces.append([])
        else:
            pieces[-1].append(character)
    return ["".join(piece) for piece in pieces]


def _plain(text: str) -> str:
    if text.startswith('"'):
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    return text
