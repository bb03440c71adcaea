"""A visitor of the dashboard without a browser: cookies, forms with their token, pages as text."""

from __future__ import annotations

import http.client
import re
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

from peers.relay import Relay

PASSWORD = "a long enough password 7"
TOKEN = re.compile(r'name="csrf" value="([0-9a-f]+)"')


@dataclass
class Page:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def location(self) -> str:
        return self.headers.get("location", "")


@dataclass
class Visitor:
    """One browser's worth of cookies at a relay's HTTP port."""

    port: int
    cookies: dict[str, str] = field(default_factory=dict)
    token: str = ""

    def ask(
        self,
        method: str,
        path: str,
        form: list[tuple[str, str]] | None = None,
        headers: dict[str, str] | None = None,
    ) -> Page:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        sent = dict(headers or {})
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{k}={v}" for k, v in self.cookies.items())
        body = None
        if form is not None:
            body = urlencode(form).encode()
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        connection.request(method, path, body, sent)
        got = connection.getresponse()
        page = Page(got.status, {k.lower(): v for k, v in got.getheaders()}, got.read())
        for line in got.msg.get_all("set-cookie") or []:
            name, _, rest = line.partition("=")
            value = rest.partition(";")[0]
            if value:
                self.cookies[name] = value
            else:
                self.cookies.pop(name, None)
        connection.close()
        return page

    def get(self, path: str) -> Page:
        page = self.ask("GET", path)
        if found := TOKEN.search(page.body.decode("utf-8", "replace")):
            self.token = found[1]
        return page

    def post(self, path: str, *fields: tuple[str, str]) -> Page:
        """A form with the token of the last page."""
        return self.ask("POST", path, [("csrf", self.token), *fields])


def member(relay: Relay, email: str, account: str = "", role: str = "") -> Visitor:
    """A new member, logged in by the link that sets the first password."""
    words = ["--account", account] if account else []
    words += ["--role", role] if role else []
    link = relay.cli("member", "add", email, *words)["link"]
    visitor = Visitor(relay.http)
    path = urlsplit(link).path
    assert visitor.get(path).status == 200
    page = visitor.post(path, ("password", PASSWORD))
    assert page.status == 303, page.text
    visitor.get("/overview")
    return visitor
