"""What people type to search the log: `to:a@example.net status:failed after:2d`, read and written.

A word without a name is an address (`to:`) or an id. Values with blanks stand in double quotes.
Knows nothing of the store.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from types import MappingProxyType

import msgspec

from waypost.core import ident
from waypost.core.errors import UsageError
from waypost.core.lifecycle import Status

TEXT_CHARACTERS = 1_000
_TERM = re.compile(r'\s*(?:([A-Za-z]+):)?(?:"([^"]*)"|([^\s"]+))(?=\s|$)')
_AGO = re.compile(r"(\d{1,5})\s*([smhdw])")
_UNIT_MS = MappingProxyType(
    {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
)


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What was searched for; empty is any. All that is said must hold. In the order of the text."""

    to: str = ""
    sender: str = msgspec.field(default="", name="from")
    status: str = ""
    key: str = ""
    upstream: str = ""
    after: str = ""
    before: str = ""
    id: str = ""

    @property
    def said(self) -> dict[str, str]:
        """What is not empty, by the names that people write."""
        return {name: value for name, value in msgspec.to_builtins(self).items() if value}

    def text(self) -> str:
        """As it would be typed."""
        return " ".join(f"{name}:{_quoted(value)}" for name, value in self.said.items())

    def but(self, **changed: str) -> Terms:
        """The same with some changed."""
        return msgspec.structs.replace(self, **changed)


NAMES = tuple(msgspec.to_builtins(Terms(**dict.fromkeys(Terms.__struct_fields__, "?"))))


def read(text: str) -> Terms:
    """The terms of a text. Raises `UsageError` (field `q`)."""
    text = text.strip()
    if len(text) > TEXT_CHARACTERS:
        raise UsageError(f"a search has at most {TEXT_CHARACTERS} characters", "q")
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        term = _TERM.match(text, at)
        if term is None:
            raise UsageError('a quotation mark is not closed: write it as "…"', "q")
        at = term.end()
        name, value = (term[1] or "").lower(), (term[2] if term[2] is not None else term[3])
        if not name:
            name = _guessed(value)
        if name not in NAMES:
            raise UsageError(f"there is no “{name}:”: use {_list()}", "q")
        if name in found:
            raise UsageError(f"“{name}:” is said twice", "q")
        found[name] = value
    terms = msgspec.convert(found, Terms)
    if terms.status and terms.status not in set(Status):
        raise UsageError(f"a status is one of {', '.join(Status)}", "q")
    if terms.id and ident.read(terms.id) is None:
        raise UsageError("an id of a message is 16 lower-case hex digits", "q")
    return terms


def time_ms(text: str, name: str, now_ms: int) -> int:
    """A day, a time (UTC where it says nothing else), or how long ago: `2h`, `7d`."""
    ago = _AGO.fullmatch(text)
    if ago is not None:
        return now_ms - int(ago[1]) * _UNIT_MS[ago[2]]
    try:
        found = datetime.fromisoformat(text)
        return round((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1_000)
    except (ValueError, OverflowError):
        raise UsageError(
            f"“{name}:” is a day such as 2030-01-31, a time such as 2030-01-31T08:00+01:00,"
            " or how long ago: 2h, 7d",
            "q",
        ) from None


def _guessed(word: str) -> str:
    if ident.read(word) is not None:
        return "id"
    if "@" in word:
        return "to"
    raise UsageError(f"search for an address, an id, or with {_list()}", "q")


def _list() -> str:
    return ", ".join(f"{name}:" for name in NAMES)


def _quoted(value: str) -> str:
    return f'"{value}"' if not value or re.search(r"\s", value) else value
