"""`Idempotency-Key`: one key, one call, however often and however parallel it is sent.

    under way   in memory of this process, from the first call until its answer is on disk
    taken       in the store, by the transaction that accepted its messages
    answered    in the store, for 24 hours

A kill leaves "taken" at most: the answer is then made anew from what became of the messages. A call
that did not succeed frees its key. Knows nothing of what is sent.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable

import msgspec

from waypost.store.idempotency import Answers, Remembered
from waypost.web import Failure

KEY_CHARACTERS = 256  # section 8 of the contract
AGAIN_S = "1"


class Undone(Failure):
    """It was accepted, and then refused for everybody: its key stands for nothing any more."""


class Reply(msgspec.Struct, frozen=True):
    """A good answer: its status and its JSON."""

    status: int
    body: bytes
    replayed: bool = False


class Call(msgspec.Struct, frozen=True):
    """A call that has a key: whose, and the SHA-256 of the key and of all that was asked for."""

    account_id: int
    digest: bytes
    body: bytes


Run = Callable[[], Awaitable[Reply]]
Again = Callable[[Remembered], Awaitable[Reply | None]]


class _Entry:
    __slots__ = ("body", "reply")

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.reply: Reply | None = None


class Once:
    """The calls under way in this process, and those that the store remembers.

    With `several` workers an answer is on disk before it is given: the next call may be another's.
    """

    def __init__(self, answers: Answers, several: bool = False) -> None:
        self._answers = answers
        self._several = several
        self._entries: dict[tuple[int, bytes], _Entry] = {}
        self._writes: set[asyncio.Task[None]] = set()

    async def run(self, call: Call, first: Run, again: Again) -> Reply:
        """The answer of the first call. `first` does what was asked; `again` tells what became of
        it, None where that was no success. Raises `Failure` 409, and what `first` raises.
        """
        scope = (call.account_id, call.digest)
        entry = self._entries.get(scope)
        if entry is not None:
            _same(entry.body, call.body)
            if entry.reply is None:
                raise under_way()
            return msgspec.structs.replace(entry.reply, replayed=True)
        entry = self._entries[scope] = _Entry(call.body)
        try:
            reply = await self._known(call, again)
            if reply is None:
                reply = await first()
                entry.reply = reply
        except Undone:
            await self._answers.free(*scope)
            raise
        finally:
            if entry.reply is None:
                del self._entries[scope]
        if entry.reply is not None:
            write = asyncio.get_running_loop().create_task(self._keep(call, entry.reply))
            self._writes.add(write)
            write.add_done_callback(self._writes.discard)
            if self._several:
                await asyncio.shield(write)  # a client that hangs up does not undo it
        return reply

    async def _known(self, call: Call, again: Again) -> Reply | None:
        found = self._answers.find(call.account_id, call.digest)
        if found is None:
            return None
        _same(found.body, call.body)
        if found.status:
            return Reply(found.status, found.answer, replayed=True)
        if found.elsewhere:
            raise under_way()
        reply = await again(found)
        if reply is None:
            await self._answers.free(call.account_id, call.digest)
            return None
        return msgspec.structs.replace(reply, replayed=True)

    async def _keep(self, call: Call, reply: Reply) -> None:
        try:
            await self._answers.keep(
                call.account_id, call.digest, call.body, reply.status, reply.body
            )
        finally:
            del self._entries[call.account_id, call.digest]


def key_digest(key: str) -> bytes:
    """What the store knows a key by. Raises `Failure` 400 for one that is too long."""
    if len(key) > KEY_CHARACTERS:
        text = f"The Idempotency-Key is longer than {KEY_CHARACTERS} characters: make it shorter"
        raise Failure(400, "INVALID_REQUEST", text)
    return hashlib.sha256(key.encode()).digest()


def under_way() -> Failure:
    """Said to a repeat that comes before the first call has its answer."""
    text = "The first call with this Idempotency-Key is still under way: wait, then send it again"
    return Failure(409, "IDEMPOTENCY_CONFLICT", text, headers={"Retry-After": AGAIN_S})


def _same(first: bytes, now: bytes) -> None:
    if first != now:
        text = "This Idempotency-Key was used for another call: take a new one for each message"
        raise Failure(409, "IDEMPOTENCY_CONFLICT", text)
