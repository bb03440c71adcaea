"""The check of the listeners: each address is free, or this relay answers there.

Promises to hold an address for an instant only, and to send nothing but a look. Knows nothing of
how findings are shown.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException, HTTPSConnection

from waypost.config import Config
from waypost.desk.care.finding import Finding, State
from waypost.values import Endpoint

ANSWER_S = 3.0  # a relay on this machine answers in milliseconds
GREETING_OCTETS = 512  # RFC 5321 4.5.3.1.5
ANY = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


def listeners(config: Config) -> Iterator[Finding]:
    """A finding for each configured address."""
    for kind in ("submission", "submissions", "http", "https", "metrics"):
        for endpoint in getattr(config.listen, kind):
            yield _listener(kind, endpoint, config.hostname)


def _listener(kind: str, endpoint: Endpoint, hostname: str) -> Finding:
    name = f"listen.{kind}"
    trouble = _bound(endpoint)
    if trouble is None:
        return Finding.of(name, State.OK, f"{endpoint} is free")
    if trouble.errno == errno.EADDRINUSE:
        if _ours(kind, endpoint, hostname):
            return Finding.of(name, State.OK, f"a relay answers at {endpoint}")
        return Finding.of(
            name,
            State.ERROR,
            f"{endpoint} is taken by another program",
            f"end that program, or choose another port for listen.{kind}",
        )
    fixes = {
        errno.EACCES: "ports below 1024 need CAP_NET_BIND_SERVICE, as in contrib/waypost.service",
        errno.EADDRNOTAVAIL: "that address is not one of this machine's",
    }
    said = trouble.strerror or str(trouble)
    fix = fixes.get(trouble.errno or 0, f"correct listen.{kind}")
    # Whoever looks may lack a right that the service has.
    state = State.WARNING if trouble.errno == errno.EACCES and os.geteuid() else State.ERROR
    return Finding.of(name, state, f"{endpoint}: {said}", fix)


def _bound(endpoint: Endpoint) -> OSError | None:
    """Why the address cannot be listened on, None where it can."""
    try:
        found = socket.getaddrinfo(
            endpoint.host or None, endpoint.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, kind, protocol, _, address in found[:1]:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
                probe.listen(1)
    except OSError as error:
        return error
    return None


def _ours(kind: str, endpoint: Endpoint, hostname: str) -> bool:
    host = ANY.get(endpoint.host, endpoint.host)
    try:
        if kind in ("submission", "submissions"):
            return _greets(kind == "submissions", host, endpoint.port, hostname)
        return _answers(kind, host, endpoint.port)
    except (OSError, HTTPException):
        return False


def _greets(tls: bool, host: str, port: int, hostname: str) -> bool:
    with socket.create_connection((host, port), ANSWER_S) as plain:
        line = plain if not tls else _unverified().wrap_socket(plain, server_hostname=hostname)
        with line:
            said = line.recv(GREETING_OCTETS).decode("ascii", "replace")
    return said.startswith(f"220 {hostname}")


def _answers(kind: str, host: str, port: int) -> bool:
    if kind == "https":
        connection: HTTPConnection = HTTPSConnection(
            host, port, timeout=ANSWER_S, context=_unverified()
        )
    else:
        connection = HTTPConnection(host, port, timeout=ANSWER_S)
    try:
        connection.request("GET", "/metrics" if kind == "metrics" else "/version")
        answer = connection.getresponse()
        return answer.status == 200 and b"waypost" in answer.read(65536)
    finally:
        connection.close()


def _unverified() -> ssl.SSLContext:
    """We look whether it is us, and tell it nothing."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
