"""The arguments of EHLO, MAIL and RCPT (RFC 5321 4.1.2), read by a grammar of our own.

Each reader gives its event, or the line that refuses it. An address is parsed here, once. Knows
nothing of the session's state.
"""

from __future__ import annotations

import re

from waypost.core.address import ADDRESS_OCTETS, Address, parse
from waypost.core.errors import AddressError, NonAsciiLocalPart
from waypost.core.reply import printable
from waypost.wire.events import Mail, Rcpt

NAME_OCTETS = 255  # RFC 5321 4.5.3.1.2
SIZE_DIGITS = 20  # RFC 1870 4

_PATH = r': *<((?:[^"<>]++|"(?:[^"\\]|\\.)*+")*+)>(?: +(.*))?'
_BAD_PATH = r": *<[^>]*>(?: .*)?"
_FROM = re.compile("(?i:FROM)" + _PATH)
_TO = re.compile("(?i:TO)" + _PATH)
_BAD_FROM = re.compile("(?i:FROM)" + _BAD_PATH)
_BAD_TO = re.compile("(?i:TO)" + _BAD_PATH)
_UNSAFE_IN_NAME = re.compile(r"[^A-Za-z0-9.:_\[\]-]")
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})+")  # RFC 3461 4

_MAIL_SYNTAX = "501 5.5.2 Syntax: MAIL FROM:<address>"
_RCPT_SYNTAX = "501 5.5.2 Syntax: RCPT TO:<address>"
_UNREADABLE = "550 5.1.3 The address cannot be read"
_NOT_ASCII = "550 5.6.7 The local part of the address is not ASCII, and SMTPUTF8 is not offered"
_ROUTE = "550 5.1.3 Source routes are not taken, give the address alone"
_UNKNOWN = "555 5.5.4 Parameter not recognized"
_BAD_SIZE = "501 5.5.4 SIZE wants a number of octets, given once"
_BAD_BODY = "501 5.5.4 BODY is 7BIT or 8BITMIME, given once"
_BAD_AUTH = "501 5.5.4 AUTH= wants one mailbox as xtext, or <>"


def read_name(argument: str) -> str | None:
    """The name of EHLO or HELO made harmless (odd characters become `?`), or None: none."""
    words = argument.split(None, 1)
    return _UNSAFE_IN_NAME.sub("?", words[0])[:NAME_OCTETS] if words else None


def read_mail(argument: str, message_octets: int) -> Mail | str:
    """What stands behind `MAIL `; a declared size beyond `message_octets` is refused."""
    found = _FROM.fullmatch(argument)
    if found is None:
        return _UNREADABLE if _BAD_FROM.fullmatch(argument) else _MAIL_SYNTAX
    rest = found[2]
    if rest and not rest.isascii():
        return _MAIL_SYNTAX
    address = _address(found[1])
    if isinstance(address, str):
        return address
    return _parameters(address, rest, message_octets) if rest else Mail(address, None, False)


def read_rcpt(argument: str) -> Rcpt | str:
    """What stands behind `RCPT `; no parameter is offered."""
    found = _TO.fullmatch(argument)
    if found is None:
        return _UNREADABLE if _BAD_TO.fullmatch(argument) else _RCPT_SYNTAX
    rest = found[2]
    if rest and not rest.isascii():
        return _RCPT_SYNTAX
    address = _address(found[1])
    if address is None:
        return _UNREADABLE
    if isinstance(address, str):
        return address
    return _UNKNOWN if rest else Rcpt(address)


def named(argument: str) -> str:
    """What the path of a refused MAIL or RCPT names, as a log may show it."""
    path = argument.partition("<")[2] or argument.partition(":")[2]
    shown = path.partition(">")[0].encode("ascii", "backslashreplace").decode()
    return printable(shown, ADDRESS_OCTETS)


def _address(text: str) -> Address | str | None:
    """What stands between the angle brackets: None for nothing, or the line that refuses it."""
    if not text:
        return None
    if text[0] == "@":
        return _ROUTE
    try:
        return parse(text)
    except NonAsciiLocalPart:
        return _NOT_ASCII
    except AddressError:
        return _UNREADABLE


def _parameters(address: Address | None, rest: str, message_octets: int) -> Mail | str:
    size: int | None = None
    body = ""
    auth = False
    for word in rest.split():
        name, _, value = word.partition("=")
        match name.upper():
            case "SIZE":
                if size is not None or not value.isdigit() or len(value) > SIZE_DIGITS:
                    return _BAD_SIZE
                size = int(value)
            case "BODY":
                if body or value.upper() not in ("7BIT", "8BITMIME"):
                    return _BAD_BODY
                body = value.upper()
            case "AUTH":  # RFC 4954 5: read and ignored, the key is the only identity here
                if auth or not (value == "<>" or _XTEXT.fullmatch(value)):
                    return _BAD_AUTH
                auth = True
            case _:
                return _UNKNOWN
    if size is not None and size > message_octets:
        return f"552 5.3.4 A message may have {message_octets} octets"
    return Mail(address, size, body == "8BITMIME")
