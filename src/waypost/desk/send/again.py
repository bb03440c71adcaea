"""Sends a message again whose octets are kept: a new message, with a new id and charge.

The octets are those that went out, without the Received field of their first way through here, to
the same recipients. Knows nothing of who asks for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import TimeoutError as Late

import msgspec

from waypost.core import ident
from waypost.core.address import parse as parse_address
from waypost.core.errors import AddressError, WaypostError, WrongState
from waypost.core.message import Submission
from waypost.core.verdict import Refusal, Settled
from waypost.desk.logs import found
from waypost.desk.office import Desk
from waypost.desk.view.message import SOURCE_OCTETS, BodyGone, everyone
from waypost.intake.accept import Door
from waypost.intake.bounds import Memory
from waypost.intake.receive import Receiver
from waypost.policy.line_ends import Flags
from waypost.store.read.screens import message as parts
from waypost.store.spool import Spool

CHANNEL = "command"
WAIT_S = 60.0  # longer than the inline wait may be
MOST_OCTETS = 64 << 20
RECEIVED = b"received:"


class NotAccepted(WrongState):
    """The door refused it; nothing was charged."""


class Again(msgspec.Struct, frozen=True):
    """The door of this process, on its loop. `spool`: makes the files of large messages."""

    door: Door
    loop: asyncio.AbstractEventLoop
    spool: Callable[[], Spool]


def again(desk: Desk, through: Again | None, message: str, *, account: str | None) -> str:
    """The id of the new message. Call it in a thread.

    Raises `NotFound`, `BodyGone`, and `NotAccepted` with the door's words.
    """
    with desk.reading() as look:
        row = found(look, message, account)
        body = parts.body(look, desk.data, row.id, MOST_OCTETS)
        to = everyone(look, row)
    if body is None or len(body.data) < body.octets:
        raise BodyGone
    if through is None:
        raise WrongState("the relay is starting or stopping: try again in a moment")
    try:
        recipients = tuple(parse_address(address) for address in to)
        sender = parse_address(row.from_address)
    except AddressError as error:
        raise WrongState(f"an address of it cannot be read any more: {error.public}") from error
    receiver = Receiver(through.spool(), Memory(MOST_OCTETS), through.door.rules.message_bytes)
    octets = without_first_received(body.data)
    for at in range(0, len(octets), SOURCE_OCTETS):
        receiver.feed(octets[at : at + SOURCE_OCTETS])
    content = receiver.finish()
    kept = False
    try:
        if isinstance(content, Refusal):
            raise NotAccepted(content.text)
        submission = Submission(
            channel=CHANNEL,
            account_id=row.account_id,
            key_id=None,
            peer="",
            helo="",
            tls=True,
            mail_from=sender,
            rcpt_to=recipients,
            content=content,
            envelope_only=True,  # the header may name some who were never this message's
        )
        done = _submitted(through, submission, receiver.flags)
        kept = not isinstance(done, Refusal)
    finally:
        if kept:
            receiver.release()
        else:
            receiver.discard()
    if isinstance(done, Refusal):
        raise NotAccepted(done.text)
    return ident.show(done.message_id)


def without_first_received(octets: bytes) -> bytes:
    """The octets without a Received field on top: ours, made when it came in the first time."""
    if octets[: len(RECEIVED)].lower() != RECEIVED:
        return octets
    end = octets.find(b"\r\n")
    while end >= 0 and octets[end + 2 : end + 3] in (b" ", b"\t"):
        end = octets.find(b"\r\n", end + 2)
    return octets[end + 2 :] if end >= 0 else octets


def _submitted(through: Again, submission: Submission, flags: Flags) -> Refusal | Settled:
    async def submit() -> Refusal | Settled:
        early = through.door.known_at_mail(submission.account_id, None)
        return early if early is not None else await through.door.submit(submission, flags)

    asked = asyncio.run_coroutine_threadsafe(submit(), through.loop)
    try:
        return asked.result(WAIT_S)
    except Late:
        raise WaypostError("the relay did not answer in time: look at the log") from None
