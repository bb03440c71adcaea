"""The log as the dashboard lists and exports it: messages, newest first, page by page.

`account` narrows to one account. A page looks at a window of the log only; where that held too few,
it says how far back it came, and goes on from there. Knows nothing of HTML.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

from waypost.core import ident
from waypost.core.errors import UsageError
from waypost.desk.logs import number_of
from waypost.desk.office import Desk, address_of, asker
from waypost.desk.view import terms as writing
from waypost.desk.view.terms import Terms
from waypost.desk.views import View, iso
from waypost.store.read.book import Look
from waypost.store.read.screens import search
from waypost.store.read.screens.search import Entry, Wanted

PAGE = 40
EXPORT_ROWS = 10_000
EXPORT_WINDOWS = 3_000
"""An export looks at so many windows of the log at most."""

_Line = TypeVar("_Line", covariant=True)


class Paged(Protocol[_Line]):
    """A page: its lines, and the cursor of what is older."""

    @property
    def lines(self) -> tuple[_Line, ...]: ...

    @property
    def next(self) -> str | None: ...


class LogLine(View):
    """A message in the list. `to`: its first recipient; `recipients` counts all of them."""

    id: str
    status: str
    account: str | None
    sender: str
    to: str
    recipients: int
    sent: int
    subject: str
    created_at: str
    channel: str
    key: int | None
    octets: int
    queued: int
    charged: int
    refunded: int


class LogPage(View):
    """`next`: the cursor of what is older, null where there is nothing more. `searched_to`: all
    from then on was looked at; null: everything was."""

    lines: tuple[LogLine, ...]
    next: str | None
    searched_to: str | None


def page(desk: Desk, terms: Terms, *, account: str | None, cursor: str | None = None) -> LogPage:
    """A page of what fits. Raises `UsageError`, `NotFound`."""
    with desk.reading() as look:
        wanted = _wanted(desk, look, terms, asker(look, account))
        if wanted is None:
            return LogPage(lines=(), next=None, searched_to=None)
        if cursor:
            below = min(wanted.below, number_of(cursor, "cursor"))
            wanted = _replaced(wanted, below)
        found = search.messages(look, wanted, PAGE)
        return LogPage(
            lines=_lines(look, found.rows),
            next=None if found.below is None else ident.show(found.below),
            searched_to=None if found.below is None else iso(ident.milliseconds(found.searched)),
        )


def newer(desk: Desk, after: str, *, account: str | None) -> list[LogLine]:
    """What was accepted behind that message, the oldest first; for a list that is live."""
    with desk.reading() as look:
        behind = number_of(after, "after")
        return list(_lines(look, search.newer(look, asker(look, account), behind, PAGE)))


def again(desk: Desk, ids: Sequence[str], *, account: str | None) -> list[LogLine]:
    """These messages as they are now, those of the account that are still there."""
    with desk.reading() as look:
        owner = asker(look, account)
        rows = search.rows(look, [number_of(one, "id") for one in ids[:PAGE]])
        return list(_lines(look, [row for row in rows if owner in (None, row.account_id)]))


def newest(desk: Desk, *, account: str | None) -> str:
    """The id of the newest message, zeros where there is none."""
    with desk.reading() as look:
        return ident.show(search.newest(look, asker(look, account)))


def fits(desk: Desk, terms: Terms, *, account: str | None, lines: list[LogLine]) -> list[LogLine]:
    """Those of the lines that the terms would find, but for `to:`, which asks the store."""
    if not terms.said or not lines:
        return lines
    seen = {line.id for line in lines}
    last = ident.show(int(max(seen), 16) + 1)
    found = page(desk, terms, account=account, cursor=last)
    return [line for line in lines if line.id in {other.id for other in found.lines}]


def export(desk: Desk, terms: Terms, *, account: str | None) -> Iterator[LogLine]:
    """Everything that fits, newest first, up to `EXPORT_ROWS`."""
    return exported(lambda cursor: page(desk, terms, account=account, cursor=cursor))


def exported(page: Callable[[str | None], Paged[_Line]]) -> Iterator[_Line]:
    """The lines of all pages by their cursors, up to `EXPORT_ROWS`."""
    cursor: str | None = None
    left = EXPORT_ROWS
    for _ in range(EXPORT_WINDOWS):
        found = page(cursor)
        yield from found.lines[:left]
        left -= len(found.lines)
        cursor = found.next
        if cursor is None or left <= 0:
            return


def _wanted(desk: Desk, look: Look, terms: Terms, owner: int | None) -> Wanted | None:
    """What to ask the store; None: nothing can fit."""
    now = desk.clock.wall_ms()
    least, below = 0, search.NEWEST
    if terms.after:
        least = ident.floor(writing.time_ms(terms.after, "after", now))
    if terms.before:
        below = min(below, ident.floor(writing.time_ms(terms.before, "before", now)))
    if terms.id:
        number = number_of(terms.id, "q")
        least, below = max(least, number), min(below, number + 1)
    key_id = search.key(look, owner, terms.key) if terms.key else None
    senders = search.senders_of(look, owner, terms.upstream) if terms.upstream else None
    if (terms.key and key_id is None) or (terms.upstream and not senders):
        return None
    top = search.NEWEST
    return Wanted(
        account_id=owner,
        status=terms.status,
        sender=_address(terms.sender),
        to=_address(terms.to),
        key_id=key_id,
        senders=senders,
        least=min(least, top),
        below=max(0, min(below, top)),
    )


def _address(text: str) -> str:
    try:
        return address_of(text, "q").key if text else ""
    except UsageError as error:
        raise UsageError(f"{text[:64]}: {error.public}", "q") from error


def _replaced(wanted: Wanted, below: int) -> Wanted:
    said = {name: getattr(wanted, name) for name in wanted.__struct_fields__}
    return Wanted(**said | {"below": below})


def _lines(look: Look, rows: list[Entry]) -> tuple[LogLine, ...]:
    first = search.first_recipients(look, [row.id for row in rows])
    names = search.account_names(look, {row.account_id for row in rows})
    return tuple(
        LogLine(
            id=ident.show(row.id),
            status=row.status,
            account=names.get(row.account_id),
            sender=row.from_address,
            to=first.get(row.id, ""),
            recipients=row.recipients,
            sent=row.sent,
            subject=row.subject,
            created_at=iso(ident.milliseconds(row.id)),
            channel=row.channel,
            key=row.key_id,
            octets=row.octets,
            queued=row.queued,
            charged=row.charged,
            refunded=row.refunded,
        )
        for row in rows
    )
