"""A store in memory for tests of delivery, and a clock that only moves when told.

Promises what store/contract.py does, as far as delivery uses it. Knows nothing of credits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import msgspec

from peers import settings
from waypost.core.address import Address, parse
from waypost.core.event import Event
from waypost.core.facts import Account, Directory, Sender
from waypost.core.lifecycle import State
from waypost.core.message import (
    DAY_MS,
    Acceptance,
    Attempt,
    Changed,
    Committed,
    Parcel,
    Place,
    SpoolPart,
)
from waypost.core.upstream import (
    Encryption,
    Health,
    Limits,
    Upstream,
    UpstreamState,
)
from waypost.core.verdict import Refusal, Settled
from waypost.store.contract import Lane, RefusalNote, Taker

START_MS = 1_700_000_000_000


class FakeClock:
    """Stands still unless it is moved; chance is always the same."""

    def __init__(self) -> None:
        self.ms = START_MS

    def wall_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000

    def chance(self) -> float:
        return 0.0

    def token(self, alphabet: str, length: int) -> str:
        return alphabet[0] * length


class FakeStore:
    """Parcels, what became of them, and the facts."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.generation = 1
        self.settings: dict[int, Upstream] = {}
        self.senders: dict[int, Sender] = {}
        self.accounts: dict[int, Account] = {}
        self.waiting: dict[int, Parcel] = {}
        self.claimed: dict[int, Parcel] = {}
        self.records: list[Attempt] = []
        self.released: list[tuple[int, int, str]] = []
        self.states: dict[int, dict[int, State]] = {}
        self.events: list[Event] = []
        self.pins: list[str] = []
        self.holds: list[tuple[int, str, int]] = []
        self.no_tries: dict[int, tuple[str, int]] = {}
        self.claims: list[tuple[int, int]] = []
        self.doubly: list[int] = []
        self.begun: list[int] = []
        self.cancelled: set[int] = set()
        self._facts: Directory | None = None
        self._taker: Taker | None = None
        self._next = 0

    # What tests do.

    def add_upstream(self, upstream: Upstream) -> None:
        self.settings = {**self.settings, upstream.id: upstream}
        self.change()

    def add_sender(self, ident: int, upstream_id: int, held: str = "") -> None:
        address = parse(f"sender{ident}@example.com")
        self.senders[ident] = Sender(
            ident, address, None, True, frozenset(), upstream_id, "", None, held
        )
        self.change()

    def add_account(self, ident: int, enabled: bool = True) -> None:
        self.accounts[ident] = Account(
            ident, f"account{ident}", enabled, True, None, None, None, START_MS
        )
        self.change()

    def change(self) -> None:
        self.generation += 1
        self._facts = None

    def put(
        self,
        recipients: Iterable[str] = ("ann@example.org",),
        sender_id: int = 1,
        account_id: int = 1,
        head: bytes = b"Subject: hello\r\n\r\n",
        rest: bytes | SpoolPart = b"text\r\n",
        eight_bit: bool = False,
    ) -> Parcel:
        """A message that waits in the store, due now."""
        self._next += 1
        octets = len(head) + (rest.octets if isinstance(rest, SpoolPart) else len(rest))
        addresses = tuple(enumerate((parse(text) for text in recipients), 1))
        parcel = Parcel(
            id=self._next,
            account_id=account_id,
            sender_id=sender_id,
            envelope_from=self.sender_address(sender_id),
            recipients=addresses,
            head=head,
            rest=rest,
            octets=octets,
            eight_bit=eight_bit,
            accepted_ms=self.clock.ms,
            attempt=1,
            tries=0,
            first_try_ms=0,
            held_ms=0,
            uncertain_row=0,
            due_ms=self.clock.ms,
        )
        self.waiting[parcel.id] = parcel
        self.states[parcel.id] = {number: State.QUEUED for number, _ in addresses}
        return parcel

    def hand_over(self, taker: Taker, parcel: Parcel) -> None:
        """As if it had just been committed and claimed."""
        self.claimed[parcel.id] = self.waiting.pop(parcel.id)
        taker.take(parcel)

    def sender_address(self, ident: int) -> Address:
        return self.senders[ident].address

    def state_of(self, upstream_id: int = 1) -> UpstreamState:
        return self.settings[upstream_id].health.state

    # What delivery does.

    def directory(self) -> Directory:
        if self._facts is None:
            self._facts = Directory(
                self.generation,
                tuple(self.accounts.values()),
                (),
                tuple(self.senders.values()),
                None,
            )
        return self._facts

    def upstreams(self) -> dict[int, Upstream]:
        return self.settings

    def balance(self, account_id: int) -> int | None:
        return None

    def rate_room(self, key_id: int, per_minute: int, now_ms: int) -> int:
        return per_minute

    async def commit(self, acceptance: Acceptance) -> Committed | Refusal | Changed:
        raise NotImplementedError

    async def settled(self, message_id: int, wait_s: float) -> Settled:
        raise NotImplementedError

    def no_try(self, message_id: int, hint: str, next_ms: int) -> None:
        self.no_tries[message_id] = (hint, next_ms)

    def told(self, message_id: int) -> None:
        pass  # no account of this store has an address for notices

    def refuse(self, note: RefusalNote) -> asyncio.Future[None]:
        raise NotImplementedError

    def used(self, key_id: int, now_ms: int) -> None:
        raise NotImplementedError

    def attach(self, taker: Taker) -> None:
        self._taker = taker

    async def adopt(self, now_ms: int) -> int:
        return 0

    async def expire(self, now_ms: int, hold_max_ms: int) -> int:
        old = [p for p in self.waiting.values() if now_ms - p.accepted_ms >= hold_max_ms]
        for parcel in old:
            del self.waiting[parcel.id]
            self.states[parcel.id].update({n: State.FAILED for n, _ in parcel.recipients})
        return len(old)

    async def lanes(self, sender_ids: Iterable[int]) -> list[Lane]:
        first: dict[tuple[int, int], int] = {}
        wanted = set(sender_ids)
        for parcel in self.waiting.values():
            if parcel.sender_id in wanted:
                key = (parcel.sender_id, parcel.account_id)
                first[key] = min(first.get(key, parcel.due_ms), parcel.due_ms)
        return [Lane(sender, account, due) for (sender, account), due in first.items()]

    async def claim(self, lane: Lane, now_ms: int, limit: int) -> list[Parcel]:
        await asyncio.sleep(0)
        due = sorted(
            (
                parcel
                for parcel in self.waiting.values()
                if parcel.sender_id == lane.sender_id
                and parcel.account_id == lane.account_id
                and parcel.due_ms <= now_ms
            ),
            key=lambda parcel: (parcel.due_ms, parcel.id),
        )[:limit]
        own = self.senders[lane.sender_id].upstream_id
        place = None
        if lane.through not in (0, own):
            place = Place(lane.through, self.clock.ms // DAY_MS, 0)
        if any(parcel.place != place for parcel in due):
            due = [msgspec.structs.replace(parcel, place=place) for parcel in due]
        for parcel in due:
            del self.waiting[parcel.id]
            self.claimed[parcel.id] = parcel
        self.claims.append((lane.account_id, len(due)))
        return due

    def begin(self, parcel: Parcel) -> bool:
        self.begun.append(parcel.id)
        return parcel.id not in self.cancelled

    def record(self, attempt: Attempt) -> asyncio.Future[None]:
        parcel = attempt.parcel
        if self.claimed.pop(parcel.id, None) is None:
            self.doubly.append(parcel.id)
        self.records.append(attempt)
        states = self.states[parcel.id]
        assert {result.number for result in attempt.results} == {n for n, _ in parcel.recipients}
        states.update({result.number: result.state for result in attempt.results})
        left = tuple(r for r in parcel.recipients if states[r[0]] is State.QUEUED)
        if left:
            first = parcel.first_try_ms or (attempt.at_ms if attempt.counted else 0)
            uncertain = parcel.uncertain_row + 1 if attempt.uncertain else 0
            self.waiting[parcel.id] = msgspec.structs.replace(
                parcel,
                recipients=left,
                attempt=parcel.attempt + 1,
                tries=parcel.tries + attempt.counted,
                first_try_ms=first,
                held_ms=parcel.held_ms + attempt.held_ms,
                uncertain_row=uncertain,
                due_ms=attempt.next_ms,
            )
        return _soon()

    def release(self, parcel: Parcel, due_ms: int, reason: str) -> asyncio.Future[None]:
        if self.claimed.pop(parcel.id, None) is None:
            self.doubly.append(parcel.id)
        self.waiting[parcel.id] = msgspec.structs.replace(parcel, due_ms=due_ms)
        self.released.append((parcel.id, due_ms, reason))
        return _soon()

    def health(
        self, upstream_id: int, edition: int, health: Health, event: Event | None
    ) -> asyncio.Future[None]:
        known = self.settings[upstream_id]
        if known.edition == edition:
            self.settings = {
                **self.settings,
                upstream_id: msgspec.structs.replace(known, health=health),
            }
            if event is not None:
                self.events.append(event)
        return _soon()

    def pin(self, upstream_id: int, edition: int, pin: str) -> asyncio.Future[None]:
        self.pins.append(pin)
        known = self.settings[upstream_id]
        changed = msgspec.structs.replace(known, pin=pin)
        self.settings = {**self.settings, upstream_id: changed}
        return _soon()

    def announce(self, upstream_id: int, event: Event) -> asyncio.Future[None]:
        self.events.append(event)
        return _soon()

    def hold(
        self, sender_id: int, reason: str, probe_ms: int, event: Event | None
    ) -> asyncio.Future[None]:
        self.holds.append((sender_id, reason, probe_ms))
        if event is not None:
            self.events.append(event)
        sender = self.senders[sender_id]
        self.senders[sender_id] = msgspec.structs.replace(sender, held=reason)
        self.change()
        return _soon()

    async def close(self) -> None:
        return None


def _soon() -> asyncio.Future[None]:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    loop.call_soon(_done, future)
    return future


def _done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def make_upstream(port: int, limits: Limits | None = None, **changes: object) -> Upstream:
    """An operator's upstream on loopback without protection or login."""
    plain = settings.make_upstream(
        name="main",
        host="127.0.0.1",
        port=port,
        encryption=Encryption.NONE,
        username="",
        limits=limits or Limits(),
        created_at_ms=START_MS,
    )
    return msgspec.structs.replace(plain, **changes)


async def until(true: Callable[..., bool], *given: object, seconds: float = 60.0) -> None:
    """Until the condition holds of what is given; fails when it does not, on the slowest of
    machines."""
    async with asyncio.timeout(seconds):
        while not true(*given):  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.002)
