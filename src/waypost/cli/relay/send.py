"""`waypost send`: one message through the door, from the command line.

Promises the same judgement, charge and commit as any other way in; a running relay delivers it.
Knows nothing of SMTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.message
import email.policy
import hashlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import click
import msgspec

from waypost import app
from waypost.cli import out
from waypost.cli.base import Call, Command, pass_call
from waypost.clock import Clock, SystemClock
from waypost.config import Config
from waypost.core import ident
from waypost.core.address import Address
from waypost.core.address import parse as parse_address
from waypost.core.errors import AddressError, UsageError, WaypostError
from waypost.core.message import Content, Submission
from waypost.core.verdict import Refusal
from waypost.desk import accounts, logs
from waypost.desk.office import Desk
from waypost.desk.send import again
from waypost.desk.views import MessageView
from waypost.intake.accept import Door
from waypost.policy.header import split
from waypost.policy.line_ends import Flags, Mender
from waypost.store.connect import Paths
from waypost.store.locks import held
from waypost.store.spool import Spool
from waypost.store.sqlite.engine import Engine

LOOK_S = 0.05  # between looks at the log while the relay works on it


class Draft(msgspec.Struct, frozen=True):
    """What the command line said. `file` None: made of the rest; `-` is standard input."""

    account: str
    to: tuple[str, ...]
    sender: str | None = None
    subject: str = ""
    text: str = ""
    file: str | None = None


class Refused(WaypostError):
    """The door said no."""


@click.command(cls=Command)
@click.option("--account", required=True, metavar="NAME", help="Who sends and pays.")
@click.option(
    "--to", required=True, multiple=True, metavar="A", help="A recipient; may be said again."
)
@click.option("--from", "sender", metavar="A", help="The sender; else the account's default.")
@click.option("--subject", default="", metavar="S")
@click.option("--text", default="", metavar="T")
@click.argument("file", required=False, metavar="[FILE]")
@pass_call
def send(call: Call, /, **said: Any) -> int:
    """Send one message through the door; FILE is a whole message, - standard input."""
    draft = Draft(**said)
    octets = _octets(draft)  # as whoever calls: the data directory's owner may not read the file
    view = submitted(call.config, call.desk(), draft, octets)
    call.thing(view)
    return code_of(view)


def code_of(view: MessageView) -> int:
    """What a command that sent this ends with; says so where it was refused for good."""
    if view.status != "failed":
        return 0
    refused = next(found for found in view.recipients if found.status == "failed")
    words = f"{refused.code or ''} {refused.text}".strip()
    out.note(f"waypost: refused for good, and refunded: {words}")
    return 1


def submitted(config: Config, desk: Desk, draft: Draft, octets: bytes) -> MessageView:
    """Submits, waits up to `inline_wait` for the relay, and gives the log entry.

    Raises `Refused`, `UsageError`, `NotFound` and `StoreAway`. Without a relay the message stays
    queued and a warning goes to standard error.
    """
    account = accounts.show(desk, draft.account)
    recipients = tuple(_address(text, "to") for text in draft.to)
    mail_from = _address(draft.sender, "from") if draft.sender else None
    message_id = asyncio.run(_submit(config, account.name, mail_from, recipients, octets))
    return _told(config, desk, message_id)


def resubmitted(config: Config, desk: Desk, message: str, account: str | None) -> MessageView:
    """The same for a message of the log, sent again.

    Raises `NotFound`, `BodyGone` and `NotAccepted` too.
    """
    logs.show(desk, message, account=account)  # a wrong id is told before anything is opened
    return _told(config, desk, asyncio.run(_again(config, desk, message, account)))


def _told(config: Config, desk: Desk, message_id: str) -> MessageView:
    if not held(Paths(config.data).lock("serve")):
        out.warn("no relay is running on this data directory: the message is queued")
        return logs.show(desk, message_id)
    return asyncio.run(_watched(desk, message_id, config.inline_wait_s, SystemClock()))


def _octets(draft: Draft) -> bytes:
    if draft.file is not None:
        if draft.subject or draft.text:
            raise UsageError("a FILE is a whole message: leave --subject and --text out", "FILE")
        try:
            return sys.stdin.buffer.read() if draft.file == "-" else Path(draft.file).read_bytes()
        except OSError as error:
            raise UsageError(f"{draft.file} cannot be read: {error.strerror}", "FILE") from error
    message = email.message.EmailMessage(email.policy.SMTP)
    try:
        if draft.sender:
            message["From"] = draft.sender
        message["To"] = ", ".join(draft.to)
        message["Subject"] = draft.subject
    except ValueError as error:
        raise UsageError("a header field holds a line end or cannot be written") from error
    message.set_content(draft.text or "\n")
    return message.as_bytes()


def _address(text: str, field: str) -> Address:
    try:
        return parse_address(text)
    except AddressError as error:
        raise UsageError(error.public, field) from error


async def _submit(
    config: Config,
    account: str,
    mail_from: Address | None,
    recipients: tuple[Address, ...],
    octets: bytes,
) -> str:
    content, flags = _content(octets)
    async with _opened(config) as (engine, door):
        known = engine.directory().accounts.values()
        account_id = next(found.id for found in known if found.name == account)
        submission = Submission(
            "command", account_id, None, "", "", False, mail_from, recipients, content
        )
        if (early := door.known_at_mail(account_id, None)) is not None:
            raise Refused(early.text)
        answer = await door.submit(submission, flags)
        if isinstance(answer, Refusal):
            raise Refused(answer.text)
        return ident.show(answer.message_id)


async def _again(config: Config, desk: Desk, message: str, account: str | None) -> str:
    async with _opened(config) as (engine, door):
        spool = Spool(config.data, engine.worker)
        through = again.Again(door, asyncio.get_running_loop(), lambda: spool)
        return await asyncio.to_thread(again.again, desk, through, message, account=account)


@contextlib.asynccontextmanager
async def _opened(config: Config) -> AsyncIterator[tuple[Engine, Door]]:
    """The store and a door of this process, which waits for nobody."""
    clock = SystemClock()
    engine = app.open_engine(config, clock, None, serving=False)
    try:
        now = msgspec.structs.replace(config, inline_wait_s=0.0)
        yield engine, app.make_door(now, clock, engine)
    finally:
        await engine.close()


def _content(octets: bytes) -> tuple[Content, Flags]:
    mender = Mender()
    mended = mender.feed(octets) + mender.finish()
    head, rest = split(mended)
    flags = mender.flags
    if flags.bare:
        # A file of this system's: its line ends are meant, whatever listeners do with such mail.
        flags = Flags(bare=False, nul=flags.nul, eight_bit=flags.eight_bit)
    digest = hashlib.sha256(octets).digest()
    return Content(head, rest, len(octets), digest, flags.eight_bit), flags


async def _watched(desk: Desk, message_id: str, wait_s: float, clock: Clock) -> MessageView:
    until = clock.monotonic() + wait_s
    while True:
        view = logs.show(desk, message_id)
        tried = any(recipient.attempts for recipient in view.recipients)
        if view.status != "queued" or tried or clock.monotonic() >= until:
            return view
        await asyncio.sleep(LOOK_S)
