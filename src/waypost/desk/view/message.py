"""One message as a story: what happened when, in whose words, what it means and what to do.

Every part has a bound. `account` narrows to one account: another's message is `NotFound`. Knows
nothing of HTML.
"""

from __future__ import annotations

import msgspec

from waypost.core import ident
from waypost.core.errors import WrongState
from waypost.core.lifecycle import State
from waypost.desk.accounts import line as ledger_line
from waypost.desk.logs import FREE_CONNECTION, found
from waypost.desk.office import Desk
from waypost.desk.views import LedgerView, View, iso, iso_or_none
from waypost.policy import preview
from waypost.store.read import log, people, waiting
from waypost.store.read.book import Look
from waypost.store.read.rows import AttemptRow, MessageRow, RecipientRow
from waypost.store.read.screens import message as parts
from waypost.upstream.sentences import explain

HEAD_OCTETS = 65_536
SOURCE_OCTETS = 262_144
PREVIEW_OCTETS = 4 << 20
REPLIES_MOST = 8


class BodyGone(WrongState):
    """The message's octets are no longer kept."""

    def __init__(self) -> None:
        super().__init__("the body of this message is no longer kept")


class ReplyView(View):
    """One answer and how many recipients it was for; `code` 0 where nothing was heard."""

    state: str
    recipients: int
    code: int
    text: str
    says: str
    do: str


class StepView(View):
    """Something that happened. `kind`: received, committed, attempt, waiting, wire, or the status
    it ended with."""

    at: str | None
    kind: str
    title: str
    attempt: int = 0
    upstream: str = ""
    uncertain: bool = False
    replies: tuple[ReplyView, ...] = ()
    transcript: str = ""
    says: str = ""
    do: str = ""


class PersonView(View):
    """A recipient with its last answer."""

    number: int
    address: str
    status: str
    code: int
    text: str
    says: str
    do: str
    ended_at: str | None


class StoryView(View):
    """A message whole. `next_recipient`: where the next page of recipients begins, 0: none."""

    id: str
    status: str
    account: str
    sender: str
    subject: str
    created_at: str
    ended_at: str | None
    channel: str
    peer: str
    key: int | None
    key_name: str
    upstream: str | None
    smtp_message_id: str
    octets: int
    queued: int
    recipients: int
    charged: int
    refunded: int
    next_at: str | None
    reason: str
    on_wire: bool
    people: tuple[PersonView, ...]
    next_recipient: int
    steps: tuple[StepView, ...]
    ledger: tuple[LedgerView, ...]
    headers: tuple[tuple[str, str], ...]
    body_kept: bool
    body_until: str | None


class SourceView(View):
    """A message's octets; `whole`: they are all of it."""

    data: bytes
    octets: int
    whole: bool


def show(desk: Desk, message: str, *, account: str | None, above: int = 0) -> StoryView:
    """The story of a message; `above`: recipients with greater numbers. Raises `NotFound`."""
    with desk.reading() as look:
        row = found(look, message, account)
        wait = log.wait(look, row.id)
        claims = waiting.claimed(look, message_id=row.id) if row.queued and wait is None else []
        on_wire = bool(waiting.on_wire(look, claims))
        tries = parts.attempts(look, row.id)
        persons = parts.recipients(look, row.id, above)
        lines = tuple(ledger_line(entry) for entry in parts.ledger(look, row))
        body = parts.body(look, desk.data, row.id, HEAD_OCTETS)
        sender = people.sender_by_id(look, row.sender_id)
        key_name = parts.key_name(look, row.key_id) if row.key_id is not None else ""
    claimed = row.queued > 0 and wait is None
    next_at = iso(wait.due) if wait else None
    reason = wait.reason if wait else FREE_CONNECTION if claimed and not on_wire else ""
    more = bool(persons) and persons[-1].number < row.recipients
    return StoryView(
        id=ident.show(row.id),
        status=row.status,
        account=row.account,
        sender=row.from_address,
        subject=row.subject,
        created_at=iso(ident.milliseconds(row.id)),
        ended_at=iso_or_none(row.ended_at),
        channel=row.channel,
        peer=row.peer,
        key=row.key_id,
        key_name=key_name,
        upstream=sender.upstream if sender else (tries[-1].upstream if tries else None),
        smtp_message_id=row.smtp_message_id,
        octets=row.octets,
        queued=row.queued,
        recipients=row.recipients,
        charged=row.charged,
        refunded=row.refunded,
        next_at=next_at,
        reason=reason,
        on_wire=on_wire,
        people=tuple(_person(person) for person in persons),
        next_recipient=persons[-1].number if more else 0,
        steps=_steps(row, tries, (on_wire, next_at, reason)),
        ledger=lines,
        headers=tuple(preview.fields(body.data)) if body is not None else (),
        body_kept=body is not None,
        body_until=iso_or_none(body.until_ms) if body is not None else None,
    )


def source(desk: Desk, message: str, *, account: str | None, most: int) -> SourceView:
    """The octets as they go out, from the beginning. Raises `NotFound`, `BodyGone`."""
    with desk.reading() as look:
        row = found(look, message, account)
        body = parts.body(look, desk.data, row.id, most)
    if body is None:
        raise BodyGone
    return SourceView(data=body.data, octets=body.octets, whole=len(body.data) == body.octets)


def shown(desk: Desk, message: str, *, account: str | None) -> preview.Shown:
    """What of it can be shown. Raises `NotFound`, `BodyGone`."""
    return preview.shown(source(desk, message, account=account, most=PREVIEW_OCTETS).data)


def everyone(look: Look, row: MessageRow) -> list[str]:
    """The addresses of all recipients."""
    return [person.address for person in log.recipients(look, row.id)]


def _person(row: RecipientRow) -> PersonView:
    said = explain(row.code, row.text) if row.code or row.text else None
    return PersonView(
        number=row.number,
        address=row.address,
        status=State(row.state).name.lower(),
        code=row.code,
        text=row.text,
        says=said.says if said else "",
        do=said.do if said and row.state != State.SENT else "",
        ended_at=iso_or_none(row.ended_at),
    )


def _steps(
    row: MessageRow, tries: list[AttemptRow], wait: tuple[bool, str | None, str]
) -> tuple[StepView, ...]:
    accepted = iso(ident.milliseconds(row.id))
    ways = {
        "smtp": "over SMTP",
        "http": "over the HTTP API",
        "command": "from the command line, or by “send again”",
    }
    way = ways.get(row.channel, f"by {row.channel}")
    whence = f" from {row.peer}" if row.peer else ""
    steps = [
        StepView(at=accepted, kind="received", title=f"Received {way}{whence}"),
        StepView(
            at=accepted,
            kind="committed",
            title=f"Committed to disk; {_count(row.charged, 'credit')} taken",
        ),
        *(_attempt(attempt) for attempt in tries),
    ]
    on_wire, next_at, reason = wait
    if on_wire:
        steps.append(StepView(at=None, kind="wire", title="An attempt is under way"))
    elif row.queued:
        said = explain(0, reason)
        steps.append(
            StepView(
                at=next_at,
                kind="waiting",
                title=f"Waits: {reason}" if reason else "Waits for its next try",
                says=said.says if reason else "",
                do=said.do if reason else "",
            )
        )
    elif row.ended_at:
        refund = f"; {_count(row.refunded, 'credit')} refunded" if row.refunded else ""
        steps.append(
            StepView(
                at=iso(row.ended_at), kind=row.status, title=f"{row.status.capitalize()}{refund}"
            )
        )
    return tuple(steps)


def _attempt(attempt: AttemptRow) -> StepView:
    results = msgspec.json.decode(attempt.results, type=list[tuple[int, int, int, str]])
    groups: dict[tuple[int, int, str], int] = {}
    for _, state, code, text in results:
        groups[state, code, text] = groups.get((state, code, text), 0) + 1
    replies = []
    for (state, code, text), count in list(groups.items())[:REPLIES_MOST]:
        said = explain(code, text)
        replies.append(
            ReplyView(
                state=State(state).name.lower(),
                recipients=count,
                code=code,
                text=text,
                says=said.says,
                do=said.do if state != State.SENT else "",
            )
        )
    return StepView(
        at=iso(attempt.at),
        kind="attempt",
        title=f"Attempt {attempt.number} through {attempt.upstream}",
        attempt=attempt.number,
        upstream=attempt.upstream,
        uncertain=attempt.uncertain,
        replies=tuple(replies),
        transcript=attempt.transcript,
    )


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"
