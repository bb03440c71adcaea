"""Every route of the relay's HTTP listener, together: health, the API, managing, the dashboard.

Knows nothing of sockets and of what any route does.
"""

from __future__ import annotations

from litestar.handlers import BaseRouteHandler

from waypost import __version__
from waypost.config import Config
from waypost.desk.office import Desk
from waypost.intake.http import routes
from waypost.intake.http.routes import Ready
from waypost.pages import site
from waypost.pages.api import openapi, reading, resend
from waypost.pages.frame.frame import Frame
from waypost.pages.manage import serve as manage
from waypost.watch import health
from waypost.watch.readiness import Readiness


def handlers(
    ready: Ready, readiness: Readiness, config: Config, desk: Desk, frame: Frame
) -> list[BaseRouteHandler]:
    """All of them."""
    return [
        *health.handlers(readiness, __version__),
        *routes.handlers(ready),
        *reading.handlers(ready, desk),
        *resend.handlers(ready, desk),
        *manage.handlers(ready, desk, config),
        *openapi.handlers(__version__),
        *site.handlers(frame, ready),
    ]
