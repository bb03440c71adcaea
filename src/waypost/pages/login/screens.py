"""Coming in and going out: login, second factor, the links that are good once, logout.

Promises that a session gets a new token at every step of a login, that a link is used up by a
button and not by whoever looks at it, and that nobody is led to another site. Knows nothing of the
screens behind.
"""

from __future__ import annotations

from litestar.handlers import HTTPRouteHandler

from waypost.core.errors import NotFound, Secret, UsageError, WrongState
from waypost.desk.access import login, sessions
from waypost.desk.access.login import Entered, TooManyLogins
from waypost.desk.access.roles import Role
from waypost.pages.frame import guard
from waypost.pages.frame.ask import Answer, Ask
from waypost.pages.frame.failing import sentence, status_of
from waypost.pages.frame.frame import Frame

AFTER = "/overview"
LOOPBACK = ("127.", "::1")
KINDS = ("first", "invite", "login")


def handlers(frame: Frame) -> list[HTTPRouteHandler]:
    """The routes."""
    return [
        frame.get("/", home),
        frame.open_get("/login", show),
        frame.open_post("/login", enter, "log in"),
        frame.open_get("/login/code", lambda ask: _open(ask, "login/code.html")),
        frame.open_post("/login/code", code, "second factor"),
        frame.open_get("/login/{kind:str}/{token:str}", link),
        frame.open_post("/login/{kind:str}/{token:str}", use_link, "use a link"),
        frame.post("/logout", leave, "log out", Role.READ_ONLY),
        frame.post("/account", choose, "look at account", Role.READ_ONLY),
    ]


def home(ask: Ask) -> Answer:
    return ask.see(AFTER)


def show(ask: Ask) -> Answer:
    return _open(
        ask, "login/enter.html", email="", next=guard.local_path(ask.query.get("next", "/"))
    )


def enter(ask: Ask) -> Answer:
    """E-mail address and password."""
    email, after = ask.form.get("email", ""), guard.local_path(ask.form.get("next", "/"))
    try:
        password = Secret(ask.form.get("password", ""))
        entered = login.by_password(ask.desk, email, password, ask.browser)
    except (UsageError, TooManyLogins) as error:
        return _open(
            ask,
            "login/enter.html",
            status_of(error),
            email=email,
            next=after,
            error=error.public,
        )
    return _entered(ask, entered, after)


def code(ask: Ask) -> Answer:
    """The second factor of a session that waits for it."""
    try:
        if ask.waiting is None:
            raise NotFound("Log in again")
        entered = login.by_code(ask.desk, ask.waiting, ask.form.get("code", ""), ask.browser)
    except NotFound as error:
        return ask.see("/login", error.public)
    except (UsageError, TooManyLogins) as error:
        return _open(ask, "login/code.html", status_of(error), error=error.public)
    return _entered(ask, entered, "/")


def link(ask: Ask) -> Answer:
    """What a link would do; it is used by the form alone."""
    kind, token = ask.path["kind"], Secret(ask.path["token"])
    email = login.link_is_good(ask.desk, kind, token) if kind in KINDS else None
    if email is None:
        raise NotFound(login.DEAD_LINK)
    return _open(ask, f"login/{kind}.html", email=email)


def use_link(ask: Ask) -> Answer:
    kind, token = ask.path["kind"], Secret(ask.path["token"])
    email = ask.form.get("email", "")
    try:
        if kind == "login":
            entered = login.by_link(ask.desk, token, ask.browser)
            return _entered(ask, entered, "/settings#password")
        password = Secret(ask.form.get("password", ""))
        if kind == "invite":
            entered = login.by_invite(ask.desk, token, password, ask.browser)
            return _entered(ask, entered, AFTER)
        if kind == "first":
            entered = login.first(ask.desk, token, email, password, ask.browser)
            return _entered(ask, entered, "/start")
    except (UsageError, WrongState) as error:
        if kind == "invite":
            email = login.link_is_good(ask.desk, kind, token) or ""
        return _open(
            ask, f"login/{kind}.html", status_of(error), email=email, error=sentence(error)
        )
    raise NotFound(login.DEAD_LINK)


def leave(ask: Ask) -> Answer:
    assert ask.secret is not None
    sessions.close(ask.desk, ask.secret)
    answer = ask.see("/login", "You are logged out.")
    answer.cookies.append(guard.cookie(guard.SESSION, "", ask.https, 0))
    return answer


def choose(ask: Ask) -> Answer:
    """Another account to look at."""
    sessions.choose(ask.desk, ask.who, ask.form.get("account") or None)
    # A thing of the account before is not there in this one: go to its list.
    first = guard.local_path(ask.form.get("next", "/")).partition("?")[0].split("/")[1]
    return ask.see(f"/{first}")


def _entered(ask: Ask, entered: Entered, after: str) -> Answer:
    answer = ask.see("/login/code" if entered.pending else after)
    token = entered.token.reveal()
    answer.cookies.append(guard.cookie(guard.SESSION, token, ask.https, guard.COOKIE_S))
    answer.cookies.append(guard.cookie(guard.VISIT, "", ask.https, 0))
    if entered.pending:
        answer.cookies.pop()  # the next form is of the same visit
    return answer


def _open(ask: Ask, template: str, status: int = 200, **facts: str) -> Answer:
    """A page before there is a session: its token is that of the visit."""
    bare = not ask.https and not ask.browser.peer.startswith(LOOPBACK)
    answer = ask.page(template, status, bare=bare, **facts)
    if ask.secret is not None:
        visit = guard.cookie(guard.VISIT, ask.secret.reveal(), ask.https, guard.VISIT_S)
        answer.cookies.append(visit)
    return answer
