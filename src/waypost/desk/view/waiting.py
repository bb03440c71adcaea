"""The queue as the dashboard shows it: by upstream, counted only so far.

Knows nothing of HTML.
"""

from __future__ import annotations

from waypost.core import ident
from waypost.desk.office import Desk, asker
from waypost.desk.view.overview import words
from waypost.desk.views import View, iso
from waypost.store.read.screens import tally, trouble
from waypost.store.read.screens.trouble import Lane

LANES_MOST = 12
COUNTED_MOST = 100
"""How many messages are counted in all; what is left out is told as more."""


class WaitingView(View):
    """One upstream. `queued` counts messages; `more`: there are more than that. `mine`: the asker
    may pause, resume and retry it."""

    upstream: str
    account: str | None
    mine: bool
    state: str
    queued: int
    more: bool
    oldest_at: str | None
    next_at: str | None
    reason: str
    says: str
    do: str


class QueueView(View):
    """`recipients`: all that wait, exactly. `more`: there are more upstreams than are shown."""

    recipients: int
    oldest_at: str | None
    lines: tuple[WaitingView, ...]
    more: bool


def show(desk: Desk, *, account: str | None) -> QueueView:
    """A line for every upstream that mail waits for, or that does not go."""
    with desk.reading() as look:
        owner = asker(look, account)
        lanes = trouble.lanes(look, owner, LANES_MOST, COUNTED_MOST)
        by_upstream: dict[int, list[Lane]] = {}
        for lane in lanes:
            by_upstream.setdefault(lane.upstream_id, []).append(lane)
        lines = [_line(found, account) for found in by_upstream.values()]
        shown = {(line.upstream, line.account) for line in lines}
        lines += [
            WaitingView(
                upstream=sick.name,
                account=sick.account,
                mine=account is None or sick.account == account,
                state=sick.state,
                queued=0,
                more=False,
                oldest_at=None,
                next_at=iso(sick.probe_at) if sick.probe_at else None,
                reason=sick.reason,
                says=words(sick.reason)[0],
                do=words(sick.reason)[1],
            )
            for sick in trouble.upstreams(look, owner, LANES_MOST)
            if (sick.name, sick.account) not in shown
        ]
        oldest = tally.oldest(look, owner)
        return QueueView(
            recipients=tally.now(look, owner, desk.today()).queued,
            oldest_at=None if oldest is None else iso(ident.milliseconds(oldest)),
            lines=tuple(lines),
            more=len(lanes) == LANES_MOST,
        )


def _line(lanes: list[Lane], account: str | None) -> WaitingView:
    first = lanes[0]
    oldest = min((lane.oldest for lane in lanes if lane.oldest is not None), default=None)
    due = min((lane.due for lane in lanes if lane.due is not None), default=None)
    held = next((lane.held for lane in lanes if lane.held), "")
    if first.state == "paused" or all(lane.held for lane in lanes):
        due = None
    elif due is not None:
        due = max(due, first.probe_at)
    reason = first.reason if first.state != "ok" else held or first.words
    says, do = words(reason) if reason else ("", "")
    return WaitingView(
        upstream=first.upstream,
        account=first.owner,
        mine=account is None or first.owner == account,
        state=first.state if first.state != "ok" or not held else "held",
        queued=sum(lane.queued for lane in lanes),
        more=any(lane.more for lane in lanes),
        oldest_at=None if oldest is None else iso(ident.milliseconds(oldest)),
        next_at=None if due is None else iso(due),
        reason=reason,
        says=says,
        do=do,
    )
