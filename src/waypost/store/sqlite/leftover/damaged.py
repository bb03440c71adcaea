"""Queued messages that are damaged: what is told of them, and which are left alone for a while.

A row that the store can never write as it is would fail every batch that it is in. It is left as it
is, with an event, and looked at again after an hour; everything beside it goes on. Knows nothing of
what is wrong with a row.
"""

from __future__ import annotations

from collections.abc import Callable, Container

import msgspec

from waypost.core import ident
from waypost.core.event import Event, Kind
from waypost.store.connect import unwritable
from waypost.store.directory import Loaded
from waypost.store.sqlite.batch import Batch
from waypost.store.sqlite.ending import Keep

AGAIN_MS = 3_600_000  # before a row is tried again that could not be written


class Finding(msgspec.Struct, frozen=True):
    """What is wrong with a message; `left`: it could not even be ended."""

    message_id: int
    text: str
    left: bool


class Damaged:
    """Those that this process has found. `told` is called of each, once what is said of it was
    committed; the relay logs it."""

    def __init__(self) -> None:
        self.told: Callable[[str], None] | None = None
        self._until: dict[int, int] = {}

    def skipped(self, now_ms: int) -> Container[int]:
        """Messages that are left alone now."""
        for message_id in [i for i, until in self._until.items() if until <= now_ms]:
            del self._until[message_id]
        return self._until

    def __len__(self) -> int:
        return len(self._until)

    def found(self, findings: list[Finding], now_ms: int) -> None:
        """They are committed."""
        for finding in findings:
            if finding.left:
                self._until[finding.message_id] = now_ms + AGAIN_MS
            if self.told is not None:
                self.told(finding.text)


class Means(msgspec.Struct, frozen=True):
    """What members of batches are given that look at many messages."""

    keep: Keep
    facts: Callable[[Batch], Loaded]
    damaged: Damaged


def left_alone(batch: Batch, message_id: int, error: Exception) -> Finding:
    """This message cannot be written: an event says so, and nothing else is changed."""
    text = f"message {ident.show(message_id)} cannot be written: {unwritable(error).private}"
    batch.event(Event(batch.now_ms, Kind.MESSAGE_DAMAGED, text, message_id=message_id))
    return Finding(message_id, text, left=True)
