"""A finding: what was seen of one subject, why it matters, and the record to publish.

A proposed record is the whole record that should stand at its name: it takes the place of every
record of the same purpose there. Knows nothing of how it was found.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable

import msgspec

SHOWN = 400  # characters of a record that are shown


class Grade(enum.StrEnum):
    """How bad; what could not be checked is a warning that says so."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


_RANK = (Grade.OK, Grade.WARNING, Grade.ERROR)


class Publish(msgspec.Struct, frozen=True):
    """A record, exactly: what is entered at the DNS provider. `value` of a TXT is without quotes
    and not cut in strings of 255 octets."""

    name: str
    type: str
    value: str


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """`unknown`: it could not be checked; nothing is known to be wrong."""

    check: str
    status: Grade
    found: str
    why: str
    publish: Publish | None = None
    unknown: bool = False


class Notes:
    """Gathers what is wrong with one subject; the worst of it is the finding's status."""

    def __init__(self) -> None:
        self._lines: list[tuple[Grade, str]] = []
        self.faulty = False  # something is known to be wrong

    def error(self, text: str) -> None:
        self.faulty = True
        self._lines.append((Grade.ERROR, text))

    def warning(self, text: str) -> None:
        self.faulty = True
        self._lines.append((Grade.WARNING, text))

    def unknown(self, text: str) -> None:
        """A warning that something could not be checked."""
        self._lines.append((Grade.WARNING, f"could not be checked: {text}"))

    def good(self, text: str) -> None:
        self._lines.append((Grade.OK, text))

    @property
    def status(self) -> Grade:
        return worst(grade for grade, _ in self._lines)

    @property
    def text(self) -> str:
        """The worst first."""
        ordered = sorted(self._lines, key=lambda line: -_RANK.index(line[0]))
        return "; ".join(dict.fromkeys(text for _, text in ordered))

    def finding(self, check: str, found: str, why: str, publish: Publish | None = None) -> Finding:
        told = "; ".join(part for part in (found, self.text) if part)
        unknown = self.status is not Grade.OK and not self.faulty
        return Finding(
            check=check,
            status=self.status,
            found=told,
            why=why,
            publish=publish,
            unknown=unknown,
        )


def worst(grades: Iterable[Grade]) -> Grade:
    return max(grades, key=_RANK.index, default=Grade.OK)


def worse(new: Grade, old: Grade) -> bool:
    return _RANK.index(new) > _RANK.index(old)


def could_not(check: str, text: str, why: str) -> Finding:
    """The finding of a question without an answer."""
    return Finding(
        check=check,
        status=Grade.WARNING,
        found=f"could not be checked: {text}",
        why=why,
        unknown=True,
    )


def shown(record: str) -> str:
    """A record as text for people: printable, and not endless."""
    plain = "".join(c if c.isprintable() and c.isascii() else "?" for c in record[:SHOWN])
    return plain + ("…" if len(record) > SHOWN else "")
