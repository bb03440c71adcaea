"""Sending over HTTP: one message, several, or one that is written already.

Promises the same door, charge and limits as SMTP; that what is large is worked on one at a time, in
a thread; that a call's answer tells what was committed. Knows nothing of routes and headers.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import datetime

import msgspec

from waypost.clock import Clock
from waypost.core.address import Address
from waypost.core.address import parse as parse_address
from waypost.core.errors import AddressError, NonAsciiLocalPart
from waypost.core.message import Content, Idempotency, Submission
from waypost.core.reply import printable
from waypost.core.verdict import Reason, Refusal
from waypost.intake.accept import PLAIN, Accepted, Door, Terms
from waypost.intake.anew import Kept, take_in
from waypost.intake.bounds import Memory
from waypost.intake.http import answer, draft
from waypost.intake.http.body import Body
from waypost.intake.http.compose import compose
from waypost.intake.http.draft import Refused, wrong
from waypost.intake.http.gate import Caller
from waypost.intake.http.letter import letter
from waypost.intake.http.once import Call, Reply, under_way
from waypost.intake.receive import Receiver
from waypost.policy import header, recipients
from waypost.policy.grammar import mailbox_list
from waypost.policy.line_ends import Flags
from waypost.store.contract import RelayStore
from waypost.store.idempotency import Remembered, Stood
from waypost.store.spool import Spool
from waypost.web import Failure

SEND_AT_MS = 30 * 86_400_000  # section 8 of the contract
MARK_CHARACTERS = 16
MARK_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
ADDRESS_OCTETS = 320  # RFC 3696 3 (erratum); of one that was refused, for the log
NAMED_MOST = 100  # of whom a refused call was to
NAMED_CHARACTERS = 4 * ADDRESS_OCTETS  # that are read for it: a name may stand before an address
PLENTY_OCTETS = 1 << 30  # a thread does not share the loop's count of memory

_FIELDS = {
    Reason.SENDER: "from",
    Reason.ADDRESS: "to",
    Reason.NOT_ASCII: "to",
    Reason.RECIPIENTS: "to",
}


class Made(msgspec.Struct):
    """A message that is ready for the door. `receiver` holds what must be let go of."""

    content: Content
    flags: Flags
    mail_from: Address | None
    everyone: tuple[Address, ...]
    hold_until_ms: int
    receiver: Receiver
    again: bool = False


class Envelope(msgspec.Struct, frozen=True):
    """What is said beside a raw message. `sender` None: as its From says."""

    to: tuple[str, ...]
    sender: str | None


class Sending:
    """Makes submissions and takes them to the door."""

    def __init__(
        self,
        door: Door,
        store: RelayStore,
        clock: Clock,
        spool: Callable[[str], Spool],
        memory: Memory,
    ) -> None:
        self._door = door
        self._store = store
        self._clock = clock
        self._memory = memory
        self.spool = spool  # files of whoever else submits here, by letters of its own
        self._spool = spool("h")
        self._thread_spool = spool("t")
        self._thread = asyncio.Semaphore(1)  # what it does holds the interpreter: two gain nothing

    async def one(self, caller: Caller, body: Body, call: Call | None) -> Reply:
        """`POST /api/v1/email/send`. Raises `Failure`, `Refused`."""
        made = await self._worked(body, lambda room: self._composed(caller, body.whole(), room))
        status, told = await self._sent(caller, made, call, 0)
        return Reply(status, answer.good(told))

    async def raw(self, caller: Caller, body: Body, envelope: Envelope, call: Call | None) -> Reply:
        """`POST /api/v1/email/raw`: the octets as SMTP would take them."""
        made = await self._worked(body, lambda room: self._read(body.whole(), envelope, room))
        status, told = await self._sent(caller, made, call, 0)
        return Reply(status, answer.good(told))

    async def batch(self, caller: Caller, body: Body, call: Call | None) -> Reply:
        """`POST /api/v1/email/batch`: all are handed over at once, and committed together."""

        def make(room: Memory | None) -> list[Made | Refused]:
            items = draft.messages(draft.read(body.whole(), draft.BATCH))
            return [self._composed_or_not(caller, item, room) for item in items]

        made = await self._worked(body, make)
        outcomes = await asyncio.gather(
            *(self._place(caller, item, call, number) for number, item in enumerate(made))
        )
        return Reply(200, answer.good(outcomes))

    async def anew(self, caller: Caller, kept: Callable[[], Kept], call: Call | None) -> Reply:
        """A message of the log once more. `kept` is asked in a thread; what it raises, and
        `Failure`, `Refused`.
        """

        def make() -> Made:
            old = kept()
            receiver = self._receiver(Memory(PLENTY_OCTETS))
            content = _finished(take_in(old.octets, receiver))
            return Made(content, receiver.flags, old.sender, old.to, 0, receiver, again=True)

        async with self._thread:
            made = await asyncio.to_thread(make)
        status, told = await self._sent(caller, made, call, 0)
        return Reply(status, answer.good(told))

    async def again(self, found: Remembered, _body: Body) -> Reply | None:
        """What became of the message of a call whose answer was lost; None: it was refused."""
        stood = found.messages.get(0)
        if stood is None:
            return None
        try:
            status, told = await self._now(stood)
        except Failure:
            return None
        return Reply(status, answer.good(told))

    async def batch_again(self, found: Remembered, body: Body) -> Reply | None:
        """The same of a batch: what has no message was not accepted."""
        if not found.messages:
            return None

        def count(_room: Memory | None) -> int:
            return len(draft.messages(draft.read(body.whole(), draft.BATCH)))

        asked = await self._worked(body, count)  # the body is that of the first call
        outcomes = []
        lost = Failure(503, "UNAVAILABLE", "This message was not accepted: send it again")
        for number in range(asked):
            stood = found.messages.get(number)
            try:
                if stood is None:
                    raise lost
                status, told = await self._now(stood)
                outcomes.append(answer.of_one(told, status))
            except Failure as failure:
                outcomes.append(answer.of_one(failure, failure.status))
        return Reply(200, answer.good(outcomes))

    async def note(self, caller: Caller, refused: Refused) -> None:
        """Adds a refusal that was made here to the log of them."""
        who = (caller.account_id, caller.key.id)
        sender = next(iter(_named(refused.sender)), "")
        to = tuple(name for text in refused.to[:NAMED_MOST] for name in _named(text))[:NAMED_MOST]
        found = refused.refusal
        await self._door.note("http", caller.peer, who, sender, found.reason, found.http_line, to)

    # Within.

    async def _worked(self, body: Body, make: Callable[[Memory | None], draft.T]) -> draft.T:
        """What `make` makes: at once where it is small, else in a thread, one at a time."""
        try:
            if not body.large:
                return make(None)
            async with self._thread:
                return await asyncio.to_thread(make, Memory(PLENTY_OCTETS))
        finally:
            body.close()  # not held while the outcome is waited for

    def _composed_or_not(
        self, caller: Caller, octets: msgspec.Raw, room: Memory | None
    ) -> Made | Refused:
        try:
            return self._composed(caller, octets, room)
        except Refused as refused:
            return refused

    def _composed(self, caller: Caller, octets: bytes | msgspec.Raw, room: Memory | None) -> Made:
        said = draft.read(octets, draft.DRAFT)
        try:
            hold_until_ms = self._hold_until(said.send_at)
            directory, rules = self._store.directory(), self._door.rules
            written = letter(said, caller.account_id, directory, rules.body_bytes)
        except Refused as refused:
            refused.sender, refused.to = said.sender or "", draft.everyone(said)
            raise
        mark = self._clock.token(MARK_ALPHABET, MARK_CHARACTERS)
        receiver = self._receiver(room)
        for piece in compose(written, mark):
            receiver.feed(piece)
        content = _finished(receiver.finish())
        return Made(
            content, receiver.flags, written.sender, written.everyone, hold_until_ms, receiver
        )

    def _read(self, octets: bytes, envelope: Envelope, room: Memory | None) -> Made:
        receiver = self._receiver(room)
        receiver.feed(octets)
        content = _finished(receiver.finish())
        try:
            to = tuple(_address(text, "envelope-to") for text in envelope.to)
            sender = _address(envelope.sender, "envelope-from") if envelope.sender else None
        except Refused as refused:
            receiver.discard()
            refused.sender, refused.to = envelope.sender or "", tuple(envelope.to)
            raise
        made = Made(content, receiver.flags, sender, to, 0, receiver)
        return _from_header(made, self._door.rules.recipients, envelope)

    def _receiver(self, room: Memory | None) -> Receiver:
        limit = self._door.rules.message_bytes
        if room is None:
            return Receiver(self._spool, self._memory, limit)
        return Receiver(self._thread_spool, room, limit)

    async def _place(
        self, caller: Caller, made: Made | Refused, call: Call | None, number: int
    ) -> dict[str, object]:
        """One message's place in the answer to a batch."""
        try:
            if isinstance(made, Refused):
                await self.note(caller, made)
                raise answer.failure(made)
            status, told = await self._sent(caller, made, call, number)
        except Failure as failure:
            return answer.of_one(failure, failure.status)
        return answer.of_one(told, status)

    async def _sent(
        self, caller: Caller, made: Made, call: Call | None, number: int
    ) -> tuple[int, answer.Sent]:
        key = Idempotency(call.digest, call.body, number) if call is not None else None
        submission = Submission(
            channel="http",
            account_id=caller.account_id,
            key_id=caller.key.id,
            peer=caller.peer,
            helo="",
            tls=caller.tls,
            mail_from=made.mail_from,
            rcpt_to=made.everyone,
            content=made.content,
            again=made.again,
        )
        done: Accepted | Refusal | None = None
        try:
            terms = Terms(made.hold_until_ms, key) if made.hold_until_ms or key else PLAIN
            done = await self._door.accept(submission, made.flags, terms)
        finally:
            if isinstance(done, Accepted):
                made.receiver.release()
            else:
                made.receiver.discard()
        if isinstance(done, Refusal):
            raise answer.failure(Refused(done, _FIELDS.get(done.reason, "")))
        if done.key_taken:
            raise under_way()
        return answer.sent(done)

    async def _now(self, stood: Stood) -> tuple[int, answer.Sent]:
        settled = await self._store.settled(stood.id, 0)
        return answer.sent(Accepted(settled, stood.sender, stood.smtp_message_id, False))

    def _hold_until(self, send_at: str | None) -> int:
        """Milliseconds since 1970, 0 for now; a time that has passed is now."""
        if not send_at:
            return 0
        try:
            read = datetime.fromisoformat(send_at)
        except ValueError:
            read = None
        if read is None or read.tzinfo is None:
            raise wrong(
                "sendAt is no time with an offset: write it as 2030-01-31T08:00:00+01:00", "sendAt"
            )
        at_ms, now_ms = int(read.timestamp() * 1000), self._clock.wall_ms()
        if at_ms - now_ms > SEND_AT_MS:
            raise wrong("sendAt is more than 30 days from now: choose an earlier time", "sendAt")
        return at_ms if at_ms > now_ms else 0


def _finished(content: Content | Refusal) -> Content:
    if isinstance(content, Refusal):
        raise Refused(content)
    return content


def _address(text: str, field: str) -> Address:
    try:
        return parse_address(text)
    except NonAsciiLocalPart as error:
        raise wrong(f"{field}: {error.public}", field, Reason.NOT_ASCII) from None
    except AddressError as error:
        raise wrong(f"{field}: {error.public}: correct it", field, Reason.ADDRESS) from None


def _named(text: str) -> tuple[str, ...]:
    """The addresses in it, as the log of refusals names them; as it was written, if none is."""
    if len(text) <= NAMED_CHARACTERS:
        with contextlib.suppress(AddressError):
            return tuple(str(found.address) for found in mailbox_list(text))
    return (printable(text, ADDRESS_OCTETS),)


def _from_header(made: Made, limit: int, envelope: Envelope) -> Made:
    """What the envelope does not say is read from the header; what cannot be is the door's to
    refuse.
    """
    fields = header.scan(made.content.head)
    if isinstance(fields, Refusal):
        return made
    if envelope.sender is None:
        for value in fields.named(b"from"):
            try:
                made.mail_from = mailbox_list(header.unfolded(value))[0].address
            except AddressError:
                break
    if not made.everyone:
        bare = Submission("http", 0, None, "", "", False, None, (), made.content)
        found = recipients.find(fields, bare, False, limit)
        if not isinstance(found, Refusal):
            made.everyone = tuple(addressee.address for addressee in found)
    return made
