"""The mail screens, joined, and what they are given by the relay that they run in.

Knows nothing of what they show.
"""

from __future__ import annotations

from litestar.handlers import HTTPRouteHandler

from waypost.desk.send.again import Again
from waypost.intake.http.routes import Ready
from waypost.pages.doors import again_through
from waypost.pages.frame.frame import Frame
from waypost.pages.screens import logs, message, overview, refused, waiting
from waypost.pages.screens.servers import integrations, senders
from waypost.pages.screens.servers.domains import Domains
from waypost.pages.screens.servers.trying import Trying


def handlers(frame: Frame, ready: Ready) -> list[HTTPRouteHandler]:
    """The routes."""

    def door() -> Again | None:
        doing = ready.doing
        if doing is None or frame.loop is None:
            return None
        return again_through(doing, frame.desk.clock, frame.loop)

    return [
        *overview.handlers(frame),
        *logs.handlers(frame),
        *refused.handlers(frame),
        *message.handlers(frame, door),
        *waiting.handlers(frame),
        *integrations.handlers(frame),
        *Trying(frame).handlers(),
        *senders.handlers(frame),
        *Domains(frame).handlers(),
    ]
