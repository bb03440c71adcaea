"""A token server over real HTTP: consents, codes with PKCE, refresh tokens, application rights.

It is deliberately not Waypost's own code, and strict: what RFC 6749 and 7636 ask of a client is
checked. A server is a thread; a test reads and changes its fields at any time.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

Form = dict[str, str]


@dataclass
class TokenBook:
    """What it knows and was asked. `valid`: access tokens that hold, shared with an SMTP server.

    `answer`, where set, is (status, body) or a function that makes one of a form, for every call.
    """

    client_id: str = "app-1"
    client_secret: str = "app-secret-1"
    life_s: int = 3600
    rotate: bool = False
    slow_s: float = 0.0
    answer: tuple[int, str] | Callable[[Form], tuple[int, str]] | None = None
    location: str = ""  # where a 3yz answer sends its client
    public_key: rsa.RSAPublicKey | None = None
    valid: set[str] = field(default_factory=set)
    refreshes: set[str] = field(default_factory=set)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    forms: list[Form] = field(default_factory=list)
    made: int = 0
    at_once: int = 0
    at_once_most: int = 0

    def grants(self, kind: str) -> list[Form]:
        return [form for form in self.forms if form.get("grant_type") == kind]

    def revoke(self) -> None:
        """Everything that was given ends."""
        self.valid.clear()
        self.refreshes.clear()

    def secrets(self) -> list[str]:
        """All that it gave or was given and nobody may see."""
        return [self.client_secret, *self.valid, *self.refreshes]


class TokenServer:
    """Listens on loopback; `consent` plays the person and the browser."""

    def __init__(self) -> None:
        self.book = TokenBook()
        handler = type("Handler", (_Handler,), {"book": self.book})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def flags(self) -> tuple[str, ...]:
        """For `waypost upstream connect`."""
        return ("--authorize-url", f"{self.url}/auth", "--token-url", f"{self.url}/token")

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


class _Handler(BaseHTTPRequestHandler):
    book: TokenBook

    def do_GET(self) -> None:
        """The person consents at once."""
        parts = urlsplit(self.path)
        said = {name: values[0] for name, values in parse_qs(parts.query).items()}
        right = (
            parts.path == "/auth"
            and said.get("response_type") == "code"
            and said.get("client_id") == self.book.client_id
            and said.get("code_challenge_method") == "S256"
            and len(said.get("code_challenge", "")) == 43
        )
        if not right:
            self.reply(400, "{}")
            return
        self.book.made += 1
        code = f"code-{self.book.made}"
        self.book.codes[code] = said
        query = urlencode({"code": code, "state": said["state"]})
        self.send_response(302)
        self.send_header("Location", f"{said['redirect_uri']}?{query}")
        self.end_headers()

    def do_POST(self) -> None:
        octets = self.rfile.read(int(self.headers["Content-Length"]))
        form = {name: values[0] for name, values in parse_qs(octets.decode()).items()}
        book = self.book
        book.forms.append(form)
        book.at_once += 1
        book.at_once_most = max(book.at_once_most, book.at_once)
        try:
            time.sleep(book.slow_s)
            if book.answer is None:
                told = self.grant(form)
            else:
                told = book.answer(form) if callable(book.answer) else book.answer
        finally:
            book.at_once -= 1  # before the answer, behind which the next may come at once
        self.reply(*told)

    def grant(self, form: Form) -> tuple[int, str]:
        book = self.book
        kind = form.get("grant_type")
        if kind == "urn:ietf:params:oauth:grant-type:jwt-bearer":
            return self.tokens() if self.signed(form["assertion"]) else self.no("invalid_grant")
        if (form.get("client_id"), form.get("client_secret")) != (
            book.client_id,
            book.client_secret,
        ):
            return self.no("invalid_client", 401)
        if kind == "client_credentials":
            return self.tokens()
        if kind == "refresh_token":
            if form["refresh_token"] not in book.refreshes:
                return self.no("invalid_grant", 400, "Token has been expired or revoked.")
            if book.rotate:
                book.refreshes.discard(form["refresh_token"])
                return self.tokens(refresh=True)
            return self.tokens()
        asked = book.codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        proof = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if asked is None or asked["code_challenge"] != proof:
            return self.no("invalid_grant")
        if asked["redirect_uri"] != form.get("redirect_uri"):
            return self.no("invalid_grant", 400, "redirect_uri differs")
        return self.tokens(refresh=True)

    def tokens(self, refresh: bool = False) -> tuple[int, str]:
        book = self.book
        book.made += 1
        token = f"ya29.access-{book.made}-secret"
        book.valid.add(token)
        said: dict[str, Any] = {
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": book.life_s,
        }
        if refresh:
            said["refresh_token"] = f"1//refresh-{book.made}-secret"
            book.refreshes.add(said["refresh_token"])
        return 200, json.dumps(said)

    def no(self, error: str, status: int = 400, why: str = "no") -> tuple[int, str]:
        return status, json.dumps({"error": error, "error_description": why})

    def signed(self, assertion: str) -> bool:
        head, claims, signature = assertion.split(".")
        said = json.loads(_unbase64url(claims))
        assert self.book.public_key is not None
        self.book.public_key.verify(
            _unbase64url(signature),
            f"{head}.{claims}".encode(),
            padding.PKCS1v15(),
            hashes.SHA256(),
        )
        return bool(said["sub"]) and said["exp"] - said["iat"] <= 3600

    def reply(self, status: int, body: str) -> None:
        self.send_response(status)
        if self.book.location:
            self.send_header("Location", self.book.location)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def _unbase64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
