"""SASL as SMTP carries it (RFC 4954), both ends: PLAIN (RFC 4616) and LOGIN; XOAUTH2 as a client.

Promises: nothing is decoded that is not strict base64; no secret in an error or a repr. Knows
nothing of keys, nor of what a right password is.
"""

from __future__ import annotations

import binascii
from typing import Protocol

from waypost.core.errors import Secret
from waypost.core.reply import Stage
from waypost.wire.errors import NoMechanism, ProtocolError
from waypost.wire.events import Auth

BAD_BASE64 = "501 5.5.2 That is not base64"
BAD_PLAIN = "501 5.5.2 PLAIN wants base64 of NUL user NUL password, in UTF-8"
BAD_LOGIN = "501 5.5.2 LOGIN wants base64 of UTF-8"
CANCELLED = "501 5.7.0 Authentication cancelled"
UNKNOWN = "504 5.5.4 AUTH is PLAIN or LOGIN"
CHALLENGE_EMPTY = "334 "
CHALLENGE_USER = "334 VXNlcm5hbWU6"  # "Username:"
CHALLENGE_PASSWORD = "334 UGFzc3dvcmQ6"  # "Password:"


class Exchange:
    """The server's side of one AUTH. Each step gives a 334 line, a refusing line, or the event."""

    def __init__(self, mechanism: str) -> None:
        self.mechanism = mechanism.upper()
        self._user: str | None = None

    def begin(self, initial: str) -> Auth | str:
        """With the rest of the AUTH line; an initial response of `=` is empty (RFC 4954 4)."""
        if self.mechanism not in ("PLAIN", "LOGIN"):
            return UNKNOWN
        if not initial:
            return CHALLENGE_EMPTY if self.mechanism == "PLAIN" else CHALLENGE_USER
        return self.step("" if initial == "=" else initial)

    def step(self, line: str) -> Auth | str:
        """With one line of the client's."""
        if line == "*":
            return CANCELLED
        try:
            octets = binascii.a2b_base64(line.encode("ascii"), strict_mode=True)
        except (binascii.Error, UnicodeError):
            return BAD_BASE64
        try:
            text = octets.decode("utf-8")
        except UnicodeError:
            return BAD_PLAIN if self.mechanism == "PLAIN" else BAD_LOGIN
        return self._plain(text) if self.mechanism == "PLAIN" else self._login(text)

    def _plain(self, text: str) -> Auth | str:
        parts = text.split("\0")
        if len(parts) != 3:
            return BAD_PLAIN
        return Auth("PLAIN", parts[1], Secret(parts[2]))

    def _login(self, text: str) -> Auth | str:
        if "\0" in text:
            return BAD_LOGIN
        if self._user is None:
            self._user = text
            return CHALLENGE_PASSWORD
        return Auth("LOGIN", self._user, Secret(text))


class Mechanism(Protocol):
    """The client's side of one AUTH, of any mechanism."""

    name: str

    def initial(self) -> bytes | None:
        """The initial response, or None: the server begins."""

    def respond(self, challenge: bytes) -> bytes | None:
        """The answer to a challenge (both decoded), or None: cancel."""


class Plain:
    """RFC 4616, without an authorization identity."""

    name = "PLAIN"

    def __init__(self, username: str, password: Secret) -> None:
        self._username = username
        self._password = password

    def initial(self) -> bytes | None:
        return f"\0{self._username}\0{self._password.reveal()}".encode()

    def respond(self, challenge: bytes) -> bytes | None:
        """Some servers ignore the initial response and ask for it again."""
        return None if challenge else self.initial()


class Login:
    """LOGIN: the server asks for the user name, then for the password; its words are not read."""

    name = "LOGIN"

    def __init__(self, username: str, password: Secret) -> None:
        self._answers = [password.reveal().encode(), username.encode()]

    def initial(self) -> bytes | None:
        return None

    def respond(self, challenge: bytes) -> bytes | None:
        return self._answers.pop() if self._answers else None


class XOAuth2:
    """XOAUTH2, Google's and Microsoft's: a user name and a bearer token in one initial response.

    A refusal comes as a challenge (334 and JSON), which is answered with an empty line; the 535
    comes behind that.
    """

    name = "XOAUTH2"

    def __init__(self, username: str, token: Secret) -> None:
        self._username = username
        self._token = token
        self._refused = False

    def initial(self) -> bytes | None:
        user, token = self._username, self._token.reveal()
        return f"user={user}\x01auth=Bearer {token}\x01\x01".encode()

    def respond(self, challenge: bytes) -> bytes | None:
        """An empty challenge asks for the initial response again, any other is the refusal."""
        if self._refused:
            return None
        self._refused = bool(challenge)
        return b"" if challenge else self.initial()


def bearer(offered: tuple[str, ...], username: str, token: Secret) -> Mechanism:
    """XOAUTH2 where it is offered; raises `NoMechanism`, or `ProtocolError` for what would hide in
    the response."""
    if not username.isprintable() or not token.reveal().isprintable():
        raise ProtocolError("the user name or the token holds a control character", Stage.AUTH)
    if "XOAUTH2" in offered:
        return XOAuth2(username, token)
    said = ", ".join(offered[:8]) or "no AUTH at all"
    raise NoMechanism(f"the server offers {said}; XOAUTH2 is needed", Stage.AUTH)


def choose(offered: tuple[str, ...], username: str, password: Secret) -> Mechanism:
    """PLAIN where it is offered, else LOGIN; raises `NoMechanism`, or `ProtocolError` for a NUL."""
    if "\0" in username or "\0" in password.reveal():
        raise ProtocolError("the user name or the password holds a NUL", Stage.AUTH)
    if "PLAIN" in offered:
        return Plain(username, password)
    if "LOGIN" in offered:
        return Login(username, password)
    said = ", ".join(offered[:8]) or "no AUTH at all"
    raise NoMechanism(f"the server offers {said}; PLAIN or LOGIN is needed", Stage.AUTH)
