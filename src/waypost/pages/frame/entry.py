"""From an HTTP request to an `Ask`: the session, the role, the form and its token.

Promises that nobody is let in by anything but these steps, in this order: a session, its token,
the role. Knows nothing of what is asked for.
"""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from litestar import Request
from litestar.exceptions import InternalServerException

from waypost.core.errors import Secret
from waypost.desk.access import sessions
from waypost.desk.access.roles import Role
from waypost.desk.access.sessions import Browser
from waypost.desk.access.views import Visitor
from waypost.desk.office import Desk, Hand
from waypost.pages.frame import guard
from waypost.pages.frame.ask import Ask, Draws, notice_of
from waypost.web import Failure

FORM_FIELDS = 2_000
FORM_S = 30.0  # for a form to come whole
FORM_TYPE = "application/x-www-form-urlencoded"
SUBJECT_CHARACTERS = 300


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """What a route asks of who comes. `deed` empty: it changes nothing."""

    least: Role = Role.READ_ONLY
    deed: str = ""
    subject: tuple[str, ...] = ()
    open: bool = False
    slow: bool = False


class Login(msgspec.Struct, frozen=True):
    """What the cookies of a request say. `visit`: before there is a session."""

    session: Secret | None
    visit: Secret | None
    notice: str
    https: bool

    def visitor(self, desk: Desk) -> Visitor | None:
        """Whose session it is. Reads the store: call in a thread."""
        return sessions.visitor(desk, self.session) if self.session is not None else None


class Draft(msgspec.Struct, frozen=True):
    """What an `Ask` is made of."""

    draws: Draws
    desk: Desk
    request: Request[Any, Any, Any]
    fields: list[tuple[str, str]]


def login_of(request: Request[Any, Any, Any]) -> Login:
    """What the cookies say."""
    https = request.scope.get("scheme") == "https"
    cookies = guard.cookies_of(request.headers.get("cookie", ""))

    def secret(name: str) -> Secret | None:
        value = cookies.get(guard.cookie_name(name, https), "")
        return Secret(value) if value else None

    notice = cookies.get(guard.cookie_name(guard.NOTICE, https), "")
    return Login(secret(guard.SESSION), secret(guard.VISIT), notice_of(notice), https)


async def fields_of(request: Request[Any, Any, Any]) -> list[tuple[str, str]]:
    """The fields of a form. Raises `Failure` 400, 408, 415."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("", FORM_TYPE):
        raise Failure(415, "INVALID_REQUEST", f"A form is sent as {FORM_TYPE}")
    try:
        async with asyncio.timeout(FORM_S):
            body = await request.body()
        text = body.decode()
        return parse_qsl(text, keep_blank_values=True, max_num_fields=FORM_FIELDS)
    except TimeoutError:
        raise Failure(408, "INVALID_REQUEST", "The form did not come whole in time") from None
    except ValueError:
        raise Failure(400, "INVALID_REQUEST", "This form cannot be read") from None
    except InternalServerException:  # so the framework says that the client went away
        raise Failure(400, "INVALID_REQUEST", "The form did not come whole") from None


def stranger(draft: Draft, login: Login) -> Ask:
    """An ask of somebody whose login is not known or not asked for."""
    request = draft.request
    client = request.scope.get("client")
    browser = Browser(client[0] if client else "", request.headers.get("user-agent", ""))
    return _filled(Ask(draft.draws, draft.desk, browser, https=login.https), draft, login)


def let_in(draft: Draft, rule: Rule, login: Login, who: Visitor | None) -> Ask:
    """The ask of who may. Raises `Failure` 401 or 403."""
    headers = draft.request.headers
    if rule.open:
        ask = stranger(draft, login)
        secret = login.visit
        if secret is None and not rule.deed:
            secret = sessions.new_token(draft.desk)
        ask.secret, ask.waiting = secret, login.session
        ask.csrf = guard.token_of(secret) if secret is not None else ""
    else:
        if who is None or login.session is None:
            raise Failure(401, "UNAUTHORIZED", "Log in first")
        secret = login.session
        browser = stranger(draft, login).browser
        hand = _hand(draft, rule, who, browser) if rule.deed else None
        desk = msgspec.structs.replace(draft.desk, hand=hand, bound=not who.operator)
        ask = Ask(draft.draws, desk, browser, who=who, https=login.https)
        _filled(ask, draft, login)
        ask.secret, ask.csrf = secret, guard.token_of(secret, who.account)
    if rule.deed:
        given = ask.form.get(guard.FIELD) or headers.get(guard.HEADER) or ""
        guard.must_be_own(ask.csrf, given, dict(headers))
    if who is not None and who.role < rule.least:
        word = rule.least.word
        raise Failure(403, "FORBIDDEN", f"This needs the role {word}; yours is {who.role.word}")
    return ask


def _filled(ask: Ask, draft: Draft, login: Login) -> Ask:
    scope = draft.request.scope
    query = scope["query_string"].decode("latin-1")
    ask.url = scope["path"] + (f"?{query}" if query else "")
    ask.path = scope.get("path_params", {})  # none where no route was found
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=FORM_FIELDS)
    except ValueError:
        pairs = []
    ask.query = dict(pairs)
    ask.fields = draft.fields
    ask.form = dict(draft.fields)
    ask.host = draft.request.headers.get("host", "")
    ask.changing = draft.request.method == "POST"
    ask.notice = login.notice
    ask.hx = draft.request.headers.get("hx-request") == "true"
    return ask


def _hand(draft: Draft, rule: Rule, who: Visitor, browser: Browser) -> Hand:
    form = dict(draft.fields)
    named = [str(value) for value in draft.request.path_params.values()]
    named += [form[name] for name in rule.subject if form.get(name)]
    subject = sessions.plain(" ".join(named))[:SUBJECT_CHARACTERS]
    return Hand(
        actor=who.email,
        deed=rule.deed,
        subject=subject,
        peer=browser.peer,
        account=who.account,
        member_id=who.member_id,
    )
