"""Outcomes on their way to the store.

Promises that an outcome or a release is offered until the store has it, so that no claim is left
behind, and that nobody waits for a commit to go on. Where the store can never write an outcome down
as it is, its words are left out: that it was sent must be known, or it is sent again. Where it
cannot be written even so, that is logged and told of; the message stays claimed, so that it is not
sent again while this process lives. Knows nothing of what the outcomes mean.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import msgspec

from waypost import log
from waypost.core import ident
from waypost.core.errors import StoreAway, StoreBroken, Unwritable
from waypost.core.event import Event, Kind
from waypost.core.lifecycle import State
from waypost.core.message import Attempt, Parcel
from waypost.store.contract import RelayStore

AGAIN_S = 1.0  # the wait before the store is asked again
REFUSED_S = 60.0  # the same where it answered that it can never write that
NO_WORDS = "(these words could not be kept)"

Ask = Callable[[], "asyncio.Future[None]"]


class Records:
    """What was asked of the store and is not on disk yet; `outstanding`: how much that is.
    `results`: of recipients in attempts, by the state that they left them in."""

    def __init__(self, store: RelayStore) -> None:
        self.outstanding = 0
        self.results = dict.fromkeys(State, 0)
        self._store = store
        self._empty: asyncio.Future[None] | None = None
        self._ended = False

    def record(self, attempt: Attempt) -> None:
        for result in attempt.results:
            self.results[result.state] += 1
        if attempt.damaged:
            number = ident.show(attempt.parcel.id)
            log.get("transport").error("body_lost", message=number, text=attempt.results[-1].text)
        self.outstanding += 1
        self._ask(partial(self._store.record, attempt), lambda: self._record_plain(attempt))

    def release(self, parcel: Parcel, due_ms: int, reason: str) -> None:
        self.outstanding += 1
        plain = partial(self._store.release, parcel, due_ms, "")
        self._ask(
            partial(self._store.release, parcel, due_ms, reason),
            lambda: self._later(plain, REFUSED_S),
        )

    def keep(self, ask: Ask) -> None:
        """Any other change of the store: it is offered while the store is away."""
        self.outstanding += 1
        self._ask(ask, lambda: self._one_less(1))

    async def settled(self) -> None:
        """Until all that was asked for is on disk."""
        while self.outstanding and not self._ended:
            if self._empty is None or self._empty.done():
                self._empty = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._empty)  # others wait for the same

    def give_up(self) -> None:
        """The process ends: what the store did not take is taken over from its claims."""
        self._ended = True
        self._one_less(0)

    def _record_plain(self, attempt: Attempt) -> None:
        self._ask(partial(self._store.record, plain(attempt)), lambda: self._lost(attempt))

    def _lost(self, attempt: Attempt) -> None:
        """The store is well, and cannot write this: nothing that could be tried is left."""
        parcel = attempt.parcel
        sent = sum(result.state is State.SENT for result in attempt.results)
        text = (
            f"what came of message {ident.show(parcel.id)} cannot be written ({sent} of"
            f" {len(attempt.results)} sent): it stays as it is until the relay is started anew"
        )
        log.get("transport").error("outcome_lost", message=ident.show(parcel.id), text=text)
        event = Event(
            attempt.at_ms,
            Kind.MESSAGE_DAMAGED,
            text,
            account_id=parcel.account_id,
            message_id=parcel.id,
            upstream_id=attempt.upstream_id,
            sender_id=parcel.sender_id,
        )
        self.keep(lambda: self._store.announce(attempt.upstream_id, event))
        self._one_less(1)

    def _ask(self, ask: Ask, refused: Callable[[], None]) -> None:
        try:
            asked = ask()
        except StoreAway:  # closed, or broken: nothing was tried
            self._later(ask, AGAIN_S, refused)
            return
        asked.add_done_callback(partial(self._asked, ask, refused))

    def _asked(self, ask: Ask, refused: Callable[[], None], done: asyncio.Future[None]) -> None:
        error = None if done.cancelled() else done.exception()
        if error is None or isinstance(error, StoreBroken):
            self._one_less(1)
        elif isinstance(error, StoreAway) and not isinstance(error, Unwritable):
            self._later(ask, AGAIN_S, refused)
        else:
            why = error.private if isinstance(error, StoreAway) else repr(error)
            log.get("transport").error("outcome_refused", error=why)
            refused()

    def _later(self, ask: Ask, wait_s: float, refused: Callable[[], None] | None = None) -> None:
        if self._ended:
            self._one_less(1)
            return
        again = refused or partial(self._later, ask, wait_s)
        asyncio.get_running_loop().call_later(wait_s, self._ask, ask, again)

    def _one_less(self, count: int) -> None:
        self.outstanding -= count
        if self._empty is None or self._empty.done():
            return
        if self._ended or not self.outstanding:
            self._empty.set_result(None)


def plain(attempt: Attempt) -> Attempt:
    """The same outcome without anybody's words."""
    results = tuple(msgspec.structs.replace(r, text=NO_WORDS) for r in attempt.results)
    return msgspec.structs.replace(attempt, results=results, reason=NO_WORDS, transcript="")
