"""A client of the HTTPS API over a real socket; every answer must be JSON of the one form."""

from __future__ import annotations

import http.client
import json
import select
from dataclasses import dataclass, field
from typing import Any

SEND = "/api/v1/email/send"
PATIENCE_S = 120.0  # of one call, among twenty of the largest on a busy machine


@dataclass
class Answer:
    """Status, headers in lower case, and the JSON."""

    status: int
    headers: dict[str, str]
    told: Any

    @property
    def data(self) -> Any:
        assert self.told["ok"] is True, self.told
        return self.told["data"]

    @property
    def code(self) -> str:
        assert self.told["ok"] is False, self.told
        assert isinstance(self.told["error"], str)
        assert set(self.told) <= {"ok", "error", "code", "field"}
        return str(self.told["code"])


@dataclass
class Client:
    """Calls of one key, over one kept connection."""

    port: int
    key: str
    headers: dict[str, str] = field(default_factory=dict)
    _kept: http.client.HTTPConnection | None = None

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        sent = {"Authorization": f"Bearer {self.key}" if self.key else "", **self.headers}
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        if body is not None:
            sent["Content-Type"] = "application/json"
        sent.update(headers or {})
        sent = {name: value for name, value in sent.items() if value}
        if self._kept is None:
            self._kept = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        if self._kept.sock is not None and select.select([self._kept.sock], [], [], 0)[0]:
            self._kept.close()  # it was kept for longer than a server does: this is its end
        self._kept.request(method, path, body, sent)
        got = self._kept.getresponse()
        octets = got.read()
        assert got.getheader("content-type") == "application/json", octets
        lower = {name.lower(): value for name, value in got.getheaders()}
        return Answer(got.status, lower, json.loads(octets))

    def send(self, with_: dict[str, str] | None = None, **fields: Any) -> Answer:
        """One message; what is not said is a plain one."""
        body = {"to": "ann@example.com", "subject": "Hello", "text": "Hi.\n", **fields}
        body = {name: value for name, value in body.items() if value is not None}
        return self.call("POST", SEND, body, with_)

    def get(self, path: str) -> Answer:
        return self.call("GET", path)

    def post(self, path: str, body: Any = None) -> Answer:
        return self.call("POST", path, body if body is not None else {})

    def close(self) -> None:
        if self._kept is not None:
            self._kept.close()
