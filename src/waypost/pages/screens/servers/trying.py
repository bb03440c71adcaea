"""The connection test on the page: saving one, testing one, trusting a certificate, step by step.

Each deed has two ways: a form whose answer is a page, and (with JavaScript) the same form answered
by lines of JSON as the steps end: {html, into?} to add, {go} to lead on. Knows nothing of SMTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
from litestar.handlers import HTTPRouteHandler

from waypost.core.errors import Forbidden, UsageError, WaypostError, WrongState
from waypost.desk import upstreams
from waypost.desk.connection import trial
from waypost.desk.connection.trial import Trial
from waypost.desk.connection.vault import DeskVault
from waypost.desk.connection.views import StepView, TestFailed, TestView
from waypost.desk.views import UpstreamView
from waypost.pages.frame.ask import Answer, Ask
from waypost.pages.frame.failing import sentence, status_of
from waypost.pages.frame.frame import Frame
from waypost.pages.screens.servers import integrations
from waypost.pages.screens.servers.forms import fields_of
from waypost.pages.screens.servers.integrations import path_of
from waypost.pages.screens.servers.owner import owner_of
from waypost.transport.check.run import Setup
from waypost.transport.link.guard import make_guard
from waypost.transport.oauth.tokens import Tokens
from waypost.web import Failure

Told = Callable[[StepView], None]


class Outcome(msgspec.Struct, frozen=True):
    """What a deed came to: `go` somewhere, or a `trial` to show."""

    go: str = ""
    trial: TestView | None = None


Deed = Callable[[Ask, Told], Outcome]


class Trying:
    """The routes of everything that is tried."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame

    def handlers(self) -> list[HTTPRouteHandler]:
        """The routes."""
        made: list[HTTPRouteHandler] = []
        for path, deed, name in (
            ("/integrations/new", self.add, "add upstream"),
            ("/integrations/change", self.change, "change upstream"),
            ("/integrations/test", self.test, "test upstream"),
            ("/integrations/trust", self.trust, "trust certificate"),
        ):
            made += self._both(path, deed, name)
        return made

    def _both(self, path: str, deed: Deed, name: str) -> list[HTTPRouteHandler]:
        about = ("name", "account")

        def screen(ask: Ask) -> Answer:
            return self._page(ask, deed)

        def flow(ask: Ask) -> AsyncIterator[bytes]:
            return self._flow(ask, deed)

        return [
            self._frame.post(path, screen, name, subject=about, slow=True),
            self._frame.post_stream(f"{path}/steps", flow, name, subject=about),
        ]

    # The deeds.

    def add(self, ask: Ask, told: Told) -> Outcome:
        form, owner = ask.form, ask.account
        name = form.get("name", "").strip()
        if owner is None and form.get("for"):
            for_account: str | None = form["for"]
        else:
            for_account = None
        fields = fields_of(form, new=True)
        tested = "untested" not in form
        desk = ask.about(owner)
        how = self._trial(ask, told, tested)
        trial.add(desk, how, name, fields, account=owner, for_account=for_account)
        return Outcome(path_of(name, owner, "saved" if tested else "untested"))

    def change(self, ask: Ask, told: Told) -> Outcome:
        owner, name = owner_of(ask), ask.form.get("name", "")
        fields = fields_of(ask.form, new=False)
        tested = "untested" not in ask.form
        trial.change(ask.about(owner), self._trial(ask, told, tested), name, fields, account=owner)
        return Outcome(path_of(name, owner, "saved" if tested else "untested"))

    def test(self, ask: Ask, told: Told) -> Outcome:
        owner, name = owner_of(ask), ask.form.get("name", "")
        to = ask.form.get("send_to", "").strip()
        if "send" in ask.form and not to:
            raise UsageError("name the address that the test mail goes to", "send_to")
        found = trial.test(
            ask.about(owner),
            self._trial(ask, told, True),
            name,
            account=owner,
            send_to=to if "send" in ask.form else None,
        )
        return Outcome(trial=found)

    def trust(self, ask: Ask, told: Told) -> Outcome:
        owner, name = owner_of(ask), ask.form.get("name", "")
        trial.trust(ask.about(owner), self._trial(ask, told, True), name, account=owner)
        return Outcome(path_of(name, owner))

    # The two ways.

    def _page(self, ask: Ask, deed: Deed) -> Answer:
        steps: list[StepView] = []
        try:
            done = deed(ask, steps.append)
        except TestFailed as failed:
            return self._shown(ask, 422, trial=failed.view, steps=failed.view.steps)
        except (UsageError, Forbidden, WrongState) as error:
            field = getattr(error, "field", "")
            return self._shown(ask, status_of(error), error=sentence(error), field=field)
        if done.trial is None:
            return ask.see(done.go)
        return self._shown(ask, 200, trial=done.trial, steps=done.trial.steps)

    def _shown(self, ask: Ask, status: int, **facts: Any) -> Answer:
        """The form again, as it was filled in, but for its secrets."""
        values = {name: text for name, text in ask.form.items() if name != "password"}
        view: UpstreamView | None = None
        if not ask.url.startswith("/integrations/new"):
            view = upstreams.show(ask.desk, ask.form.get("name", ""), account=owner_of(ask))
            if not ask.url.startswith("/integrations/change"):
                values = integrations.values_of(view) | {"send_to": values.get("send_to", "")}
        return integrations.form(ask, view, values, status, **facts)

    async def _flow(self, ask: Ask, deed: Deed) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        steps: asyncio.Queue[StepView | None] = asyncio.Queue()

        def tell(step: StepView) -> None:
            loop.call_soon_threadsafe(steps.put_nowait, step)

        yield self._line(ask, "mail/trial_begin.html", {})
        task = asyncio.ensure_future(self._frame.slowly(ask.account, lambda: deed(ask, tell)))
        task.add_done_callback(lambda _: steps.put_nowait(None))
        number = 0
        while (step := await steps.get()) is not None:
            number += 1
            facts = {"step": step, "number": number}
            yield self._line(ask, "mail/trial_step.html", facts, "ol.steps")
        try:
            done = await task
        except TestFailed as failed:
            yield self._line(ask, "mail/trial_end.html", {"trial": failed.view, "saving": True})
        except (WaypostError, Failure) as error:
            said = error.text if isinstance(error, Failure) else error.public
            said = said[:1].upper() + said[1:]
            yield self._line(ask, "mail/trial_error.html", {"said": said})
        else:
            if done.trial is None:
                yield msgspec.json.encode({"go": done.go}) + b"\n"
            else:
                facts = {"trial": done.trial, "saving": False}
                yield self._line(ask, "mail/trial_end.html", facts)

    def _line(self, ask: Ask, template: str, facts: dict[str, Any], into: str = "") -> bytes:
        told = {"html": self._frame.draw(ask, template, facts).decode()}
        return msgspec.json.encode(told | ({"into": into} if into else {})) + b"\n"

    def _trial(self, ask: Ask, told: Told, test: bool) -> Trial:
        config, clock = self._frame.config, ask.desk.clock
        guard = make_guard(config.upstreams.allow_networks, config.upstreams.ports)
        tokens = Tokens(DeskVault(ask.desk), clock)
        return Trial(Setup(config.hostname, guard, clock, tokens=tokens), told, test)
