"""What the address of a call says: its parameters, read and bounded.

Promises `UsageError` naming the parameter for whatever cannot be meant. Knows nothing of routes.
"""

from __future__ import annotations

from datetime import datetime
from urllib.parse import parse_qsl

from waypost.core.errors import UsageError

PAGE = 100  # behaviour, section 11
PAGE_MOST = 1_000
_DIGITS = 18  # of a number that a row can have

Query = dict[str, str]


def read(octets: bytes, known: frozenset[str]) -> Query:
    """The parameters; one that is not known would be a filter that does nothing."""
    query = dict(parse_qsl(octets.decode("latin-1"), keep_blank_values=True, encoding="utf-8"))
    for name in query:
        if name not in known:
            takes = f"those are {', '.join(sorted(known))}" if known else "it takes none"
            raise UsageError(f"there is no parameter of that name: {takes}", "")
    return {name: value for name, value in query.items() if value}


def limit(query: Query) -> int:
    """How many a page may hold."""
    asked = whole(query["limit"], "limit") if "limit" in query else PAGE
    if not 1 <= asked <= PAGE_MOST:
        raise UsageError(f"limit is a whole number from 1 to {PAGE_MOST}", "limit")
    return asked


def whole(text: str, field: str) -> int:
    """A whole number, from 0."""
    if not (text.isascii() and text.isdecimal() and len(text) <= _DIGITS):
        raise UsageError(f"{field} is a whole number", field)
    return int(text)


def yes(query: Query, field: str) -> bool:
    """true or false; false where it is not said."""
    if query.get(field, "false") not in ("true", "false"):
        raise UsageError(f"{field} is true or false", field)
    return query.get(field) == "true"


def time(query: Query, field: str) -> int | None:
    """Milliseconds since 1970 of an ISO 8601 time; one without an offset is UTC."""
    if field not in query:
        return None
    text = query[field].replace(" ", "+")  # a + that was not escaped
    try:
        found = datetime.fromisoformat(text if "T" in text else text + "T00:00:00+00:00")
        found = found if found.tzinfo else datetime.fromisoformat(text + "+00:00")
        return int(found.timestamp() * 1000)
    except (ValueError, OverflowError):
        raise UsageError(
            f"{field} is a time such as 2030-01-31T08:00:00+01:00, or a day", field
        ) from None
