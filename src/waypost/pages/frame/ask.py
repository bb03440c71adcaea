"""One request to a screen, and its answer.

A screen is given an `Ask` and returns an `Answer`; it runs in a thread and may block. Knows nothing
of HTTP's octets.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from waypost.core.errors import Secret, UsageError
from waypost.desk.access.roles import Role
from waypost.desk.access.sessions import Browser
from waypost.desk.access.views import Visitor
from waypost.desk.office import Desk
from waypost.pages.frame import guard

HTML = "text/html"
NOTICE_S = 60
NOTICE_CHARACTERS = 500


class Answer(msgspec.Struct):
    """What goes back. `headers` come on top of the security headers and win over them."""

    body: bytes
    status: int = 200
    media_type: str = HTML
    headers: dict[str, str] = {}
    cookies: list[str] = []


class Draws(Protocol):
    """Makes a page of a template."""

    def draw(self, ask: Ask, template: str, facts: Mapping[str, Any]) -> bytes: ...


class Ask:
    """A request. `who` is None on pages that need no login. `form`: the last value of each field.

    `desk` notes what is changed with it in the audit trail, as this member's deed.
    """

    def __init__(
        self,
        draws: Draws,
        desk: Desk,
        browser: Browser,
        *,
        who: Visitor | None = None,
        https: bool = False,
        url: str = "/",
    ) -> None:
        self._draws = draws
        self._who = who
        self.desk = desk
        self.browser = browser
        self.https = https
        self.url = url  # path and query
        self.csrf = ""
        self.secret: Secret | None = None  # of the session, or of the visit before there is one
        self.waiting: Secret | None = None  # a session's token that no login is behind yet
        self.notice = ""
        self.host = ""  # the Host header as it came: check it before it is shown as an address
        self.changing = False  # it came as POST
        self.hx = False  # htmx asks, for a part of the page
        self.path: Mapping[str, Any] = {}
        self.query: Mapping[str, str] = {}
        self.form: Mapping[str, str] = {}
        self.fields: list[tuple[str, str]] = []

    @property
    def who(self) -> Visitor:
        """Who asks, on pages that need a login."""
        assert self._who is not None
        return self._who

    @property
    def visitor(self) -> Visitor | None:
        return self._who

    @property
    def account(self) -> str | None:
        """The account that is looked at; None: an operator looks at all. Hand it to every deed."""
        return self.who.account

    @property
    def role(self) -> Role:
        return self.who.role

    def one_account(self, field: str = "account") -> str:
        """The account that a deed is for: the one looked at, else (an operator) of the form."""
        chosen = self.account or self.form.get(field) or self.query.get(field)
        if not chosen:
            raise UsageError("choose the account that it is for", field)
        return chosen

    def about(self, account: str | None) -> Desk:
        """The desk for a deed about an account that is not the one looked at."""
        hand = self.desk.hand
        if hand is None or hand.account is not None:
            return self.desk
        return self.desk.by(msgspec.structs.replace(hand, account=account))

    def many(self, name: str) -> list[str]:
        """All values of a field of the form."""
        return [value for field, value in self.fields if field == name]

    def whole(self, name: str, missing: int | None = None) -> int:
        """A whole number out of the form. Raises `UsageError`."""
        text = self.form.get(name, "").strip().replace(",", "")
        if not text and missing is not None:
            return missing
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdecimal() and len(text) <= 15):
            raise UsageError("expected a whole number", name)
        return int(text)

    def page(self, template: str, status: int = 200, **facts: Any) -> Answer:
        """A page or a part of one, from a template."""
        return Answer(self._draws.draw(self, template, facts), status)

    def see(self, path: str, notice: str = "") -> Answer:
        """After a change: go to that page, which shows the notice once."""
        answer = Answer(b"", 303, headers={"Location": path}, cookies=[])
        if notice:
            octets = notice[:NOTICE_CHARACTERS].encode("utf-8", "replace")
            text = base64.urlsafe_b64encode(octets).decode().rstrip("=")
            answer.cookies.append(guard.cookie(guard.NOTICE, text, self.https, NOTICE_S))
        return answer


def notice_of(cookie: str) -> str:
    """The text of a notice's cookie, nothing where it is none."""
    try:
        return base64.urlsafe_b64decode(cookie + "=" * (-len(cookie) % 4)).decode()
    except ValueError:
        return ""
