"""The operator's screens: accounts with their limits, and the health of the installation.

Knows nothing of mail.
"""

from __future__ import annotations

from urllib.parse import quote

from litestar.handlers import HTTPRouteHandler
from msgspec import UNSET, UnsetType

from waypost.core.errors import WaypostError
from waypost.desk import accounts, statement
from waypost.desk.access import members
from waypost.desk.access.roles import Role
from waypost.desk.care import report
from waypost.pages.frame.ask import Answer, Ask
from waypost.pages.frame.failing import sentence, status_of
from waypost.pages.frame.frame import Frame

SHOWN = 100


class Operator:
    """The screens."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame

    def handlers(self) -> list[HTTPRouteHandler]:
        """The routes."""
        frame, top, name = self._frame, Role.OPERATOR, ("name",)
        one = "/operator/account"
        return [
            frame.get("/operator", show, top),
            frame.get("/operator/health", self.health, top, slow=True),
            frame.post("/operator/health", self.proof, "prove the store", top, slow=True),
            frame.get(one, account, top),
            frame.post("/operator/accounts", create, "create account", top, subject=name),
            frame.post(one, change, "change account", top, subject=name),
            frame.post(f"{one}/disable", disable, "disable account", top, subject=name),
            frame.post(f"{one}/enable", enable, "enable account", top, subject=name),
        ]

    def health(self, ask: Ask) -> Answer:
        """What `waypost doctor` says, without what reads the whole store."""
        found = list(report.findings(ask.desk, self._frame.config, whole=False))
        return ask.page("operator/health.html", findings=found, whole=False)

    def proof(self, ask: Ask) -> Answer:
        """All of it."""
        found = list(report.findings(ask.desk, self._frame.config))
        return ask.page("operator/health.html", findings=found, whole=True)


def show(ask: Ask, status: int = 200, error: str = "") -> Answer:
    return ask.page(
        "operator/accounts.html",
        status,
        accounts=accounts.list_(ask.desk, SHOWN),
        name=ask.form.get("name", ""),
        credits=ask.form.get("credits", "0"),
        error=error,
    )


def create(ask: Ask) -> Answer:
    name = ask.form.get("name", "").strip()
    try:
        accounts.create(ask.desk, name, credits=_credits(ask))
    except WaypostError as error:
        return show(ask, status_of(error), sentence(error))
    return ask.see(_at(name), f"The account {name} is made.")


def account(ask: Ask, status: int = 200, error: str = "") -> Answer:
    name = ask.form.get("name") or ask.query.get("name", "")
    return ask.page(
        "operator/account.html",
        status,
        of=accounts.show(ask.desk, name),
        today=statement.recipients_today(ask.desk, name),
        members=members.list_(ask.desk, account=name),
        error=error,
    )


def change(ask: Ask) -> Answer:
    name = ask.form.get("name", "")
    try:
        accounts.change(
            ask.about(name),
            name,
            unlimited=ask.form.get("unlimited") == "on",
            rate_limit=_rate(ask),
            default_sender=ask.form.get("default_sender", "").strip() or None,
            notify=ask.form.get("notify", "").strip() or None,
        )
    except WaypostError as error:
        return account(ask, status_of(error), sentence(error))
    return ask.see(_at(name), f"The account {name} is changed.")


def disable(ask: Ask) -> Answer:
    name = ask.form.get("name", "")
    accounts.disable(ask.about(name), name)
    return ask.see(_at(name), f"{name} is disabled: its keys are dead, its queue is held.")


def enable(ask: Ask) -> Answer:
    name = ask.form.get("name", "")
    accounts.enable(ask.about(name), name)
    return ask.see(_at(name), f"{name} is enabled.")


def _at(name: str) -> str:
    return f"/operator/account?name={quote(name, safe='')}"


def _credits(ask: Ask) -> int | None:
    """Credits to begin with, None for unlimited."""
    if ask.form.get("credits", "").strip().lower() == "unlimited":
        return None
    return ask.whole("credits", 0)


def _rate(ask: Ask) -> int | UnsetType | None:
    text = ask.form.get("rate_limit", "").strip().lower()
    if not text:
        return UNSET
    return None if text == "none" else ask.whole("rate_limit")
