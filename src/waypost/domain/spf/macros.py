"""Expanding macros (RFC 7208 7). Pure, but for %{p}, which is given by whoever asked DNS.

Knows nothing of records.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from urllib.parse import quote

import msgspec

from waypost.domain.spf import terms

NAME_CHARACTERS = 253  # 7.3
IP = ipaddress.IPv4Address | ipaddress.IPv6Address


class Session(msgspec.Struct, frozen=True):
    """What a receiver knows of the sender: `sender` is a whole address, `helo` a name."""

    ip: IP
    sender: str
    helo: str
    receiver: str = "unknown"  # 7.3: where the checker has no name
    now_s: int = 0


def expand(
    text: str, session: Session, domain: str, validated: Callable[[], str], *, in_exp: bool = False
) -> str:
    """The text with its macros replaced. `domain`: the one under evaluation; `validated`: %{p}."""
    made: list[str] = []
    for piece in terms.pieces(text):
        if isinstance(piece, str):
            made.append(piece)
        elif piece[1] is None:
            made.append({"%%": "%", "%_": " ", "%-": "%20"}[piece[0]])
        else:
            made.append(_macro(piece, session, domain, validated))
    whole = "".join(made)
    return whole if in_exp else fitted(whole)


def fitted(name: str) -> str:
    """7.3: labels are dropped from the left until the name fits."""
    while len(name) > NAME_CHARACTERS and "." in name:
        name = name.partition(".")[2]
    return name


def dotted(ip: IP) -> str:
    """%{i}: IPv6 as nibbles."""
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    return ".".join(ip.exploded.replace(":", "").upper())


def _macro(
    piece: re.Match[str], session: Session, domain: str, validated: Callable[[], str]
) -> str:
    letter = piece[1]
    value = _value(letter.lower(), session, domain, validated)
    delimiters = piece[4] or "."
    parts = re.split("[" + re.escape(delimiters) + "]", value)
    if piece[3]:
        parts.reverse()
    if piece[2]:
        parts = parts[-int(piece[2][:4]) :]
    value = ".".join(parts)
    return quote(value, safe="-._~", encoding="latin-1") if letter.isupper() else value


def _value(letter: str, session: Session, domain: str, validated: Callable[[], str]) -> str:
    local, _, sender_domain = session.sender.rpartition("@")
    match letter:
        case "s":
            return session.sender
        case "l":
            return local
        case "o":
            return sender_domain
        case "d":
            return domain
        case "i":
            return dotted(session.ip)
        case "p":
            return validated()
        case "v":
            return "in-addr" if session.ip.version == 4 else "ip6"
        case "h":
            return session.helo
        case "c":
            return str(session.ip)
        case "r":
            return session.receiver
        case _:
            return str(session.now_s)
