"""THE DOOR: where a submission becomes a message that is ours, or is refused.

The instant of acceptance is one call, `store.commit`: what comes out of it as `Committed`
survives a kill and a loss of power, is paid for, and is then answered for. Every way in ends
here; a good answer to a submission is made from what this returns and nowhere else. Knows
nothing of SMTP, HTTP and of who delivers: it waits for an outcome that somebody will announce.
"""

from __future__ import annotations

import asyncio
import mmap
from pathlib import Path

from waypost.clock import Clock
from waypost.core.errors import StoreAway
from waypost.core.ident import IdentMaker
from waypost.core.message import Acceptance, Changed, Committed, SpoolPart, Submission
from waypost.core.verdict import Reason, Refusal, Settled
from waypost.intake.bounds import Disk
from waypost.log import get
from waypost.policy.judge import Rules, Stamp, judge, known_at_mail, needs_body, rate_per_minute
from waypost.policy.line_ends import Flags
from waypost.store.contract import RefusalNote, RelayStore

JUDGEMENTS = 4  # facts that change faster than this many judgements are trouble, not news
AWAY_RETRY_S = 30

AWAY = Refusal(Reason.TROUBLE, "The relay cannot reach its store, try again later", AWAY_RETRY_S)
DISK_FULL = Refusal(Reason.FULL, "The relay is short of disk space, try again later", AWAY_RETRY_S)
RESTLESS = Refusal(
    Reason.TROUBLE, "The settings of this key or sender are changing, try again", AWAY_RETRY_S
)


class Door:
    """Judges, commits, waits for the outcome. One for all channels of a worker."""

    def __init__(
        self,
        store: RelayStore,
        rules: Rules,
        ids: IdentMaker,
        clock: Clock,
        inline_wait_s: float,
        data: Path,
        disk: Disk,
    ) -> None:
        self.rules = rules
        self.inline_wait_s = inline_wait_s
        self._store = store
        self._ids = ids
        self._clock = clock
        self._data = data
        self._disk = disk

    def known_at_mail(self, account_id: int, key_id: int | None) -> Refusal | None:
        """What can be refused before the message is sent: key, rate, no credits, disk, store."""
        if not self._disk.room(self._clock.monotonic()):
            return DISK_FULL
        try:
            directory = self._store.directory()
            room, per_minute = 1, rate_per_minute(directory, self.rules, account_id)
            if key_id is not None and per_minute:
                room = self._store.rate_room(key_id, per_minute, self._clock.wall_ms())
            balance = self._store.balance(account_id)
        except StoreAway:
            return AWAY
        return known_at_mail(directory, self.rules, account_id, key_id, room, balance)

    async def submit(self, submission: Submission, flags: Flags) -> Refusal | Settled:
        """Accepts or refuses, and tells what became of it within `inline_wait_s` of this call.

        A refusal was not charged; it is in the log of refusals, and a spooled body is the caller's
        to discard. A `Settled` is committed, whatever happens to the connection afterwards.
        """
        began_s = self._clock.monotonic()
        try:
            outcome = await self._accepted(submission, flags)
        except StoreAway:
            outcome = AWAY
        except Exception:  # noqa: BLE001  (whatever a message broke, its client is owed an answer)
            get("intake").exception("submission_broke", peer=submission.peer)
            outcome = AWAY
        if isinstance(outcome, Refusal):
            self.note(
                submission.channel,
                submission.peer,
                (submission.account_id, submission.key_id),
                str(submission.mail_from or ""),
                outcome.reason,
                outcome.smtp_line,
            )
            return outcome
        left_s = max(self.inline_wait_s - (self._clock.monotonic() - began_s), 0.0)
        if self.inline_wait_s == 0 and outcome.repeat_of is None:
            return Settled(outcome.id, queued=outcome.recipients, sent=0, failed=0)
        ident = outcome.id if outcome.repeat_of is None else outcome.repeat_of
        try:
            return await self._store.settled(ident, left_s)
        except StoreAway:  # it is on disk and ours; only its state cannot be read now
            return Settled(ident, queued=max(outcome.recipients, 1), sent=0, failed=0)

    def note(
        self,
        channel: str,
        peer: str,
        who: tuple[int | None, int | None],
        from_address: str,
        reason: Reason,
        answer: str,
    ) -> None:
        """Adds to the log of refusals; `who`: account and key, as far as they are known."""
        account_id, key_id = who
        line = RefusalNote(
            self._clock.wall_ms(),
            channel,
            peer,
            account_id,
            key_id,
            from_address,
            reason.value,
            answer,
        )
        try:
            self._store.refuse(line)
        except StoreAway:
            return  # a refusal needs no store: the client has its answer all the same

    async def _accepted(self, submission: Submission, flags: Flags) -> Committed | Refusal:
        now_ms = self._clock.wall_ms()
        stamp = Stamp(self._ids.make(now_ms), now_ms)
        for _ in range(JUDGEMENTS):
            verdict = await self._judged(submission, stamp, flags)
            if isinstance(verdict, Refusal):
                return verdict
            committed = await self._store.commit(verdict)
            if not isinstance(committed, Changed):
                return committed
        return RESTLESS

    async def _judged(
        self, submission: Submission, stamp: Stamp, flags: Flags
    ) -> Acceptance | Refusal:
        directory = self._store.directory()
        rest = submission.content.rest
        if not needs_body(submission, self.rules) or not isinstance(rest, SpoolPart):
            return judge(submission, directory, self.rules, stamp, None, flags)

        def walk() -> Acceptance | Refusal:
            with (
                (self._data / rest.name).open("rb") as file,
                mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as body,
            ):
                return judge(submission, directory, self.rules, stamp, body, flags)

        try:
            return await asyncio.to_thread(walk)
        except OSError as error:
            raise StoreAway("a body in the spool cannot be read", str(error)) from error
