"""The overview: sent, queued and failed, credits, caps, and who needs help.

Knows nothing of how it is counted.
"""

from __future__ import annotations

import msgspec
from litestar.handlers import HTTPRouteHandler

from waypost.desk.view import overview
from waypost.pages.frame.ask import Answer, Ask
from waypost.pages.frame.frame import Frame

JSON = "application/json"


def handlers(frame: Frame) -> list[HTTPRouteHandler]:
    """The routes."""
    return [
        frame.get("/overview", show),
        frame.get("/overview/days.json", days),
    ]


def show(ask: Ask) -> Answer:
    return ask.page("mail/overview.html", view=overview.show(ask.desk, account=ask.account))


def days(ask: Ask) -> Answer:
    """What the chart draws: the last 30 days."""
    found = overview.series(ask.desk, account=ask.account)
    return Answer(msgspec.json.encode(found), media_type=JSON)
