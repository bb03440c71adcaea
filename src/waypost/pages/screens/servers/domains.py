"""Domains: what DNS says of those that mail is sent from, and the records to publish.

Knows nothing of DNS.
"""

from __future__ import annotations

from litestar.handlers import HTTPRouteHandler

from waypost.core.errors import UsageError
from waypost.desk import senders, upstreams
from waypost.desk.domains import check as deeds
from waypost.pages.frame.ask import Answer, Ask
from waypost.pages.frame.failing import sentence
from waypost.pages.frame.frame import Frame

SHOWN = 60
GRADES = ("ok", "warning", "error")


class Domains:
    """The screen."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame

    def handlers(self) -> list[HTTPRouteHandler]:
        """The routes."""
        return [
            self._frame.get("/domains", self.show),
            self._frame.get("/domains/check", self.check, slow=True),
        ]

    def show(self, ask: Ask, status: int = 200, error: str | None = None) -> Answer:
        found = senders.list_(ask.desk, account=ask.account, limit=SHOWN)
        domains: dict[str, list[str]] = {}
        for sender in found:
            domains.setdefault(sender.address.rpartition("@")[2].lower(), []).append(sender.address)
        states = {
            state.domain: state
            for upstream in upstreams.list_(ask.desk, account=ask.account, limit=SHOWN)
            for state in sorted(upstream.domains, key=lambda state: GRADES.index(state.status))
        }
        return ask.page(
            "mail/domains.html",
            status,
            states=states,
            domains=sorted(domains.items()),
            error=error,
            typed=ask.query.get("domain", ""),
        )

    def check(self, ask: Ask) -> Answer:
        config = self._frame.config
        selectors = tuple(ask.query.get("selector", "").replace(",", " ").split())
        asked = deeds.Asked(account=ask.account, selectors=selectors)
        resolver = deeds.asking(ask.desk.clock, config.dns.servers).resolver()
        try:
            found = deeds.check(ask.desk, resolver, ask.query.get("domain", ""), asked)
        except UsageError as wrong:
            return self.show(ask, 400, sentence(wrong))
        return ask.page("mail/domain.html", found=found, selectors=" ".join(selectors))
