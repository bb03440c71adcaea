"""What stands and is told of once: credits, disk and certificate that run low.

Promises one event when a thing begins and, of the disk, one when it is over; what was told is kept
in the store, so that a restart tells nothing twice. Knows nothing of alerts.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

from cryptography import x509

from waypost.clock import Clock
from waypost.core.event import Event, Kind
from waypost.store.keep.outbox import Low, Outbox

CHECK_S = 30.0
MIB = 1 << 20
DISK_LOW_BYTES = 2 << 30  # twice what mail is refused at: somebody has time to act
DISK_LOW_PART = 10
CERTIFICATE_DAYS = (14, 3, 0)
DAY_MS = 86_400_000

Change = tuple[str, str, Event | None]


class Standing:
    """Ask `step` now and then, from one worker. `credits`: at so many or fewer they are low."""

    def __init__(
        self,
        data: Path,
        certificate: Path,
        free: Callable[[], tuple[int, int]],
        credits: int,
        clock: Clock,
    ) -> None:
        self._outbox = Outbox(data)
        self._certificate = certificate
        self._free = free
        self._credits = credits
        self._clock = clock
        self._not_before_s = 0.0

    def obey(self, credits: int) -> None:
        """Another bound from the next look on."""
        self._credits = credits

    async def step(self) -> int:
        """Looks, and commits what is new of it; always 0: there is no more to do at once. Raises
        `StoreAway`.
        """
        if self._clock.monotonic() >= self._not_before_s:
            self._not_before_s = self._clock.monotonic() + CHECK_S
            await asyncio.to_thread(self._look)
        return 0

    def _look(self) -> None:
        now_ms = self._clock.wall_ms()
        accounts, marks = self._outbox.low(self._credits)
        changes = credits_low(accounts, marks, now_ms)
        with contextlib.suppress(OSError):  # mail is refused then, and the log says so
            changes += disk_low(*self._free(), marks, now_ms)
        try:
            read = x509.load_pem_x509_certificate(self._certificate.read_bytes())
        except (OSError, ValueError):
            pass  # the listeners say what is wrong with it
        else:
            end_ms = int(read.not_valid_after_utc.timestamp() * 1000)
            changes += certificate_ending(end_ms, marks, now_ms)
        if changes:
            self._outbox.mark(changes)


def credits_low(accounts: list[Low], marks: dict[str, str], now_ms: int) -> list[Change]:
    """Of accounts that ran low since they were looked at, and of marks that are over."""
    changes: list[Change] = []
    low = {f"credits:{account.id}" for account in accounts}
    for account in accounts:
        if account.enabled and f"credits:{account.id}" not in marks:
            text = f"account {account.name} has {account.balance} credits left"
            event = Event(now_ms, Kind.CREDITS_LOW, text, account_id=account.id)
            changes.append((f"credits:{account.id}", text, event))
    over = [name for name in marks if name.startswith("credits:") and name not in low]
    return changes + [(name, "", None) for name in over]


def disk_low(free: int, total: int, marks: dict[str, str], now_ms: int) -> list[Change]:
    """Of a disk that has little room left, or enough again."""
    bound = min(DISK_LOW_BYTES, total // DISK_LOW_PART)
    if free < bound and "disk" not in marks:
        text = f"{free // MIB} MiB are free on the disk of the data directory: make room"
        return [("disk", text, Event(now_ms, Kind.DISK_LOW, text))]
    if free >= bound + bound // 10 and "disk" in marks:
        text = f"{free // MIB} MiB are free on the disk of the data directory again"
        return [("disk", "", Event(now_ms, Kind.DISK_RECOVERED, text))]
    return []


def certificate_ending(end_ms: int, marks: dict[str, str], now_ms: int) -> list[Change]:
    """Of a certificate near its end: once 14 days before, once 3, and once when it has ended."""
    days = (end_ms - now_ms) // DAY_MS
    stage = next((bound for bound in reversed(CERTIFICATE_DAYS) if days < bound), None)
    if stage is None:
        return [("certificate", "", None)] if "certificate" in marks else []
    words = f"{end_ms}:{stage}"
    if marks.get("certificate") == words:
        return []
    text = f"the certificate of the listeners ends in {days} days: renew it"
    if days < 0:
        text = "the certificate of the listeners has ended: renew it"
    return [("certificate", words, Event(now_ms, Kind.CERTIFICATE_ENDING, text))]
