"""How things are printed: one JSON value, or aligned plain text for people.

Promises that nothing an outsider wrote (a subject, an upstream's words) reaches a terminal as a
control character, and that a table fits the terminal it is printed on. Does not know what it
prints.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

COLUMNS = 80  # where no terminal says otherwise
LAST_COLUMN_MIN = 12
GAP = "  "
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.\d+)?Z")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


def json(value: object) -> None:
    """One JSON value and a line end on standard output."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")


def warn(text: str) -> None:
    """One line on standard error."""
    sys.stderr.write(f"warning: {plain(text)}\n")


def note(text: str) -> None:
    """One line for people on standard error, which is not part of the answer."""
    sys.stderr.write(plain(text) + "\n")


def line(text: str = "") -> None:
    """One line for people on standard output, an empty one too."""
    sys.stdout.write((plain(text) if text else "") + "\n")


def plain(value: object) -> str:
    """A value as people read it, on one line and without control characters."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(plain(item) for item in value) or "-"
    return _UNPRINTABLE.sub("?", _TIME.sub(r"\1 \2", str(value)))


def facts(value: object, *, leave_out: Iterable[str] = ()) -> None:
    """A thing: a line a fact, aligned. Lists of things are left to `table`."""
    pairs = {
        name: content
        for name, content in built(value).items()
        if name not in set(leave_out) and not _things(content)
    }
    width = max((len(label(name)) for name in pairs), default=0)
    for name, content in pairs.items():
        sys.stdout.write(f"{label(name):<{width}}{GAP}{plain(content)}\n")


def table(things: Sequence[object], columns: Mapping[str, str], empty: str) -> None:
    """A line a thing; `columns` are heading and field. The last column takes what room is left."""
    if not things:
        line(empty)
        return
    rows = [[plain(built(thing).get(field)) for field in columns.values()] for thing in things]
    heads = list(columns)
    widths = [max(len(row[i]) for row in (heads, *rows)) for i in range(len(heads))]
    room = _width() - sum(widths[:-1]) - len(GAP) * (len(widths) - 1)
    widths[-1] = min(widths[-1], max(room, LAST_COLUMN_MIN))
    numbers = [
        all(row[i].lstrip("+-").isdigit() or row[i] == "-" for row in rows)
        for i in range(len(heads))
    ]
    for row in (heads, *rows):
        cells = [
            _cut(cell, width).rjust(width) if number else _cut(cell, width).ljust(width)
            for cell, width, number in zip(row, widths, numbers, strict=True)
        ]
        sys.stdout.write(GAP.join(cells).rstrip() + "\n")


def built(value: object) -> dict[str, Any]:
    """The fields of a thing under the names that JSON gives them."""
    made: dict[str, Any] = value if isinstance(value, dict) else msgspec.to_builtins(value)
    return made


def label(name: str) -> str:
    """`createdAt` as "created at"."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda found: " " + found[1].lower(), name)


def _things(content: object) -> bool:
    return isinstance(content, dict) or (
        isinstance(content, list | tuple) and any(isinstance(item, dict) for item in content)
    )


def _width() -> int:
    """Of the terminal; whoever reads a pipe gets every character."""
    return shutil.get_terminal_size((COLUMNS, 24)).columns if sys.stdout.isatty() else 10_000


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
