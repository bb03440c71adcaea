"""Notices to the people whose mail failed after it was accepted: one a message, where their account
names an address for them.

What is owed was written by the transaction that ended the message, and is taken away by the one
that accepts its notice: exactly one, whatever is killed. A notice goes through the one door and the
one queue, and is not charged. Knows nothing of SMTP and of how a notice is delivered.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import hashlib
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Protocol

from waypost.clock import Clock
from waypost.core import ident
from waypost.core.errors import StoreAway
from waypost.core.facts import Directory, Sender
from waypost.core.message import NOTICE, Content, Submission
from waypost.core.upstream import Upstream, UpstreamState
from waypost.core.verdict import Reason, Refusal
from waypost.log import get
from waypost.store.connect import connect, transaction
from waypost.store.directory import address_of
from waypost.store.read import owed
from waypost.store.read.book import Look
from waypost.store.read.owed import Failed, Owed
from waypost.watch.tell.wording import SHOWN_RECIPIENTS, Facts, compose

AT_ONCE = 20
AN_HOUR = 120  # of one account; what is more waits, so that a bad list is no flood
HOUR_MS = 3_600_000
LATER_MS = 60_000  # before what could not be accepted now is offered again
DISABLED_MS = 10 * LATER_MS  # before an account is looked at again that is disabled
_FOR_GOOD = frozenset({Reason.SENDER, Reason.ADDRESS, Reason.RECIPIENTS, Reason.OVER_CAP})

Post = Callable[[Submission, int], Awaitable[Refusal | None]]
"""Through the door: a notice, and the message it is about. Raises `StoreAway`."""


class Book(Protocol):
    """What the store knows of who may send."""

    def directory(self) -> Directory: ...
    def upstreams(self) -> dict[int, Upstream]: ...


class Notices:
    """The notices of one data directory: ask `step` now and then, from one worker."""

    def __init__(self, data: Path, hostname: str, book: Book, post: Post, clock: Clock) -> None:
        self._data = data
        self._hostname = hostname
        self._book = book
        self._post = post
        self._clock = clock
        self._sent: dict[int, collections.deque[int]] = {}  # account -> when, of the last hour
        self._facts: Directory | None = None
        self._wanted = False  # by any account

    async def step(self) -> int:
        """Hands on what is due; how many that were. Raises `StoreAway`."""
        facts = self._book.directory()
        if facts is not self._facts:
            self._facts = facts
            self._wanted = any(account.notify for account in facts.accounts.values())
        if not self._wanted:
            return 0
        found = await asyncio.to_thread(self._due, self._clock.wall_ms())
        later: dict[int, int] = {}
        for row in found:
            until_ms = await self._tried(*row)
            if until_ms:
                later[row[0].message_id] = until_ms
        if later:  # at once: a bad list may have left very many
            await asyncio.to_thread(self._put_off, later)
        return len(found)

    def _due(self, now_ms: int) -> list[tuple[Owed, tuple[Failed, ...], str]]:
        db = connect(self._data, readonly=True)
        try:
            look = Look(db)
            return [
                (
                    row,
                    tuple(owed.failed(look, row.message_id, SHOWN_RECIPIENTS)),
                    owed.upstream(look, row.message_id),
                )
                for row in owed.due(look, now_ms, AT_ONCE)
            ]
        finally:
            db.close()

    def _sender(self, directory: Directory, row: Owed) -> Sender | None:
        """The default sender, as for all mail that names none, else the message's own; first one
        whose mail goes out now."""
        own = directory.sender_for(row.account_id, address_of(row.sender))
        known = [s for s in (directory.default_sender(row.account_id), own) if s is not None]
        upstreams = self._book.upstreams()

        def able(sender: Sender) -> bool:
            upstream = upstreams.get(sender.upstream_id)
            return (
                upstream is not None
                and upstream.health.state is UpstreamState.OK
                and not sender.held
            )

        return next((s for s in known if able(s)), known[0] if known else None)

    async def _tried(self, row: Owed, failed: tuple[Failed, ...], upstream: str) -> int:
        """The same as `_tell`; what one of them breaks must not stand before all others."""
        try:
            return await self._tell(row, failed, upstream)
        except StoreAway:
            raise
        except Exception as error:  # noqa: BLE001  (whatever it is, the next must be told)
            message = ident.show(row.message_id)
            get("notices").error("notice_broke", message=message, error=repr(error))
            return self._clock.wall_ms() + HOUR_MS

    async def _tell(self, row: Owed, failed: tuple[Failed, ...], upstream: str) -> int:
        """When it is to be offered again; 0: it is accepted, or let go of."""
        now_ms = self._clock.wall_ms()
        message = ident.show(row.message_id)
        directory = self._book.directory()
        account = directory.accounts.get(row.account_id)
        sender = self._sender(directory, row)
        if account is None or account.notify is None or sender is None:
            get("notices").warning("notice_dropped", message=message, why="no sender or address")
            await asyncio.to_thread(self._let_go, row.message_id)
            return 0
        if not row.enabled:
            return now_ms + DISABLED_MS
        room_ms = self._room_ms(row.account_id, now_ms)
        if room_ms > now_ms:
            return room_ms
        facts = Facts(row, failed, upstream, self._hostname, sender.address, account.notify)
        refused = await self._post(submission(facts), row.message_id)
        if refused is None:
            self._sent[row.account_id].append(now_ms)
            get("notices").info("notice", message=message, account=row.account)
            return 0
        get("notices").warning("notice_refused", message=message, why=refused.text)
        if refused.reason not in _FOR_GOOD:
            return now_ms + LATER_MS
        await asyncio.to_thread(self._let_go, row.message_id)
        return 0

    def _room_ms(self, account_id: int, now_ms: int) -> int:
        """When the next notice of an account may go."""
        sent = self._sent.setdefault(account_id, collections.deque())
        while sent and not now_ms - HOUR_MS < sent[0] <= now_ms:
            sent.popleft()
        return now_ms if len(sent) < AN_HOUR else sent[0] + HOUR_MS

    def _put_off(self, later: dict[int, int]) -> None:
        with self._changing() as look:
            for message_id, until_ms in later.items():
                owed.put_off(look, message_id, until_ms)

    def _let_go(self, message_id: int) -> None:
        with self._changing() as look:
            owed.let_go(look, message_id)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[Look]:
        db = connect(self._data)
        try:
            with transaction(db):
                yield Look(db)
        finally:
            db.close()


def submission(facts: Facts) -> Submission:
    """The notice as it comes to the door."""
    head, rest = compose(facts)
    digest = hashlib.sha256(head + rest).digest()
    return Submission(
        channel=NOTICE,
        account_id=facts.owed.account_id,
        key_id=None,
        peer="",
        helo="",
        tls=False,
        mail_from=None,
        rcpt_to=(facts.to,),
        content=Content(head, rest, len(head) + len(rest), digest, eight_bit=False),
    )
