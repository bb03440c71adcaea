"""All screens of the dashboard, joined.

Knows nothing of what they show.
"""

from __future__ import annotations

from litestar.handlers import HTTPRouteHandler

from waypost.pages.frame.frame import Frame
from waypost.pages.login import screens as login


def handlers(frame: Frame) -> list[HTTPRouteHandler]:
    """The routes of the dashboard."""
    return [
        *frame.assets.handlers(),
        *login.handlers(frame),
    ]
