"""One try of one message over one connection: its transactions, and each recipient's outcome.

Promises a result for every recipient, whatever the upstream does: what was answered stands, the
rest is queued. Knows nothing of which message is next, of health, or of the store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path

from waypost.core.address import Address
from waypost.core.errors import BodyLost, StoreAway
from waypost.core.lifecycle import State
from waypost.core.message import Attempt, Parcel, Result, SpoolPart
from waypost.core.reply import Reply, Stage, printable
from waypost.core.upstream import Upstream
from waypost.store import spool
from waypost.transport import schedule, trouble
from waypost.transport.link.stream import Stream
from waypost.transport.trouble import Lost, Stopped, Trouble
from waypost.wire.errors import CannotCarry, ProtocolError
from waypost.wire.events import MessageDone, WantData

_CHUNK_OCTETS = 65_536
_CODES = {"5.3.4": 552}  # RFC 3463 3.4; any other ability that lacks is 554
_BODY_LOST = 554
_UNCERTAIN = "uncertain: the connection was lost after the message, it may have arrived"

Group = tuple[tuple[int, Address], ...]


class Outcome:
    """What one try came to. `trouble`: that of the upstream or the sender, else None.

    `stale`: a kept connection failed before anything of the message was answered, nothing counts.
    `lost`: a 421 or a lost connection cut it short. `accepted`: the upstream took it for somebody.
    `sent`: for everybody, once there are results.
    """

    def __init__(self) -> None:
        self.results: list[Result] = []
        self.trouble: Trouble | None = None
        self.stale = False
        self.lost: Trouble | None = None
        self.accepted = False
        self.sent = True
        self.uncertain = False
        self.stopped = False
        self.damaged = False  # the body is lost: that is nobody's fault but ours
        self.reason = ""
        self.transcript = ""


class Try:
    """The deed: `run` once. `stopping` is asked before each further transaction."""

    def __init__(
        self,
        stream: Stream,
        parcel: Parcel,
        upstream: Upstream,
        data: Path,
        stopping: Callable[[], bool],
    ) -> None:
        self._stream = stream
        self._parcel = parcel
        self._limit = upstream.limits.recipients or len(parcel.recipients)
        self._data = data
        self._stopping = stopping
        self._kept = stream.carried > 0
        self._from = None if parcel.notice else parcel.envelope_from
        self._out = Outcome()
        self._transcripts: list[str] = []

    async def run(self) -> Outcome:
        """Never raises for what the upstream did; raises `StoreAway` where the body cannot be read
        now."""
        left: Group = self._parcel.recipients
        rest = self._parcel.rest
        if isinstance(rest, SpoolPart):
            # Before the upstream is asked: half a message costs the connection.
            loop = asyncio.get_running_loop()
            try:
                await loop.run_in_executor(None, spool.check, self._data, rest)
            except BodyLost as error:
                self._lose(left, error)
                return self._out
        first = True
        while left:
            if not first and self._stopping():
                self._out.stopped = True
                self._queue(left, 0, "the relay stopped")
                break
            group, left = left[: self._limit], left[self._limit :]
            try:
                left = await self._transaction(group, left, first)
            except BodyLost as error:
                self._lose((*group, *left), error)
                break
            except (OSError, StoreAway):
                if not self._out.results:
                    raise
                # What earlier transactions came to stands: nobody is sent a second copy.
                self._stream.fail(Lost(Stage.DATA, "trouble of our own"))
                self._out.stopped = True
                self._queue((*group, *left), 0, "temporary trouble")
                break
            if self._out.stale:
                break
            first = False
        self._stream.carried += 1
        if not self._out.sent:
            self._out.transcript = "".join(self._transcripts)[: 4 * 1024]
        return self._out

    async def _transaction(self, group: Group, left: Group, first: bool) -> Group:
        """Does one; gives the recipients that are for the next."""
        session = self._stream.session
        lost: Lost | None = None
        done: MessageDone | None
        try:
            done = await self._exchange(group)
        except CannotCarry as error:
            code = _CODES.get(error.enhanced, 554)
            self._end((*group, *left), State.FAILED, code, f"{error.enhanced} {error.public}")
            return ()
        except Lost as error:
            lost = error
            done = session.partial()
        except ProtocolError as error:
            lost = Lost(error.stage, error.public)
            self._stream.fail(lost)
            done = session.partial()
        taken = done.taken if done is not None else None
        if taken is not None and (not left or self._stream.usable):
            self._out.accepted = True
            self._end(group, State.SENT, taken.code, printable(taken.text))
            return left
        if first and self._kept and _nothing_begun(done, lost):
            self._out.stale = True
            return left
        if done is None:
            done = MessageDone(None, [None] * len(group), None, None)
        self._transcripts.append(session.transcript.text())
        if self._null_refused(done):
            # Behaviour, section 3: `<>` towards an upstream that allows it, else its own address.
            self._from = self._parcel.envelope_from
            return (*group, *left)
        return self._judge(done, group, left, lost)

    def _null_refused(self, done: MessageDone) -> bool:
        refused = done.mail is not None and done.mail.permanent
        return self._from is None and refused and self._stream.usable

    async def _exchange(self, group: Group) -> MessageDone:
        parcel, stream = self._parcel, self._stream
        body = None if isinstance(parcel.rest, SpoolPart) else (parcel.head, parcel.rest)
        stream.session.send(
            self._from,
            [address for _, address in group],
            parcel.octets,
            parcel.eight_bit,
            body,
        )
        stream.flush()
        event = await stream.event()
        if body is None and isinstance(event, WantData):
            await self._pour(parcel)
            event = await stream.event()
        if isinstance(event, MessageDone):
            return event
        error = Lost(stream.session.stage, "the upstream spoke out of turn")
        stream.fail(error)
        raise error

    async def _pour(self, parcel: Parcel) -> None:
        """The octets of a large message, as fast as the upstream takes them."""
        stream = self._stream
        assert isinstance(parcel.rest, SpoolPart)
        chunks = spool.chunks(self._data, parcel.rest, _CHUNK_OCTETS)
        loop = asyncio.get_running_loop()
        stream.session.write_data(parcel.head)
        try:
            # A thread reads, since a slow disk must not stop the loop.
            while chunk := await loop.run_in_executor(None, next, chunks, b""):
                if stream.pending:
                    return  # it was answered before its end
                stream.session.write_data(chunk)
                stream.flush()
                await stream.drain()
        except Lost:
            if not stream.pending:
                raise
            return
        except (OSError, StoreAway):
            # Half a message must not be ended with a dot: only the connection's end says so.
            stream.fail(Stopped(Stage.DATA, "the body cannot be read"))
            raise
        if not stream.pending:
            stream.session.end_data()
            stream.flush()

    def _judge(self, done: MessageDone, group: Group, left: Group, lost: Lost | None) -> Group:
        """Writes the results of one transaction down; gives what the next one is for."""
        rest = (*group, *left)
        if done.mail is None or not done.mail.good:
            self._failed(rest, self._meaning(Stage.MAIL, done.mail, lost), done.mail)
            return ()
        late = {group[index] for index in done.postponed}
        accepted: list[tuple[int, Address]] = []
        cut: list[tuple[int, Address]] = []
        for entry, reply in zip(group, done.rcpts, strict=True):
            if entry in late:
                continue
            if reply is None:
                cut.append(entry)
            elif reply.good:
                accepted.append(entry)
            else:
                self._failed((entry,), self._meaning(Stage.RCPT, reply, lost), reply)
        onward = (*(entry for entry in group if entry in late), *left)
        if accepted and self._ended(done, tuple(accepted), lost):
            self._out.accepted = True
        elif accepted:
            last = done.final or done.data
            state, code, text = self._last_words()
            self._end(onward, state, code, text)
            self._end(tuple(cut), State.QUEUED, last.code if last else 0, text)
            return ()
        if cut or lost is not None or not self._stream.usable:
            known = self._meaning(Stage.RCPT, None, lost)
            self._failed((*cut, *onward), known, None)
            return ()
        if self._out.trouble is not None:
            self._failed(onward, self._out.trouble, None)
            return ()
        return onward

    def _ended(self, done: MessageDone, accepted: Group, lost: Lost | None) -> bool:
        """The results of those whom RCPT accepted; whether the message was taken."""
        final = done.final
        if final is not None and final.good:
            self._end(accepted, State.SENT, final.code, printable(final.text))
            return True
        if final is not None:
            self._failed(accepted, self._meaning(Stage.DOT, final, lost), final)
        elif done.dot_sent:
            self._out.uncertain = True
            self._failed(accepted, self._meaning(Stage.DOT, None, lost), None)
        else:
            refused = done.data if done.data is not None and done.data.code != 354 else None
            self._failed(accepted, self._meaning(Stage.DATA, refused, lost), refused)
        return False

    def _meaning(self, stage: Stage, reply: Reply | None, lost: Lost | None) -> Trouble:
        if reply is not None:
            known = trouble.of_reply(stage, reply)
        else:
            cause = lost or Lost(stage, "the upstream ended the session")
            known = trouble.of_exception(stage, Lost(stage, cause.public))
            if isinstance(lost, Stopped):
                self._out.stopped = True
        if known.closing and not self._out.stopped:
            self._out.lost = known
        return known

    def _failed(self, entries: Group, known: Trouble, reply: Reply | None) -> None:
        """Recipients that were not taken, for one reason."""
        if known.upstream or known.scope is trouble.Scope.SENDER_HELD:
            self._out.trouble = self._out.trouble or known
        self._out.reason = known.reason
        text = printable(reply.text) if reply is not None else known.reason
        state = State.FAILED if known.permanent else State.QUEUED
        self._end(entries, state, reply.code if reply is not None else 0, text)

    def _lose(self, entries: Group, error: BodyLost) -> None:
        self._out.damaged = True
        self._end(entries, State.FAILED, _BODY_LOST, error.public)

    def _queue(self, entries: Group, code: int, text: str) -> None:
        self._end(entries, State.QUEUED, code, text)

    def _end(self, entries: Group, state: State, code: int, text: str) -> None:
        for number, _ in entries:
            self._out.results.append(Result(number, state, code, text))
            self._out.sent = self._out.sent and state is State.SENT

    def _last_words(self) -> tuple[State, int, str]:
        last = self._out.results[-1]
        return last.state, last.code, last.text


def _nothing_begun(done: MessageDone | None, lost: Lost | None) -> bool:
    """Whether the first MAIL failed because the connection was no longer good."""
    if isinstance(lost, Stopped):
        return False
    if done is None or done.mail is None:
        return True
    return done.mail.code == 421


def _in_order(results: list[Result]) -> tuple[Result, ...]:
    return tuple(sorted(results, key=attrgetter("number")))


def report(
    parcel: Parcel,
    upstream: Upstream,
    outcome: Outcome,
    rules: schedule.QueueRules,
    when: tuple[int, float, int, int],
) -> Attempt:
    """The attempt as it is recorded. `when`: now, chance, when a try that does not count is due,
    when the upstream is probed (0: it is well).
    """
    now_ms, chance, uncounted_due_ms, probe_ms = when
    if outcome.sent:
        return Attempt(parcel, now_ms, upstream.id, upstream.name, _in_order(outcome.results))
    counted = (outcome.trouble is None and not outcome.stopped) or outcome.uncertain
    queued = any(result.state is State.QUEUED for result in outcome.results)
    held_ms = max(0, now_ms - parcel.due_ms) if parcel.first_try_ms else 0
    results = outcome.results
    ended = _ended_by_time(parcel, outcome, rules, now_ms, held_ms) if queued else ""
    if ended and (counted or overdue(parcel, rules, now_ms)):
        results = [_given_up(result, ended) for result in results]
        queued = False
    next_ms = uncounted_due_ms
    if counted:
        next_ms = schedule.next_due_ms(
            rules, parcel.accepted_ms, parcel.tries + 1, now_ms, chance, outcome.uncertain
        )
        if not outcome.uncertain:
            # The last try is when trying ends, not a whole wait behind that.
            held = parcel.held_ms + held_ms
            last_ms = schedule.last_try_ms(rules, parcel.first_try_ms, held, now_ms)
            next_ms = max(now_ms, min(next_ms, last_ms))
    return Attempt(
        parcel=parcel,
        at_ms=now_ms,
        upstream_id=upstream.id,
        upstream_name=upstream.name,
        results=_in_order(results),
        next_ms=next_ms if queued else 0,
        reason=outcome.reason if queued else "",
        counted=counted,
        uncertain=outcome.uncertain,
        held_ms=held_ms,
        transcript=outcome.transcript,
        damaged=outcome.damaged,
        probe_ms=probe_ms,
    )


def overdue(parcel: Parcel, rules: schedule.QueueRules, now_ms: int) -> bool:
    """Whether it has been queued for as long as any message may be."""
    return schedule.overdue(rules, parcel.accepted_ms, now_ms)


def expired(parcel: Parcel, upstream: Upstream, now_ms: int) -> Attempt:
    """The record of a message that was queued for as long as any may be."""
    text = "not sent: it was queued for too long"
    results = tuple(Result(number, State.FAILED, 0, text) for number, _ in parcel.recipients)
    return Attempt(parcel, now_ms, upstream.id, upstream.name, results, counted=False)


def _ended_by_time(
    parcel: Parcel, outcome: Outcome, rules: schedule.QueueRules, now_ms: int, held_ms: int
) -> str:
    """Why those still queued end now, or an empty text."""
    if outcome.uncertain and parcel.uncertain_row + 1 >= schedule.UNCERTAIN_ROW:
        return _UNCERTAIN
    if overdue(parcel, rules, now_ms):
        return "queued for too long"
    if schedule.gave_up(rules, parcel.first_try_ms, parcel.held_ms + held_ms, now_ms):
        return "tried for too long"
    return ""


def _given_up(result: Result, why: str) -> Result:
    if result.state is not State.QUEUED:
        return result
    text = why if why is _UNCERTAIN else printable(f"{why}: {result.text}")
    return Result(result.number, State.FAILED, result.code, text)
