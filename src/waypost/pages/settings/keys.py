"""The keys of applications: made, shown once with lines to copy, disabled, rotated, deleted.

Knows nothing of how a key is kept.
"""

from __future__ import annotations

from litestar.handlers import HTTPRouteHandler

from waypost.core.errors import UsageError
from waypost.desk import accounts, keys, senders
from waypost.desk.views import KeyView
from waypost.pages.frame.ask import Answer, Ask
from waypost.pages.frame.failing import sentence
from waypost.pages.frame.frame import Frame
from waypost.pages.settings.ready_lines import base_of, lines_for

SHOWN = 100
ANY_SENDER = "you@example.com"


class Keys:
    """The screen."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame

    def handlers(self) -> list[HTTPRouteHandler]:
        """The routes."""
        frame = self._frame
        one = "/keys/{key_id:int}"
        return [
            frame.get("/keys", show),
            frame.get("/keys/lines", self.lines),
            frame.post("/keys", self.create, "make key", subject=("account", "name")),
            frame.post(f"{one}/disable", disable, "disable key"),
            frame.post(f"{one}/enable", enable, "enable key"),
            frame.post(f"{one}/rotate", self.rotate, "rotate key"),
            frame.post(f"{one}/delete", delete, "delete key"),
        ]

    def create(self, ask: Ask) -> Answer:
        try:
            made = keys.create(
                ask.about(ask.account or ask.form.get("account")),
                ask.one_account(),
                name=ask.form.get("name", "").strip(),
                recipients=ask.form.get("recipients", "headers"),
            )
        except UsageError as error:
            return show(ask, 400, sentence(error))
        return self._once(ask, made)

    def rotate(self, ask: Ask) -> Answer:
        return self._once(ask, keys.rotate(ask.desk, ask.path["key_id"], account=ask.account))

    def lines(self, ask: Ask) -> Answer:
        """The lines to copy, with a place for the key."""
        return self._lines(ask, None, "YOUR-KEY", ask.account)

    def _once(self, ask: Ask, made: KeyView) -> Answer:
        assert isinstance(made.key, str)
        return self._lines(ask, made, made.key, made.account)

    def _lines(self, ask: Ask, made: KeyView | None, key: str, account: str | None) -> Answer:
        usable = senders.list_(ask.desk, account=account, limit=1)
        sender = usable[0].address if usable else ANY_SENDER
        config = self._frame.config
        return ask.page(
            "settings/key.html",
            made=made,
            lines=lines_for(
                key, sender, config, base_of(ask), own_certificate=config.tls.certificate is None
            ),
            sender=sender if usable else None,
            own_certificate=config.tls.certificate is None,
        )


def show(ask: Ask, status: int = 200, error: str = "") -> Answer:
    """The list, with the form of a new one."""
    named = accounts.list_(ask.desk, 100) if ask.account is None else []
    return ask.page(
        "settings/keys.html",
        status,
        keys=keys.list_(ask.desk, account=ask.account, limit=SHOWN),
        accounts=[view.name for view in named],
        name=ask.form.get("name", ""),
        error=error,
    )


def disable(ask: Ask) -> Answer:
    made = keys.disable(ask.desk, ask.path["key_id"], account=ask.account)
    return ask.see("/keys", f"The key {said(made)} is disabled: it logs in no more.")


def enable(ask: Ask) -> Answer:
    made = keys.enable(ask.desk, ask.path["key_id"], account=ask.account)
    return ask.see("/keys", f"The key {said(made)} is enabled.")


def delete(ask: Ask) -> Answer:
    made = keys.delete(ask.desk, ask.path["key_id"], account=ask.account)
    return ask.see("/keys", f"The key {said(made)} is gone.")


def said(view: KeyView) -> str:
    """A key in a sentence."""
    return f"“{view.name}”" if view.name else f"…{view.last4}"
