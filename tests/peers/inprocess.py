"""A command of Waypost in this process: what stories set up and look at, without the third of a
second of processor time that each process of its own takes.

Only commands that read and write the store and wait for nobody. What is a process's own (the
standard streams, the variables, the folder) is set for the time of the command, by one at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import structlog

from waypost.cli.main import main

SUITED = frozenset({"account", "key", "credits", "sender", "log", "audit", "queue"})
_LOCK = threading.Lock()


def suits(arguments: Sequence[str], data: Path) -> bool:
    """Whether a command may run here: not as another user, not inside a running loop."""
    if not arguments or arguments[0] not in SUITED or {"tail", "refusals"} & set(arguments):
        return False
    if data.exists() and data.stat().st_uid != os.geteuid():
        return False
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return True
    return False


def call(
    arguments: Sequence[str], given: str, variables: Mapping[str, str], folder: Path
) -> tuple[int, str, str]:
    """(exit code, standard output, standard error)."""
    told, complained = io.StringIO(), io.StringIO()
    with (
        _LOCK,
        contextlib.chdir(folder),
        _variables(variables),
        _input(given),
        contextlib.redirect_stdout(told),
        contextlib.redirect_stderr(complained),
    ):
        try:
            code = main(list(arguments))
        finally:
            structlog.reset_defaults()
    return code, told.getvalue(), complained.getvalue()


@contextlib.contextmanager
def _variables(variables: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def _input(given: str) -> Iterator[None]:
    before = sys.stdin
    sys.stdin = io.TextIOWrapper(io.BytesIO(given.encode()))
    try:
        yield
    finally:
        sys.stdin = before
