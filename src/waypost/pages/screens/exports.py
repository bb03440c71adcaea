"""Lists as files: CSV for spreadsheets, NDJSON for programs.

Promises that no spreadsheet computes a cell. Knows nothing of what is listed.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from csv import QUOTE_ALL, writer

import msgspec

from waypost.desk.views import View
from waypost.pages.frame.ask import Answer

FORMULA = "=+-@\t\r\n\0＝＋－＠"
"""What a spreadsheet may take for the beginning of a formula, in full width too (OWASP)."""


def csv(kind: type[View], lines: Iterable[View], name: str) -> Answer:
    """A file of that name whose columns are the fields of `kind`."""
    out = io.StringIO(newline="")
    rows = writer(out, quoting=QUOTE_ALL, lineterminator="\r\n")
    rows.writerow(kind.__struct_fields__)
    for line in lines:
        rows.writerow(cell(value) for value in msgspec.structs.astuple(line))
    octets = out.getvalue().encode("utf-8", "replace")
    return _file(octets, "text/csv; charset=utf-8", f"{name}.csv")


def ndjson(lines: Iterable[View], name: str) -> Answer:
    """A file of that name with a JSON object a line, as the API has them."""
    body = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
    return _file(body, "application/x-ndjson", f"{name}.ndjson")


def cell(value: object) -> object:
    """A value as a cell that no spreadsheet computes; several as one."""
    if isinstance(value, tuple):
        value = ", ".join(map(str, value))
    if not isinstance(value, str):
        return value
    return f"'{value}" if value.lstrip(" \xa0")[:1] in tuple(FORMULA) else value


def _file(body: bytes, media_type: str, name: str) -> Answer:
    headers = {"Content-Disposition": f'attachment; filename="waypost-{name}"'}
    return Answer(body, media_type=media_type, headers=headers)
