"""How many tests an owner may run: a sliding minute, kept in a small file of the data directory.

Promises that the bound holds over all processes of this machine. A test that was refused by the
address guard made no connection and is not counted. Knows nothing of tests.
"""

from __future__ import annotations

import fcntl
import os

from waypost.core.errors import WrongState
from waypost.desk.office import Desk

OPERATOR_TESTS = 120  # a minute
ACCOUNT_TESTS = 30  # a minute
_MINUTE_MS = 60_000
_LINES_MOST = 1_000


class TooManyTests(WrongState):
    """Too many connection tests in a minute; `retry_after_s` is when the next may be run."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"too many connection tests: try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


def count(desk: Desk, owner: int | None) -> None:
    """Counts one test of this owner, or raises `TooManyTests`."""
    most = OPERATOR_TESTS if owner is None else ACCOUNT_TESTS
    path = desk.data / f"tests.{owner or 0}"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        now = desk.clock.wall_ms()
        words = os.read(descriptor, _LINES_MOST * 20).split()
        # A clock that was set back must not shut the door for longer than a minute.
        recent = [int(w) for w in words if w.isdigit() and now - _MINUTE_MS < int(w) <= now]
        if len(recent) >= most:
            raise TooManyTests((recent[0] + _MINUTE_MS - now) // 1000 + 1)
        recent.append(now)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, "\n".join(map(str, recent)).encode())
    finally:
        os.close(descriptor)
