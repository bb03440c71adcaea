"""What people type to search the log: `to:a@example.net status:failed after:2d`, read and written;
and the log of refusals: `from:shop@example.com code:451`.

A word without a name is what it looks like: an address, an id, a code. Values with blanks stand in
double quotes. Knows nothing of the store.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Self, TypeVar

import msgspec

from waypost.core import ident
from waypost.core.errors import UsageError
from waypost.core.lifecycle import Status

TEXT_CHARACTERS = 1_000
_TERM = re.compile(r'\s*(?:([A-Za-z]+):)?(?:"([^"]*)"|([^\s"]+))(?=\s|$)')
_CODE = re.compile(r"\d{3}|\d\.\d{1,3}\.\d{1,3}|[A-Za-z]+(?:_[A-Za-z]+)*")
_AGO = re.compile(r"(\d{1,5})\s*([smhdw])")
_UNIT_MS = MappingProxyType(
    {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
)


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """What was searched for; empty is any. All that is said must hold. In the order of the text."""

    @property
    def said(self) -> dict[str, str]:
        """What is not empty, by the names that people write."""
        return {name: value for name, value in msgspec.to_builtins(self).items() if value}

    def text(self) -> str:
        """As it would be typed."""
        return " ".join(f"{name}:{_quoted(value)}" for name, value in self.said.items())

    def but(self, **changed: str) -> Self:
        """The same with some changed."""
        return msgspec.structs.replace(self, **changed)


class Terms(Written, frozen=True, kw_only=True):
    """Of messages."""

    to: str = ""
    sender: str = msgspec.field(default="", name="from")
    status: str = ""
    key: str = ""
    upstream: str = ""
    after: str = ""
    before: str = ""
    id: str = ""

    def refusals(self) -> RefusalTerms:
        """What of it can be asked of refusals too."""
        shared = {"to": self.to, "key": self.key, "after": self.after, "before": self.before}
        return RefusalTerms(sender=self.sender, **shared)


class RefusalTerms(Written, frozen=True, kw_only=True):
    """Of refusals. `code`: an SMTP or HTTP code, an enhanced one, or the word of a reason."""

    to: str = ""
    sender: str = msgspec.field(default="", name="from")
    key: str = ""
    peer: str = ""
    code: str = ""
    after: str = ""
    before: str = ""

    def messages(self) -> Terms:
        """What of it can be asked of messages too."""
        shared = {"to": self.to, "key": self.key, "after": self.after, "before": self.before}
        return Terms(sender=self.sender, **shared)


W = TypeVar("W", bound=Written)


def read(text: str) -> Terms:
    """The terms of a text. Raises `UsageError` (field `q`)."""
    terms = _read(text, Terms, _guessed)
    if terms.status and terms.status not in set(Status):
        raise UsageError(f"a status is one of {', '.join(Status)}", "q")
    if terms.id and ident.read(terms.id) is None:
        raise UsageError("an id of a message is 16 lower-case hex digits", "q")
    return terms


def read_refusals(text: str) -> RefusalTerms:
    """The same for refusals."""
    return _read(text, RefusalTerms, _guessed_of_refusals)


def names(kind: type[Written]) -> tuple[str, ...]:
    """The names that people write."""
    return tuple(field.encode_name for field in msgspec.structs.fields(kind))


def _read(text: str, kind: type[W], guessed: Callable[[str], str]) -> W:
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
            name = guessed(value)
        if name not in names(kind):
            raise UsageError(f"there is no “{name}:”: use {_list(kind)}", "q")
        if name in found:
            raise UsageError(f"“{name}:” is said twice", "q")
        found[name] = value
    return msgspec.convert(found, kind)


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
    raise UsageError(f"search for an address, an id, or with {_list(Terms)}", "q")


def _guessed_of_refusals(word: str) -> str:
    if "@" in word:
        return "from"
    if _CODE.fullmatch(word) is not None:
        return "code"
    raise UsageError(f"search for an address, a code, or with {_list(RefusalTerms)}", "q")


def _list(kind: type[Written]) -> str:
    return ", ".join(f"{name}:" for name in names(kind))


def _quoted(value: str) -> str:
    return f'"{value}"' if not value or re.search(r"\s", value) else value
