"""An account's credits as a statement: the ledger in pages, and how long what is left will last.

Changes nothing. Knows nothing of mail.
"""

from __future__ import annotations

from waypost.core import ident
from waypost.desk import accounts
from waypost.desk.office import Desk, account_of, whole
from waypost.desk.views import AccountView, View, iso
from waypost.store.read import people
from waypost.store.read.screens import tally

BURN_DAYS = 7  # a week holds both working days and the others
LINES = 50
LINES_MOST = 100


class StatementLine(View):
    """A line of the ledger; `id` rises."""

    id: int
    at: str
    amount: int
    reason: str
    message: str | None
    recipient: int | None
    note: str
    balance: int


class StatementView(View):
    """`burn`: credits a day, over the last week or since the account's first day in it; what was
    refunded is not counted. `days_left` null: unlimited, or nothing is used. `next_cursor` null:
    there is nothing older.
    """

    account: AccountView
    lines: tuple[StatementLine, ...]
    next_cursor: int | None
    burn: float
    days_left: int | None


def show(
    desk: Desk, account: str, *, cursor: int | None = None, limit: int = LINES
) -> StatementView:
    """The newest lines, or those below the one that `cursor` names."""
    whole(limit, 1, LINES_MOST, "limit")
    view = accounts.show(desk, account)
    with desk.reading() as look:
        row = account_of(look, account)
        found = people.ledger_below(look, row.id, cursor, limit + 1)
        week = tally.days(look, row.id, desk.today(), BURN_DAYS)
    age_days = (desk.clock.wall_ms() - row.created_at) // 86_400_000 + 1
    used = sum(day.accepted - day.failed - day.cancelled for day in week)
    burn = max(used, 0) / max(1, min(BURN_DAYS, age_days))
    lines = tuple(
        StatementLine(
            id=number,
            at=iso(line.at),
            amount=line.amount,
            reason=line.reason,
            message=None if line.message_id is None else ident.show(line.message_id),
            recipient=line.recipient,
            note=line.note,
            balance=line.balance,
        )
        for number, line in found[:limit]
    )
    left = None if view.credits is None or burn == 0 else int(view.credits / burn)
    return StatementView(
        account=view,
        lines=lines,
        next_cursor=lines[-1].id if len(found) > limit else None,
        burn=burn,
        days_left=left,
    )


def recipients_today(desk: Desk, account: str) -> int:
    """Recipients accepted since midnight UTC, by the count that is kept: reads no message."""
    with desk.reading() as look:
        row = account_of(look, account)
        return tally.days(look, row.id, desk.today(), 1)[0].accepted
