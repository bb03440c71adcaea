"""The log as people read it: messages, refusals and events, newest first, and one message whole.

`account` narrows to one account: another's message is `NotFound`. Changes nothing. Knows nothing of
delivery.
"""

from __future__ import annotations

from typing import TypedDict, Unpack

import msgspec

from waypost.core import ident
from waypost.core.address import sought
from waypost.core.errors import NotFound, UsageError
from waypost.core.lifecycle import State, Status
from waypost.core.upstream import UpstreamState
from waypost.desk.accounts import line as ledger_line
from waypost.desk.office import Desk, address_of, asker, limit_of
from waypost.desk.views import (
    AttemptView,
    EventView,
    MessageLine,
    MessageView,
    RecipientView,
    RefusalView,
    TranscriptView,
    iso,
    iso_or_none,
)
from waypost.store.read import log, people, waiting
from waypost.store.read.book import Look
from waypost.store.read.rows import (
    AttemptRow,
    EventRow,
    MessageRow,
    RefusalRow,
    SenderRow,
    WaitRow,
)

LIMIT = 100
ACCOUNT_DISABLED = "the account is disabled"
FREE_CONNECTION = "waiting for a free connection"
"""How many a list holds unless said."""


class Chosen(TypedDict, total=False):
    """Which messages to list; all that is said must hold.

    `after` and `before`: accepted from then on, before then (milliseconds since 1970). `cursor`:
    the id of the last one seen; what is older follows. `limit` 0: all, else the newest; 100.
    """

    account: str | None
    status: str | None
    sender: str | None
    to: str | None
    after: int | None
    before: int | None
    cursor: str | None
    limit: int


def list_(desk: Desk, **chosen: Unpack[Chosen]) -> list[MessageLine]:
    """Messages, newest first. Raises `NotFound`, `UsageError`."""
    status, sender, to = chosen.get("status"), chosen.get("sender"), chosen.get("to")
    after, before, cursor = chosen.get("after"), chosen.get("before"), chosen.get("cursor")
    if status is not None and status not in set(Status):
        raise UsageError(f"a status is one of {', '.join(Status)}", "status")
    below = None if before is None else ident.floor(before)
    if cursor is not None:
        seen = number_of(cursor, "cursor")
        below = seen if below is None else min(below, seen)
    with desk.reading() as look:
        wanted = log.Filter(
            account_id=asker(look, chosen.get("account")),
            status=status or "",
            sender="" if sender is None else address_of(sender, "from").key,
            to="" if to is None else address_of(to, "to").key,
            from_id=0 if after is None else ident.floor(after),
            below=below,
        )
        limit = limit_of(chosen.get("limit", LIMIT))
        return [_line(row) for row in log.messages(look, wanted, limit)]


def newer(desk: Desk, after: str | None, limit: int = 100) -> list[MessageLine]:
    """What was accepted after that message, oldest first; without one: the newest, oldest first."""
    with desk.reading() as look:
        if after is None:
            newest = log.messages(look, log.Filter(), limit_of(limit))
            return [_line(row) for row in newest[::-1]]
        behind = number_of(after, "after")
        return [_line(row) for row in log.newer(look, behind, limit_of(limit))]


def show(desk: Desk, message: str, *, account: str | None = None) -> MessageView:
    """One message with its recipients, every attempt, and its lines of the ledger."""
    with desk.reading() as look:
        return view(look, found(look, message, account))


def refusals(
    desk: Desk,
    *,
    account: str | None = None,
    to: str | None = None,
    cursor: int | None = None,
    limit: int = 100,
) -> list[RefusalView]:
    """Submissions that were refused, newest first; `cursor`: the id of the last one seen. `to`: an
    address, or part of one, that they were to or that their answer names.
    """
    with desk.reading() as look:
        wanted = sought(to or "")
        rows = log.refusals(look, asker(look, account), cursor, limit_of(limit), wanted)
        return [refusal_view(row) for row in rows]


def events(desk: Desk, *, after: int | None = None, limit: int = 100) -> list[EventView]:
    """With `after` (an id): what came behind it, oldest first. Without: newest first."""
    with desk.reading() as look:
        return [_event(row) for row in log.events(look, after, limit_of(limit))]


def number_of(text: str, field: str) -> int:
    """The number of an id as shown; `UsageError` where it is none."""
    number = ident.read(text)
    if number is None:
        raise UsageError("an id of a message is 16 lower-case hex digits", field)
    return number


def found(look: Look, message: str, account: str | None) -> MessageRow:
    """The message, or `NotFound`; so is what cannot be an id, and another account's."""
    number = ident.read(message)
    owner = asker(look, account)
    row = log.message(look, number, owner) if number is not None else None
    if row is None:
        raise NotFound("there is no message of that id")
    return row


def view(look: Look, row: MessageRow) -> MessageView:
    """A message whole."""
    tries = log.attempts(look, row.id)
    of_recipient: dict[int, list[AttemptView]] = {}
    for attempt in tries:
        for number, seen in _results(attempt):
            of_recipient.setdefault(number, []).append(seen)
    recipients = tuple(
        RecipientView(
            number=found.number,
            address=found.address,
            status=State(found.state).name.lower(),
            code=found.code,
            text=found.text,
            ended_at=iso_or_none(found.ended_at),
            attempts=tuple(of_recipient.get(found.number, ())),
        )
        for found in log.recipients(look, row.id)
    )
    wait = log.wait(look, row.id)
    sender = people.sender_by_id(look, row.sender_id)
    claimed = row.queued > 0 and wait is None
    flying = claimed and bool(waiting.on_wire(look, waiting.claimed(look, message_id=row.id)))
    reason, next_at = (FREE_CONNECTION if claimed and not flying else "", None)
    if wait is not None:
        reason, next_at = _waits(look, wait, sender)
    return MessageView(
        id=ident.show(row.id),
        status=row.status,
        account=row.account,
        sender=row.from_address,
        recipients=recipients,
        subject=row.subject,
        created_at=iso(ident.milliseconds(row.id)),
        ended_at=iso_or_none(row.ended_at),
        channel=row.channel,
        peer=row.peer,
        key=row.key_id,
        upstream=sender.upstream if sender else (tries[-1].upstream if tries else None),
        smtp_message_id=row.smtp_message_id,
        octets=row.octets,
        charged=row.charged,
        refunded=row.refunded,
        next_at=None if next_at is None else iso(next_at),
        reason=reason,
        on_wire=flying,
        body_kept=log.body_kept(look, row.id),
        transcripts=tuple(_transcript(attempt) for attempt in tries if attempt.transcript),
        ledger=tuple(ledger_line(entry) for entry in log.lines(look, row)),
    )


def _waits(look: Look, wait: WaitRow, sender: SenderRow | None) -> tuple[str, int | None]:
    """Why a message waits and until when (milliseconds; None: until somebody acts): of all that
    holds it back, what must end first."""
    account = people.account_by_id(look, wait.account_id)
    if account is not None and not account.enabled:
        return ACCOUNT_DISABLED, None
    upstream = None if sender is None else people.upstream_by_id(look, sender.upstream_id)
    if upstream is not None and upstream.state == UpstreamState.PAUSED:
        return upstream.reason, None
    if sender is not None and sender.held:
        return sender.held, None
    if upstream is not None and upstream.state == UpstreamState.FAILING:
        return upstream.reason, max(wait.due, upstream.probe_at)
    return wait.reason, wait.due


def _results(attempt: AttemptRow) -> list[tuple[int, AttemptView]]:
    results = msgspec.json.decode(attempt.results, type=list[tuple[int, int, int, str]])
    return [
        (
            number,
            AttemptView(
                at=iso(attempt.at),
                code=code,
                text=text,
                upstream=attempt.upstream,
                uncertain=attempt.uncertain,
            ),
        )
        for number, _, code, text in results
    ]


def _transcript(attempt: AttemptRow) -> TranscriptView:
    return TranscriptView(
        attempt=attempt.number,
        at=iso(attempt.at),
        upstream=attempt.upstream,
        transcript=attempt.transcript,
    )


def _line(row: MessageRow) -> MessageLine:
    return MessageLine(
        id=ident.show(row.id),
        status=row.status,
        account=row.account,
        sender=row.from_address,
        recipients=row.recipients,
        subject=row.subject,
        created_at=iso(ident.milliseconds(row.id)),
        channel=row.channel,
        octets=row.octets,
        charged=row.charged,
        refunded=row.refunded,
    )


def refusal_view(row: RefusalRow) -> RefusalView:
    return RefusalView(
        id=row.id,
        at=iso(row.at),
        channel=row.channel,
        peer=row.peer,
        account=row.account,
        key=row.key_id,
        key_name=row.key_name,
        sender=row.from_address,
        to=tuple(row.recipients.split("\n")) if row.recipients else (),
        reason=row.reason,
        answer=row.answer,
        count=row.count,
    )


def _event(row: EventRow) -> EventView:
    return EventView(
        id=row.id,
        at=iso(row.at),
        kind=row.kind,
        text=row.text,
        account=row.account,
        message=None if row.message_id is None else ident.show(row.message_id),
        upstream=row.upstream,
        sender=row.sender,
    )
