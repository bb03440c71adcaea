"""All screens of the dashboard, joined.

Knows nothing of what they show.
"""

from __future__ import annotations

from litestar.handlers import HTTPRouteHandler

from waypost.intake.http.routes import Ready
from waypost.pages.frame.frame import Frame
from waypost.pages.login import screens as login
from waypost.pages.operator.accounts import Operator
from waypost.pages.screens import joined as mail
from waypost.pages.settings import account, credits, mine, people, start
from waypost.pages.settings.keys import Keys


def handlers(frame: Frame, ready: Ready) -> list[HTTPRouteHandler]:
    """The routes of the dashboard."""
    return [
        *frame.assets.handlers(),
        *login.handlers(frame),
        *start.handlers(frame),
        *Keys(frame).handlers(),
        *credits.handlers(frame),
        *mine.handlers(frame),
        *account.handlers(frame),
        *people.handlers(frame),
        *Operator(frame).handlers(),
        *mail.handlers(frame, ready),
    ]
