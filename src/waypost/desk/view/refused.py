"""The log of refusals as the dashboard lists, searches and exports it: newest first, page by page.

A refusal keeps the sender of the envelope and the recipients that were named before it: `from:` and
`to:` find those whose answer names the address as well. Knows nothing of HTML.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from waypost.core.address import sought
from waypost.core.errors import UsageError
from waypost.desk.logs import refusal_view
from waypost.desk.office import Desk, asker
from waypost.desk.view import terms as writing
from waypost.desk.view.search import PAGE, exported
from waypost.desk.view.terms import RefusalTerms
from waypost.desk.views import RefusalView, View, iso
from waypost.store.read.book import Look
from waypost.store.read.rows import RefusalRow
from waypost.store.read.screens import refused, search
from waypost.store.read.screens.refused import Wanted

CODE_WORDS = 2
"""How many words at the beginning of an answer are codes: 550 5.7.1, 402 INSUFFICIENT_CREDITS."""


class RefusalPage(View):
    """`next`: the cursor of what is older, null where there is nothing more. `searched_to`: all
    from then on was looked at; null: everything was."""

    lines: tuple[RefusalView, ...]
    next: str | None
    searched_to: str | None


def page(
    desk: Desk, terms: RefusalTerms, *, account: str | None, cursor: str | None = None
) -> RefusalPage:
    """A page of what fits. Raises `UsageError`, `NotFound`."""
    with desk.reading() as look:
        wanted = _wanted(desk, look, terms, asker(look, account), _below(cursor))
        if wanted is None:
            return RefusalPage(lines=(), next=None, searched_to=None)
        found = refused.refusals(look, wanted, PAGE)
        return RefusalPage(
            lines=tuple(refusal_view(row) for row in found.rows),
            next=None if found.below is None else str(found.below),
            searched_to=None if found.below is None else iso(found.searched_ms),
        )


def export(desk: Desk, terms: RefusalTerms, *, account: str | None) -> Iterator[RefusalView]:
    """Everything that fits, newest first, up to `EXPORT_ROWS`."""
    return exported(lambda cursor: page(desk, terms, account=account, cursor=cursor))


def _below(cursor: str | None) -> int:
    if not cursor:
        return refused.NEWEST
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) <= 18):
        raise UsageError("a cursor is a whole number", "cursor")
    return int(cursor)


def _wanted(
    desk: Desk, look: Look, terms: RefusalTerms, owner: int | None, below: int
) -> Wanted | None:
    """What to ask the store; None: nothing can fit."""
    now = desk.clock.wall_ms()
    key_id = search.key(look, owner, terms.key) if terms.key else None
    if terms.key and key_id is None:
        return None
    after, before = terms.after, terms.before
    return Wanted(
        fits=_fitting(terms, key_id),
        account_id=owner,
        after_ms=max(0, writing.time_ms(after, "after", now)) if after else 0,
        before_ms=writing.time_ms(before, "before", now) if before else refused.NEWEST,
        below=below,
    )


def _fitting(terms: RefusalTerms, key_id: int | None) -> Callable[[RefusalRow], bool]:
    sender, to, code = sought(terms.sender), sought(terms.to), terms.code.lower()

    def fits(row: RefusalRow) -> bool:
        answer = row.answer.lower()
        codes = (row.reason.lower(), *answer.split(" ")[:CODE_WORDS])
        return (
            (sender in row.from_address.lower() or sender in answer)
            and (to in row.recipients.lower() or to in answer)
            and key_id in (None, row.key_id)
            and terms.peer in ("", row.peer)
            and code in ("", *codes)
        )

    return fits
