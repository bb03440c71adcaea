"""The promises of the store to the running relay, in words, at each method. One test suite runs on
each engine.

It decides nothing about mail. A state, its ledger lines and its event are one transaction.
Everything asked for while a commit runs goes into the next one (group commit): one sync to disk for
all. Called on the event loop only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Protocol

import msgspec

from waypost.core.event import Event
from waypost.core.facts import Directory
from waypost.core.message import Acceptance, Attempt, Changed, Committed, Parcel
from waypost.core.upstream import Health, Upstream
from waypost.core.verdict import Refusal, Settled


class Lane(msgspec.Struct, frozen=True):
    """The waiting mail of one account from one sender, claimed by nobody: when its first is due.

    `through`: the upstream that it is claimed for, where it is said.
    """

    sender_id: int
    account_id: int
    due_ms: int
    through: int = 0

    def by(self, upstream_id: int) -> Lane:
        """The same, claimed for that upstream."""
        return msgspec.structs.replace(self, through=upstream_id)


class RefusalNote(msgspec.Struct, frozen=True):
    """One line of the log of refusals, before equal ones are counted together. `recipients`: whom
    it was to, as far as it had said so; they make no difference between lines.
    """

    at_ms: int
    channel: str
    peer: str
    account_id: int | None
    key_id: int | None
    from_address: str
    reason: str
    answer: str
    recipients: tuple[str, ...] = ()


class Taker(Protocol):
    """Who delivers: told of fresh messages and of changes. Its methods neither wait nor raise."""

    def wants(self, acceptance: Acceptance) -> bool:
        """Asked while a batch is made: True claims the message for this worker in its commit."""

    def take(self, parcel: Parcel) -> None:
        """A message that it wanted is committed and claimed: deliver it."""

    def stirred(self) -> None:
        """Something is or may be due, or settings changed: look again."""


class RelayStore(Protocol):
    """What intake and transport use."""

    def directory(self) -> Directory:
        """The facts now: compares the shared counter and reloads when it rose. Raises
        `StoreAway`."""

    def upstreams(self) -> dict[int, Upstream]:
        """All upstreams by id, as fresh as `directory()`; passwords opened. Raises `StoreAway`."""

    def balance(self, account_id: int) -> int | None:
        """Credits left as last seen, None for an unlimited or unknown account. A hint for MAIL, not
        a debit."""

    def rate_room(self, key_id: int, per_minute: int, now_ms: int) -> int:
        """Submissions this key may still have accepted now; at most `per_minute`. A hint for
        MAIL."""

    async def commit(self, acceptance: Acceptance) -> Committed | Refusal | Changed:
        """Debit, places, rate, repeats, message, recipients, queue and ledger in one synced
        transaction.

        All or nothing. When it returns `Committed` the message survives kill and power loss.
        `Refusal` (RATE_LIMIT, NO_CREDITS, OVER_CAP, TROUBLE, FULL): nothing was kept or charged. A
        spooled rest was synced, renamed into the spool and its directory synced before; it is
        removed where nothing was kept. One acceptance that cannot be written refuses nobody else of
        its batch. Raises `StoreAway`; `Unwritable` where that is this acceptance's own.
        """

    async def settled(self, message_id: int, wait_s: float) -> Settled:
        """The committed state of a message once no recipient awaits a first try, at the latest
        after `wait_s`."""

    def no_try(self, message_id: int, hint: str, next_ms: int) -> None:
        """No try of it can begin in time: whoever waits in `settled` is answered at once."""

    def told(self, message_id: int) -> None:
        """Its client was answered that all of it failed: it needs no notice. Raises `StoreAway`."""

    def refuse(self, note: RefusalNote) -> asyncio.Future[None]:
        """Adds to the log of refusals, with the next batch; equal ones of one peer within a minute
        are counted. The future ends when the line is committed, or forgotten since the store is
        away."""

    def used(self, key_id: int, now_ms: int) -> None:
        """The key was used; written at most once a minute, with the next batch."""

    def attach(self, taker: Taker) -> None:
        """Who is offered fresh messages from now on."""

    async def adopt(self, now_ms: int) -> int:
        """Claims of dead workers become nobody's, due now, each logged `uncertain`. How many they
        were."""

    async def expire(self, now_ms: int, hold_max_ms: int) -> int:
        """Fails and refunds what nobody has claimed and was accepted, or was to be sent, that long
        ago or longer; how many messages that were. Costs what is that old."""

    async def lanes(self, sender_ids: Iterable[int]) -> list[Lane]:
        """The lanes of these senders that hold anything; costs a look-up a lane, whatever waits in
        them."""

    async def claim(self, lane: Lane, now_ms: int, limit: int) -> list[Parcel]:
        """Claims up to `limit` messages of the lane that are due, oldest due first, committed
        before it returns.

        Messages whose day has no place under a cap are moved to the next day that has one instead.
        Those that go through another upstream than their sender's need a place of today under its
        cap too, and say so in their `place`; without one they stay. What has lost its body or its
        recipients is failed and refunded, with an event; what can never be written is left alone
        for an hour, with an event: neither stands in the way of what is behind it.
        """

    def begin(self, parcel: Parcel) -> bool:
        """A claimed message is about to be put on the wire: from now on, until it is recorded or
        released, nobody can cancel it. False: it was cancelled, or is being; it is to be released.

        Until then whoever cancels it may take the claim away. Never waits.
        """

    def record(self, attempt: Attempt) -> asyncio.Future[None]:
        """Outcomes, refunds, events and the queue row in one transaction; done when it is on disk.

        An attempt whose claim is no longer this worker's is not recorded. Ended recipients never
        move again and are refunded once. The future fails with `StoreAway` where it may be asked
        for again, with `Unwritable` where that is of no use; the claim stays this worker's then.
        So does that of a release, and of whatever follows here but for the claim.
        """

    def release(self, parcel: Parcel, due_ms: int, reason: str) -> asyncio.Future[None]:
        """The claim is given back untried: queued, due then; no attempt is logged or counted, and
        its `place` is free again. With a reason no try can begin in time: who waits is told."""

    def health(
        self, upstream_id: int, edition: int, health: Health, event: Event | None
    ) -> asyncio.Future[None]:
        """Keeps what was seen of an upstream, unless it was edited since (`edition`)."""

    def pin(self, upstream_id: int, edition: int, pin: str) -> asyncio.Future[None]:
        """Keeps what `auto` decided at the first connect, unless it was edited since."""

    def hold(
        self, sender_id: int, reason: str, probe_ms: int, event: Event | None
    ) -> asyncio.Future[None]:
        """Holds a sender's mail (an empty reason releases it)."""

    def announce(self, upstream_id: int, event: Event) -> asyncio.Future[None]:
        """Keeps an event of an upstream that goes with no change of its row."""

    async def close(self) -> None:
        """Commits what was asked for, then closes; later calls raise `StoreAway`."""
