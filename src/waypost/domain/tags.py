"""Tag lists (RFC 6376 3.2), as DKIM, DMARC, MTA-STS and TLS-RPT write them. Pure.

Knows nothing of what the tags mean.
"""

from __future__ import annotations

import re

import msgspec

PLAIN = re.compile(r"[ -~]{1,2000}")  # a value that may be proposed to be published
TAGS = 200  # of one list; more is nobody's record
_TAG = re.compile(r"[ \t\r\n]*([A-Za-z][A-Za-z0-9_]*)[ \t\r\n]*=(.*)", re.DOTALL)


class Tags(msgspec.Struct, frozen=True):
    """Names in lower case, the first of each, in order; values without blanks around them.
    `problem`: what makes the whole list unreadable, in words."""

    values: dict[str, str]
    problem: str = ""

    def get(self, name: str, default: str = "") -> str:
        return self.values.get(name, default)


def parse(text: str) -> Tags:
    """The tags of a list that ends in ";" or does not."""
    values: dict[str, str] = {}
    problem = ""
    parts = text.split(";", TAGS + 1)
    if len(parts) > TAGS:
        return Tags({}, "it has too many tags")
    for part in parts:
        if not part.strip(" \t\r\n"):
            continue  # an empty part is a slip that every reader bears
        found = _TAG.fullmatch(part)
        if found is None:
            problem = problem or f"{part.strip()[:60]!r} is not name=value"
            continue
        name = found[1].lower()
        if name in values:
            problem = problem or f"{name}= stands twice"
            continue
        values[name] = found[2].strip(" \t\r\n")
    return Tags(values, problem)
