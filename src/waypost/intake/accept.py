"""THE DOOR: where a submission becomes a message that is ours, or is refused.

The instant of acceptance is one call, `store.commit`: what comes out of it as `Committed`
survives a kill and a loss of power, is paid for, and is then answered for. Every way in ends
here; a good answer to a submission is made from what this returns and nowhere else. Knows
nothing of SMTP, HTTP and of who delivers: it waits for an outcome that somebody will announce.
"""

from __future__ import annotations

import asyncio
import contextlib
import mmap
from pathlib import Path

import msgspec

from waypost.clock import Clock, Steady
from waypost.core.errors import StoreAway
from waypost.core.facts import Directory
from waypost.core.ident import IdentMaker
from waypost.core.message import (
    Acceptance,
    Committed,
    Idempotency,
    SpoolPart,
    Submission,
)
from waypost.core.verdict import Reason, Refusal, Settled
from waypost.intake.bounds import Disk
from waypost.log import get
from waypost.policy.judge import Rules, Stamp, judge, known_at_mail, needs_body, rate_per_minute
from waypost.policy.line_ends import Flags
from waypost.store.contract import RefusalNote, RelayStore

JUDGEMENTS = 4  # facts that change faster than this many judgements are trouble, not news
AWAY_RETRY_S = 30

AWAY = Refusal(Reason.TROUBLE, "The relay cannot reach its store, try again later", AWAY_RETRY_S)
DISK_SICK = Refusal(
    Reason.TROUBLE, "The relay cannot write to its disk, try again later", AWAY_RETRY_S
)
DISK_FULL = Refusal(Reason.FULL, "The relay is short of disk space, try again later", AWAY_RETRY_S)
RESTLESS = Refusal(
    Reason.TROUBLE, "The settings of this key or sender are changing, try again", AWAY_RETRY_S
)


class Terms(msgspec.Struct, frozen=True):
    """What a way in may ask for beside the message. `hold_until_ms`: not to be sent before."""

    hold_until_ms: int = 0
    idempotency: Idempotency | None = None
    notice_of: int = 0


PLAIN = Terms()


class Accepted(msgspec.Struct, frozen=True):
    """An accepted message, as far as it has come. `key_taken`: see `Committed`."""

    settled: Settled
    sender: str
    smtp_message_id: str
    key_taken: bool


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
        self.steady = Steady(clock, ids.milliseconds)
        self._clock = clock
        self._data = data
        self._disk = disk
        # Counted since the start, for who watches.
        self.accepted_messages = self.accepted_recipients = 0
        self.refused: dict[Reason, int] = dict.fromkeys(Reason, 0)

    def known_at_mail(self, account_id: int, key_id: int | None) -> Refusal | None:
        """What can be refused before the message is sent: key, rate, no credits, disk, store."""
        if not self._disk.room(self._clock.monotonic()):
            return DISK_SICK if self._disk.sick else DISK_FULL
        try:
            directory = self._store.directory()
            room, per_minute = 1, rate_per_minute(directory, self.rules, account_id)
            if key_id is not None and per_minute:
                room = self._store.rate_room(key_id, per_minute, self.steady.now_ms())
            balance = self._store.balance(account_id)
        except StoreAway:
            return AWAY
        return known_at_mail(directory, self.rules, account_id, key_id, room, balance)

    async def submit(self, submission: Submission, flags: Flags) -> Refusal | Settled:
        """Accepts or refuses, and tells what became of it within `inline_wait_s` of this call.

        A refusal was not charged; it is in the log of refusals, and a spooled body is the caller's
        to discard. A `Settled` is committed, whatever happens to the connection afterwards.
        """
        done = await self.accept(submission, flags)
        return done if isinstance(done, Refusal) else done.settled

    async def accept(
        self, submission: Submission, flags: Flags, terms: Terms = PLAIN
    ) -> Refusal | Accepted:
        """The same, telling more."""
        began_s = self._clock.monotonic()
        outcome: tuple[Acceptance, Committed] | Refusal
        try:
            # It had room at MAIL; what is committed into a directory that has gone since is lost.
            away = not self._disk.room(began_s) and self._disk.sick
            outcome = DISK_SICK if away else await self._accepted(submission, flags, terms)
        except StoreAway:
            outcome = AWAY
        except Exception:  # noqa: BLE001  (whatever a message broke, its client is owed an answer)
            get("intake").exception("submission_broke", peer=submission.peer)
            outcome = AWAY
        if isinstance(outcome, Refusal):
            await self.note(
                submission.channel,
                submission.peer,
                (submission.account_id, submission.key_id),
                str(submission.mail_from or ""),
                outcome.reason,
                outcome.http_line if submission.channel == "http" else outcome.smtp_line,
                tuple(map(str, submission.rcpt_to)),
            )
            return outcome
        acceptance, committed = outcome
        if committed.repeat_of is None:
            self.accepted_messages += 1
            self.accepted_recipients += committed.recipients
        settled = await self._settled(committed, began_s)
        if settled.failed and not settled.sent and not settled.queued:
            self._told(submission.account_id, settled.message_id)
        return Accepted(
            settled,
            str(acceptance.envelope_from),
            acceptance.smtp_message_id,
            committed.key_taken,
        )

    async def notice(self, submission: Submission, notice_of: int) -> Refusal | None:
        """A notice of the relay's own about a message: judged and committed as all mail, not
        charged, not waited for. None: it is committed, or was before. Raises `StoreAway`."""
        outcome = await self._accepted(submission, Flags(), Terms(notice_of=notice_of))
        return outcome if isinstance(outcome, Refusal) else None

    def _told(self, account_id: int, message_id: int) -> None:
        """Who is answered that all failed needs no notice. Where this is lost there is one more."""
        with contextlib.suppress(StoreAway):
            account = self._store.directory().accounts.get(account_id)
            if account is not None and account.notify is not None:
                self._store.told(message_id)

    async def _settled(self, committed: Committed, began_s: float) -> Settled:
        left_s = max(self.inline_wait_s - (self._clock.monotonic() - began_s), 0.0)
        if self.inline_wait_s == 0 and committed.repeat_of is None:
            return Settled(committed.id, queued=committed.recipients, sent=0, failed=0)
        ident = committed.id if committed.repeat_of is None else committed.repeat_of
        try:
            return await self._store.settled(ident, left_s)
        except StoreAway:  # it is on disk and ours; only its state cannot be read now
            return Settled(ident, queued=max(committed.recipients, 1), sent=0, failed=0)

    def note(
        self,
        channel: str,
        peer: str,
        who: tuple[int | None, int | None],
        from_address: str,
        reason: Reason,
        answer: str,
        recipients: tuple[str, ...] = (),
    ) -> asyncio.Future[None]:
        """Adds to the log of refusals; `who`: account and key, as far as they are known, as are the
        recipients.

        Who answers when the future has ended is found in the log by whoever hears the answer.
        """
        self.refused[reason] += 1
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
            recipients,
        )
        return self._store.refuse(line)

    async def _accepted(
        self, submission: Submission, flags: Flags, terms: Terms
    ) -> tuple[Acceptance, Committed] | Refusal:
        now_ms = self._clock.wall_ms()
        stamp = Stamp(self._ids.make(self.steady.now_ms()), now_ms)
        for _ in range(JUDGEMENTS):
            directory = self._store.directory()
            if needs_body(submission, self.rules):
                verdict = await self._judged_with_body(submission, directory, stamp, flags)
            else:
                verdict = judge(submission, directory, self.rules, stamp, None, flags)
            if isinstance(verdict, Refusal):
                return verdict
            if terms is not PLAIN:
                verdict = msgspec.structs.replace(
                    verdict,
                    hold_until_ms=terms.hold_until_ms,
                    idempotency=terms.idempotency,
                    notice_of=terms.notice_of,
                )
            committed = await self._store.commit(verdict)
            if isinstance(committed, Refusal):
                return committed
            if isinstance(committed, Committed):
                return verdict, committed
        return RESTLESS

    async def _judged_with_body(
        self, submission: Submission, directory: Directory, stamp: Stamp, flags: Flags
    ) -> Acceptance | Refusal:
        rest = submission.content.rest
        assert isinstance(rest, SpoolPart)

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
