"""One open look into the store, and typed rows out of it.

`Look` wraps a connection whose transaction somebody else holds. Knows nothing of what the tables
mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import apsw
import msgspec

from waypost.store.connect import trouble

Value = int | float | str | bytes | None
Row = TypeVar("Row", bound=msgspec.Struct)


class Look:
    """A connection inside a transaction; all errors of SQLite come out as `StoreAway`."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    @property
    def connection(self) -> apsw.Connection:
        """For other parts of the store that work inside the same transaction."""
        return self._connection

    def run(self, sql: str, values: Sequence[Value] = ()) -> int:
        """Runs one statement; how many rows it changed."""
        try:
            for _ in self._connection.execute(sql, values):
                pass
        except apsw.Error as error:
            raise trouble(error) from error
        return self._connection.changes()

    def add(self, sql: str, values: Sequence[Value] = ()) -> int:
        """Runs one INSERT; the id of the new row."""
        self.run(sql, values)
        return self._connection.last_insert_rowid()

    def tuples(self, sql: str, values: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        """All rows of a question that has a limit."""
        try:
            return list(self._connection.execute(sql, values))
        except apsw.Error as error:
            raise trouble(error) from error

    def walk(self, sql: str, values: Sequence[Value] = ()) -> Iterator[tuple[Any, ...]]:
        """The rows one by one, for questions that have no limit."""
        try:
            yield from self._connection.execute(sql, values)
        except apsw.Error as error:
            raise trouble(error) from error

    def value(self, sql: str, values: Sequence[Value] = ()) -> Any:
        """The first column of the first row, or None."""
        found = self.tuples(sql, values)
        return found[0][0] if found else None

    def rows(self, kind: type[Row], sql: str, values: Sequence[Value] = ()) -> list[Row]:
        """The rows as structs; columns stand in the order of the struct's fields."""
        truths = [i for i, f in enumerate(msgspec.structs.fields(kind)) if f.type is bool]
        made = []
        for row in self.tuples(sql, values):
            cells = list(row)
            for i in truths:  # SQLite has no booleans
                cells[i] = bool(cells[i])
            made.append(kind(*cells))
        return made

    def row(self, kind: type[Row], sql: str, values: Sequence[Value] = ()) -> Row | None:
        """The first row as a struct, or None."""
        found = self.rows(kind, sql, values)
        return found[0] if found else None
