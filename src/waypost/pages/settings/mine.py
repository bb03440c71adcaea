"""A member's own affairs: name, password, second factor, sessions.

Promises that the key of a second factor is shown only while it is set up. Knows nothing of
accounts.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import segno
from litestar.handlers import HTTPRouteHandler

from waypost.core.errors import Secret, UsageError, WaypostError, WrongState
from waypost.desk.access import factor, members, sessions
from waypost.desk.access.roles import Role
from waypost.pages.frame.ask import Answer, Ask
from waypost.pages.frame.failing import sentence, status_of
from waypost.pages.frame.frame import Frame

ISSUER = "Waypost"


def handlers(frame: Frame) -> list[HTTPRouteHandler]:
    """The routes."""
    own = Role.READ_ONLY
    return [
        frame.get("/settings", show),
        frame.post("/settings/name", rename, "change own name", own),
        frame.post("/settings/password", set_password, "change own password", own),
        frame.post("/settings/factor", offer, "offer second factor", own),
        frame.post("/settings/factor/on", switch_on, "switch second factor on", own),
        frame.post("/settings/factor/off", switch_off, "switch second factor off", own),
        frame.post("/settings/sessions/{session_id:int}/end", end, "end session", own),
        frame.post("/settings/sessions/end-others", end_others, "end other sessions", own),
    ]


def show(ask: Ask, status: int = 200, error: str = "") -> Answer:
    return ask.page(
        "settings/mine.html",
        status,
        sessions=sessions.list_(ask.desk, ask.who),
        recovery=factor.recovery_left(ask.desk, ask.who) if ask.who.second_factor else 0,
        error=error,
    )


def rename(ask: Ask) -> Answer:
    return _done(
        ask,
        lambda: members.rename(ask.desk, ask.who, ask.form.get("name", "").strip()),
        "Your name is changed.",
    )


def set_password(ask: Ask) -> Answer:
    present, password = (Secret(ask.form.get(name, "")) for name in ("present", "password"))
    return _done(
        ask,
        lambda: members.set_password(ask.desk, ask.who, present, password),
        "Your password is changed; your other sessions have ended.",
    )


def offer(ask: Ask) -> Answer:
    """A key to scan or type; it is kept when a code of it is shown."""
    return _offered(ask, factor.offer(ask.desk, ask.who.email, ISSUER))


def switch_on(ask: Ask) -> Answer:
    key, code = ask.form.get("key", ""), ask.form.get("code", "").replace(" ", "")
    try:
        codes = factor.switch_on(ask.desk, ask.who, key, code)
    except UsageError as error:
        if error.field == "key":
            return show(ask, 400, sentence(error))
        return _offered(ask, factor.again(key, ask.who.email, ISSUER), 400, sentence(error))
    except WrongState as error:
        return show(ask, 409, sentence(error))
    return ask.page("settings/recovery.html", codes=codes)


def switch_off(ask: Ask) -> Answer:
    present = Secret(ask.form.get("present", ""))
    return _done(
        ask,
        lambda: factor.switch_off(ask.desk, ask.who, present),
        "The second factor is off.",
    )


def end(ask: Ask) -> Answer:
    return _done(
        ask,
        lambda: sessions.end(ask.desk, ask.who, ask.path["session_id"]),
        "The session has ended.",
    )


def end_others(ask: Ask) -> Answer:
    return _done(
        ask,
        lambda: sessions.end_others(ask.desk, ask.who),
        "Your other sessions have ended.",
    )


def picture_path(uri: str) -> tuple[str, int]:
    """A QR code as the path of an SVG picture, and its width in modules."""
    code = segno.make(uri, error="m", micro=False)
    out = io.StringIO()
    for y, row in enumerate(code.matrix):
        for x, dark in enumerate(row):
            if dark:
                out.write(f"M{x} {y}h1v1h-1z")
    return out.getvalue(), len(code.matrix)


def _offered(ask: Ask, of: factor.Offer, status: int = 200, error: str = "") -> Answer:
    path, width = picture_path(of.uri)
    return ask.page(
        "settings/factor.html", status, key=of.text, path=path, width=width, error=error
    )


def _done(ask: Ask, deed: Callable[[], None], notice: str) -> Answer:
    try:
        deed()
    except WaypostError as error:
        return show(ask, status_of(error), sentence(error))
    return ask.see("/settings", notice)
