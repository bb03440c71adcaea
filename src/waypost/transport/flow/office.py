"""What couriers share, and whom they ask.

Knows nothing of how either is made.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import msgspec

from waypost.clock import Clock
from waypost.core.message import Parcel
from waypost.core.upstream import Upstream
from waypost.store.contract import RelayStore
from waypost.transport import schedule
from waypost.transport.flow.records import Records
from waypost.transport.link.connect import Dialer
from waypost.transport.trouble import Trouble


class Office(msgspec.Struct):
    """What all couriers share; a reload alone changes it."""

    store: RelayStore
    records: Records
    dialer: Dialer
    clock: Clock
    rules: schedule.QueueRules
    data: Path
    idle_s: float


class Superior(Protocol):
    """Who a courier asks and tells: of senders, and of room for more."""

    def may_go(self, parcel: Parcel, upstream_id: int) -> bool:
        """Whether the message still is for this upstream now. True: it is on the wire from now on,
        and nobody can cancel it."""

    def hold(self, parcel: Parcel, known: Trouble, upstream: Upstream) -> None:
        """The upstream does not take this sender's mail."""

    def passed(self, parcel: Parcel, upstream: Upstream) -> None:
        """The upstream took a message of this sender."""

    def hungry(self) -> None:
        """There is room for more, or something else to look at."""

    def due_at(self, due_ms: int) -> None:
        """Something is due again then."""
