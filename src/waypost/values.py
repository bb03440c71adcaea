"""How one value of the configuration is read: a reader for each kind of value.

A reader takes what TOML gave and the folder that relative paths count from, and returns the value
in its type; `Wrong` says what was expected. Knows nothing of settings, their names and places.
"""

from __future__ import annotations

import base64
import contextlib
import enum
import ipaddress
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from waypost.core import address as addresses
from waypost.core.address import Address
from waypost.core.errors import AddressError, Secret

UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
DURATION_MAX_MS = 3650 * UNITS_MS["d"]
PORT_MAX = 65535
DNS_PORT = 53


class Endpoint(msgspec.Struct, frozen=True):
    """Where to listen. `host` empty: every address; IPv6 without brackets; port 0: any free."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Wrong(Exception):
    """A value does not fit; the text is what was expected."""


Read = Callable[[object, Path], Any]  # (value, folder that relative paths count from) -> value


def whole(low: int, high: int) -> Read:
    """A whole number from `low` to `high`."""

    def read(value: object, _folder: Path) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        raise Wrong(f"a whole number from {low} to {high}")

    return read


def number(low: float, high: float) -> Read:
    """A number from `low` to `high`, as a float."""

    def read(value: object, _folder: Path) -> float:
        if isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high:
            return float(value)
        raise Wrong(f"a number from {low:g} to {high:g}")

    return read


def text(pattern: str, expected: str) -> Read:
    """A text that the whole pattern fits."""

    def read(value: object, _folder: Path) -> str:
        if isinstance(value, str) and re.fullmatch(pattern, value):
            return value
        raise Wrong(expected)

    return read


def choice(kind: type[enum.StrEnum]) -> Read:
    """One of the values of an enumeration."""

    def read(value: object, _folder: Path) -> enum.StrEnum:
        if isinstance(value, str) and value in {member.value for member in kind}:
            return kind(value)
        raise Wrong(" or ".join(f'"{member.value}"' for member in kind))

    return read


def duration(low_ms: int = 0) -> Read:
    """Milliseconds of a text such as "90s"; "0" needs no unit."""
    least = f" of at least {low_ms} ms" if low_ms else ""

    def read(value: object, _folder: Path) -> int:
        found = re.fullmatch(r"(\d{1,9})(ms|[smhdw])", value) if isinstance(value, str) else None
        ms = int(found[1]) * UNITS_MS[found[2]] if found else 0 if value == "0" else -1
        if low_ms <= ms <= DURATION_MAX_MS:
            return ms
        raise Wrong(f'a time{least} such as "30s", "5m", "4h" or "3d"')

    return read


def several(read_one: Read, at_least: int = 0) -> Read:
    """A list, each item read by `read_one`."""

    def read(value: object, folder: Path) -> tuple[Any, ...]:
        if not isinstance(value, list):
            try:
                read_one("" if not isinstance(value, str | int) else value, folder)
            except Wrong as wrong:
                raise Wrong(f"a list, each {wrong}") from None
            raise Wrong(f"a list, as in [{shown(value)}]")
        if len(value) < at_least:
            raise Wrong(f"a list of at least {at_least}")
        try:
            return tuple(read_one(item, folder) for item in value)
        except Wrong as wrong:
            raise Wrong(f"a list, each {wrong}") from None

    return read


def endpoint(value: object, _folder: Path) -> Endpoint:
    """`Endpoint` of "host:port"; no host, or *, is every address."""
    found = (
        re.fullmatch(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([^\[\]:\s]*)):(\d{1,5})", value)
        if isinstance(value, str)
        else None
    )
    if found and int(found[3]) <= PORT_MAX:
        host = found[1] or found[2] or ""
        return Endpoint("" if host == "*" else host, int(found[3]))
    raise Wrong('an address such as "127.0.0.1:2587", "[::1]:2587" or ":587"')


def name_server(value: object, folder: Path) -> Endpoint:
    """`Endpoint` of an IP address, with a port or with that of DNS."""
    if isinstance(value, str):
        try:
            return Endpoint(str(ipaddress.ip_address(value.strip("[]"))), DNS_PORT)
        except ValueError:
            pass
        try:
            found = endpoint(value, folder)
            if found.port:
                return Endpoint(str(ipaddress.ip_address(found.host)), found.port)
        except (Wrong, ValueError):
            pass
    raise Wrong('the address of a name server such as "9.9.9.9", "127.0.0.1:5353" or "[::1]:53"')


def yes_or_no(value: object, _folder: Path) -> bool:
    """A truth value."""
    if isinstance(value, bool):
        return value
    raise Wrong("true or false")


def network(value: object, _folder: Path) -> str:
    """An IP network as text, whole."""
    try:
        if isinstance(value, str):
            return str(ipaddress.ip_network(value, strict=False))
    except ValueError:
        pass
    raise Wrong('an address or a network such as "10.0.0.0/8"')


def path(value: object, folder: Path) -> Path | None:
    """An absolute path, None for an empty text."""
    try:
        if isinstance(value, str) and "\0" not in value:
            value.encode()
            return Path(os.path.normpath(folder / Path(value).expanduser())) if value else None
    except (RuntimeError, UnicodeEncodeError):  # no home folder to put in the place of ~; octets
        pass
    raise Wrong("the path of a file")


def address(value: object, _folder: Path) -> Address | None:
    """An email address, None for an empty text."""
    if isinstance(value, str):
        try:
            return addresses.parse(value) if value else None
        except AddressError as error:
            raise Wrong(f"an email address ({error.public})") from None
    raise Wrong("an email address")


def web_address(value: object, _folder: Path) -> str:
    """An address of HTTP or HTTPS with a host that can be asked, or an empty text."""
    if isinstance(value, str) and (not value or re.fullmatch(r"https?://[!-~]+", value)):
        with contextlib.suppress(ValueError):  # of a port that there cannot be, a bracket left open
            found = urlsplit(value)
            if not value or (found.hostname and found.port != 0):
                return value
    raise Wrong('an address such as "https://example.com/alerts"')


def signing_secret(value: object, _folder: Path) -> Secret | None:
    """A secret of Standard Webhooks, None for an empty text: whsec_ and base64 of 24 to 64
    octets."""
    if value == "":
        return None
    if isinstance(value, str) and value.startswith("whsec_"):
        with contextlib.suppress(ValueError):
            if 24 <= len(base64.b64decode(value.removeprefix("whsec_"), validate=True)) <= 64:
                return Secret(value)
    raise Wrong("whsec_ and the base64 of 24 to 64 bytes")


def shown(value: object) -> str:
    """A wrong value as an error quotes it: one short line of printable ASCII."""
    said = f'"{value}"' if isinstance(value, str) else repr(value)
    said = re.sub(r"[^\x20-\x7e]", "?", said)
    return said if len(said) <= 60 else said[:57] + "..."
