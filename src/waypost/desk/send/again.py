"""Sends a message again whose octets are kept: a new message, with a new id and charge.

The octets are those that went out, without the Received field of their first way through here, to
the same recipients. Knows nothing of who asks for it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import TimeoutError as Late

import msgspec

from waypost.core import ident
from waypost.core.address import parse as parse_address
from waypost.core.errors import AddressError, StoreAway, WaypostError, WrongState
from waypost.core.message import Submission
from waypost.core.verdict import Refusal, Settled
from waypost.desk.logs import found
from waypost.desk.office import Desk
from waypost.desk.view.message import BodyGone, everyone
from waypost.intake.accept import Door
from waypost.intake.anew import Kept, take_in
from waypost.intake.bounds import Memory
from waypost.intake.receive import Receiver
from waypost.policy.line_ends import Flags
from waypost.store.read.screens import message as parts
from waypost.store.spool import Spool

CHANNEL = "command"
WAIT_S = 310.0  # longer than the inline wait may be, which is 300 s at most
MOST_OCTETS = 64 << 20


class NotAccepted(WrongState):
    """The door refused it; nothing was charged."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.text)
        self.refusal = refusal


class Again(msgspec.Struct, frozen=True):
    """The door of this process, on its loop. `spool`: makes the files of large messages."""

    door: Door
    loop: asyncio.AbstractEventLoop
    spool: Callable[[], Spool]


def kept(desk: Desk, message: str, *, account: str | None) -> Kept:
    """What is to be sent again.

    Raises `NotFound`, `BodyGone`, and `WrongState` where an address of it is none any more.
    """
    with desk.reading() as look:
        row = found(look, message, account)
        body = parts.body(look, desk.data, row.id, MOST_OCTETS)
        to = everyone(look, row)
    if body is None or len(body.data) < body.octets:
        raise BodyGone
    try:
        recipients = tuple(parse_address(address) for address in to)
        sender = parse_address(row.from_address)
    except AddressError as error:
        raise WrongState(f"an address of it cannot be read any more: {error.public}") from error
    return Kept(row.account_id, body.data, sender, recipients)


def again(desk: Desk, through: Again | None, message: str, *, account: str | None) -> str:
    """The id of the new message. Call it in a thread.

    Raises `NotFound`, `BodyGone`, and `NotAccepted` with the door's refusal.
    """
    old = kept(desk, message, account=account)
    if through is None:
        raise WrongState("the relay is starting or stopping: try again in a moment")
    receiver = Receiver(through.spool(), Memory(MOST_OCTETS), through.door.rules.message_bytes)
    content = take_in(old.octets, receiver)
    accepted = False
    try:
        if isinstance(content, Refusal):
            raise NotAccepted(content)
        submission = Submission(
            channel=CHANNEL,
            account_id=old.account_id,
            key_id=None,
            peer="",
            helo="",
            tls=True,
            mail_from=old.sender,
            rcpt_to=old.to,
            content=content,
            again=True,
        )
        done = _submitted(through, submission, receiver.flags)
        accepted = not isinstance(done, Refusal)
    finally:
        if accepted:
            receiver.release()
        else:
            receiver.discard()
    if isinstance(done, Refusal):
        raise NotAccepted(done)
    with contextlib.suppress(StoreAway), desk.noting():  # a line of the audit trail, where one is
        pass
    return ident.show(done.message_id)


def _submitted(through: Again, submission: Submission, flags: Flags) -> Refusal | Settled:
    async def submit() -> Refusal | Settled:
        early = through.door.known_at_mail(submission.account_id, None)
        return early if early is not None else await through.door.submit(submission, flags)

    asked = asyncio.run_coroutine_threadsafe(submit(), through.loop)
    try:
        return asked.result(WAIT_S)
    except Late:
        raise WaypostError("the relay did not answer in time: look at the log") from None
