"""A receiver of alerts: a real HTTP server that checks every signature by its own reading of
Standard Webhooks and answers as it is told.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import json
import threading
import time
from typing import Any

PLENTY = 16_777_216  # octets of an answer that nobody should read


class Receiver:
    """`alerts`: the good ones, in order; `ids`: of every try. `answers` are taken in turn."""

    def __init__(self, secret: str) -> None:
        self.secret = secret
        self.alerts: list[dict[str, Any]] = []
        self.ids: list[str] = []
        self.wrong: list[str] = []
        self.answers: list[int | str] = []
        self.hang_s = 5.0
        self.any_time = False
        self.cut = threading.Event()  # an answer was not read to its end
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.take(self)

            do_GET = do_POST

            def log_message(self, *_: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/alerts?to=me"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def take(self, request: http.server.BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers["content-length"]))
        ident, at = request.headers["webhook-id"], request.headers["webhook-timestamp"]
        key = base64.b64decode(self.secret.removeprefix("whsec_"))
        signed = f"{ident}.{at}.".encode() + body
        mac = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        if request.headers["webhook-signature"] != f"v1,{mac}" or request.command != "POST":
            self.wrong.append(request.headers["webhook-signature"])
        if abs(int(at) - time.time()) > 300 and not self.any_time:
            self.wrong.append(f"at {at}")
        self.ids.append(ident)
        answer = self.answers.pop(0) if self.answers else 204
        if isinstance(answer, str):
            self._misbehave(answer, request)
            return
        if 200 <= answer < 300:
            self.alerts.append({**json.loads(body), "id": ident})
        request.send_response(answer)
        if answer in (301, 302, 307, 308):
            request.send_header("location", self.url)
        request.send_header("content-length", "0")
        request.end_headers()

    def _misbehave(self, how: str, request: http.server.BaseHTTPRequestHandler) -> None:
        if how == "hang":
            time.sleep(self.hang_s)
        elif how == "drop":
            request.connection.close()
        else:
            self._flood(request)

    def _flood(self, request: http.server.BaseHTTPRequestHandler) -> None:
        self.alerts.append({"id": self.ids[-1]})
        request.send_response(200)
        request.send_header("content-length", str(PLENTY * 1024))
        request.end_headers()
        try:
            for _ in range(PLENTY // 65_536):
                request.wfile.write(b"x" * 65_536)
        except OSError:
            self.cut.set()
