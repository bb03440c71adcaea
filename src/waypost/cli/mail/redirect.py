"""Where a browser comes back to after a consent: a listener on this machine, for one answer.

Promises that it listens on loopback alone, that nothing but the awaited state is taken, and that
nothing of the address that came is written anywhere. Knows nothing of tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit

from waypost.core.errors import UsageError, WrongState
from waypost.core.reply import printable

REQUEST_S = 5.0  # a browser says what it wants at once
LOOK_S = 0.5  # between looks at the clock
PAGE = """\
<!doctype html><html lang="en"><meta charset="utf-8"><title>Waypost</title>
<p>{text}</p></html>
"""
_THANKS = "Thank you. Back to the terminal: it says whether it worked. This window may be closed."
_NOT_OURS = "This is not what was asked for. Begin again with the address from the terminal."


def code_in(url: str, state: str) -> str:
    """The code in the address that the browser was sent to. Raises `WrongState`, `UsageError`."""
    said = parse_qs(urlsplit(url.strip()).query, max_num_fields=40)
    if _first(said, "state") != state:
        raise UsageError("that address does not belong to this consent: its state differs", "url")
    if "error" in said:
        why = f"{_first(said, 'error')} {_first(said, 'error_description')}"
        raise WrongState(f"the consent was not given: {printable(why, 300)}")
    code = _first(said, "code")
    if not code:
        raise UsageError("that address holds no code", "url")
    return code


class Listener:
    """Listens from when it is made; `port` 0 takes any that is free. Raises `WrongState`."""

    def __init__(self, port: int) -> None:
        try:
            self._server = _Server(("127.0.0.1", port), _Handler)
        except OSError as error:
            raise WrongState(f"port {port} cannot be listened on: {error.strerror}") from error
        self._server.timeout = LOOK_S

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def wait(self, state: str, goes_on: Callable[[], bool]) -> str:
        """The code that came with this state. Raises `WrongState` when it comes no more."""
        self._server.state = state
        try:
            while not self._server.came:
                if not goes_on():
                    raise WrongState("no consent came within 10 minutes: begin again")
                self._server.handle_request()
        finally:
            self._server.server_close()
        return code_in(self._server.came, state)


class _Server(HTTPServer):
    state = ""
    came = ""

    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that hung up is nothing to tell of."""


class _Handler(BaseHTTPRequestHandler):
    timeout = REQUEST_S
    server: _Server

    def do_GET(self) -> None:
        said = parse_qs(urlsplit(self.path).query, max_num_fields=40)
        ours = _first(said, "state") == self.server.state
        if ours:
            self.server.came = self.path
        page = PAGE.format(text=_THANKS if ours else _NOT_OURS).encode()
        self.send_response(200 if ours else 400)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the address holds the code."""


def _first(said: dict[str, list[str]], name: str) -> str:
    return (said.get(name) or [""])[0]
