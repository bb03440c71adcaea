"""What a check of the installation found. Knows nothing of the checks."""

from __future__ import annotations

import enum

import msgspec


class State(enum.StrEnum):
    """How bad it is; a warning does not fail the command."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


class Finding(msgspec.Struct, frozen=True):
    """`detail`: what was seen; `fix`: what to do, empty where nothing is to be done."""

    name: str
    ok: bool
    status: State
    detail: str
    fix: str

    @classmethod
    def of(cls, name: str, status: State, detail: str, fix: str = "") -> Finding:
        return cls(name, status is not State.ERROR, status, detail, fix)


class Report(msgspec.Struct, frozen=True):
    """All findings; `ok`: none is an error."""

    ok: bool
    checks: tuple[Finding, ...]
