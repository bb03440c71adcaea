"""A person at the dashboard without JavaScript: cookies, forms and the tokens in them."""

from __future__ import annotations

import html
import http.client
import re
from dataclasses import dataclass, field
from urllib.parse import urlencode

PATIENCE_S = 120.0  # of one page on a busy machine
_TOKEN = re.compile(r'name="csrf" value="([0-9a-f]{64})"')


@dataclass
class Page:
    """What came back; `headers` in lower case, of several the last."""

    status: int
    headers: dict[str, str]
    text: str
    set_cookies: list[str]

    @property
    def location(self) -> str:
        return self.headers.get("location", "")

    @property
    def words(self) -> str:
        """The text between the tags, on one line."""
        return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", self.text)).split())

    @property
    def token(self) -> str:
        """The token of its first form."""
        found = _TOKEN.search(self.text)
        assert found, self.text
        return found[1]


@dataclass
class Person:
    """One browser. `headers` go with every request."""

    port: int
    headers: dict[str, str] = field(default_factory=dict)
    cookies: dict[str, str] = field(default_factory=dict)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Page:
        """One request, with the cookies; redirects are not followed."""
        sent = {"Accept": "text/html", **self.headers, **(headers or {})}
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request(method, path, body, sent)
            got = connection.getresponse()
            text = got.read().decode()
        finally:
            connection.close()
        lines = got.headers.get_all("set-cookie") or []
        for line in lines:
            name, _, value = line.partition(";")[0].partition("=")
            if value:
                self.cookies[name] = value
            else:
                self.cookies.pop(name, None)
        lower = {name.lower(): value for name, value in got.getheaders()}
        return Page(got.status, lower, text, lines)

    def get(self, path: str) -> Page:
        return self.ask("GET", path)

    def post(self, path: str, token: str, /, **fields: str) -> Page:
        """A form; an empty token is left out."""
        given = {**fields, **({"csrf": token} if token else {})}
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return self.ask("POST", path, urlencode(given).encode(), kind)

    def submit(self, page: str, action: str = "", /, **fields: str) -> Page:
        """Loads a page and sends a form of it."""
        return self.post(action or page, self.get(page).token, **fields)

    def log_in(self, email: str, password: str) -> Page:
        return self.submit("/login", email=email, password=password)
