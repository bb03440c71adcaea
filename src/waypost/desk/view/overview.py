"""The state of things on one screen: what was sent, what waits, what is short, who needs help.

`account` narrows to one account; None is the operator, who sees all. Knows nothing of HTML.
"""

from __future__ import annotations

import re
from datetime import date, timedelta

from waypost.core import ident
from waypost.desk.office import Desk, asker
from waypost.desk.views import View, iso, iso_or_none
from waypost.store.read import people
from waypost.store.read.book import Look
from waypost.store.read.screens import tally, trouble
from waypost.store.read.screens.tally import Sums
from waypost.upstream.sentences import explain

DAYS = 30
BURN_DAYS = 7
SHOWN_MOST = 15
_EPOCH = date(1970, 1, 1)
_REPLY = re.compile(r"\((\w+): (\d{3}) (.*)\)?$", re.DOTALL)


class DayView(View):
    """Recipients of one UTC day."""

    day: str
    accepted: int
    sent: int
    failed: int
    cancelled: int


class CapView(View):
    """A daily cap: places taken today of a sender or an upstream."""

    what: str  # "sender" or "upstream"
    name: str
    cap: int
    used: int


class CareView(View):
    """An upstream or a sender that needs help. `state`: failing, paused, or held."""

    what: str
    name: str
    account: str | None
    state: str
    reason: str
    says: str
    do: str
    since: str | None
    next_probe_at: str | None


class OverviewView(View):
    """`credits` null: unlimited, or more accounts than one. `lasts_days`: at the pace of the last
    week, null where nothing is used."""

    today: DayView
    days: tuple[DayView, ...]
    queued: int
    oldest_at: str | None
    credits: int | None
    burn_per_day: float
    lasts_days: int | None
    caps: tuple[CapView, ...]
    care: tuple[CareView, ...]
    upstreams: bool
    keys: bool


def show(desk: Desk, *, account: str | None) -> OverviewView:
    """All of it."""
    with desk.reading() as look:
        owner = asker(look, account)
        today = desk.today()
        days = tally.days(look, owner, today, DAYS)
        now = tally.now(look, owner, today)
        oldest = tally.oldest(look, owner)
        burn = burnt(days)
        balance = None
        if owner is not None:
            row = people.account_by_id(look, owner)
            balance = None if row is None or row.unlimited else row.balance
        return OverviewView(
            today=_day(days[-1]),
            days=tuple(_day(day) for day in days),
            queued=now.queued,
            oldest_at=None if oldest is None else iso(ident.milliseconds(oldest)),
            credits=balance,
            burn_per_day=burn,
            lasts_days=lasting(balance, burn),
            caps=_caps(look, owner, today),
            care=_care(look, owner),
            upstreams=trouble.any_upstream(look, owner),
            keys=trouble.any_key(look, owner),
        )


def series(desk: Desk, *, account: str | None) -> dict[str, list[float]]:
    """The last 30 days for a chart: `t` in seconds since 1970, and recipients each day."""
    with desk.reading() as look:
        days = tally.days(look, asker(look, account), desk.today(), DAYS)
    return {
        "t": [day.day * 86_400 for day in days],
        "accepted": [day.accepted for day in days],
        "sent": [day.sent for day in days],
        "failed": [day.failed for day in days],
    }


def burnt(days: list[Sums]) -> float:
    """Credits a day, net of refunds, over the last week, today's part of a day left out where
    there was any mail before it."""
    whole = days[-BURN_DAYS - 1 : -1]
    used = [day.accepted - day.failed - day.cancelled for day in whole]
    if any(used):
        first = next(index for index, count in enumerate(used) if count)
        return max(0.0, sum(used[first:]) / len(used[first:]))
    today = days[-1]
    return max(0.0, float(today.accepted - today.failed - today.cancelled))


def lasting(balance: int | None, burn: float) -> int | None:
    """Days until the credits are used up; None where that cannot be said."""
    if balance is None or burn <= 0:
        return None
    return int(max(balance, 0) / burn)


def words(reason: str) -> tuple[str, str]:
    """(what it means, what to do) of a reason that an upstream or sender waits for."""
    found = _REPLY.search(reason)
    code, text = (int(found[2]), found[3].rstrip(")")) if found is not None else (0, reason)
    if reason.startswith("paused by"):
        return "Somebody paused it.", "Resume it when its mail may go on."
    if "certificate" in reason:
        return (
            "The certificate is not the one that was trusted.",
            "Test it to see which one it shows now; accept it if you know why it changed.",
        )
    said = explain(code, text)
    return said.says, said.do


def _day(day: Sums) -> DayView:
    return DayView(
        day=(_EPOCH + timedelta(days=day.day)).isoformat(),
        accepted=day.accepted,
        sent=day.sent,
        failed=day.failed,
        cancelled=day.cancelled,
    )


def _caps(look: Look, owner: int | None, today: int) -> tuple[CapView, ...]:
    found = trouble.caps(look, owner, today, SHOWN_MOST)
    return tuple(CapView(what=w, name=name, cap=cap, used=used) for w, name, cap, used in found)


def _care(look: Look, owner: int | None) -> tuple[CareView, ...]:
    made = []
    for row in trouble.upstreams(look, owner, SHOWN_MOST):
        says, do = words(row.reason)
        made.append(
            CareView(
                what="upstream",
                name=row.name,
                account=row.account,
                state=row.state,
                reason=row.reason,
                says=says,
                do=do,
                since=iso_or_none(row.since),
                next_probe_at=iso_or_none(row.probe_at),
            )
        )
    for held in trouble.held(look, owner, SHOWN_MOST):
        says, do = words(held.held)
        made.append(
            CareView(
                what="sender",
                name=held.address,
                account=held.account,
                state="held",
                reason=held.held,
                says=says,
                do=do,
                since=None,
                next_probe_at=iso_or_none(held.probe_at),
            )
        )
    return tuple(made)
