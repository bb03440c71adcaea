"""What the description allows, and what it does not, put to a running relay by schemathesis: no
answer is undocumented, of another shape than described, or our mistake (5xx but 503).
"""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable

from peers.dns_server import DnsServer
from peers.http_client import Client
from peers.recording import RecordingServer
from peers.relay import SENDER, Relay

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import schemathesis
    from schemathesis.checks import CHECKS
    from schemathesis.core.result import Ok

SHORT, LONG = 2, 10  # calls a route, of each kind
DELETED = 12  # things that calls may guess the numbers of
CALL_S = 120.0
MANAGE = "/api/v1/manage"
NAME = re.compile(r"[\w.-]{1,253}")  # what may be looked up; all else is refused before
NAMES = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)


@schemathesis.serializer("message/rfc822")
def as_it_is(_context: Any, value: Any) -> Any:
    return str(value).encode()


@pytest.fixture(scope="module")
def names() -> Iterator[DnsServer]:
    """The only name server that the relay asks: no call leaves this machine."""
    server = DnsServer()
    server.zone("example.com", '@ MX 10 mx\n@ TXT "v=spf1 -all"\nmx A 192.0.2.25\n')
    yield server
    server.stop()


@pytest.fixture(scope="module")
def relay(
    tmp_path_factory: pytest.TempPathFactory, upstream: RecordingServer, names: DnsServer
) -> Iterator[Relay]:
    """One of its own: the calls change and remove whatever they find."""
    made = Relay(
        tmp_path_factory.mktemp("described"),
        settings=f'inline_wait = 0.5\nglobal_sender = "{SENDER}"',
        tables={
            "limits": "rate_per_minute = 0",
            "listen": 'trusted_proxies = ["127.0.0.1"]',
            "dns": f'servers = ["{names.place}"]\nwatch = false',
        },
    )
    made.start()
    made.upstream("main", upstream.book.port, SENDER)
    made.cli("account", "create", "acme", "--credits", "unlimited")
    manager = Client(made.http, made.cli("token", "create")["token"])
    for _ in range(DELETED):
        manager.post(f"{MANAGE}/keys", {"account": "acme"})
        manager.post(f"{MANAGE}/tokens", {"account": "acme"})
    manager.close()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def secrets(relay: Relay) -> dict[str, tuple[str, str]]:
    """(key, token) of each kind of caller."""
    return {
        "nobody": ("", ""),
        "operator": (relay.key("acme"), relay.cli("token", "create")["token"]),
        "account": (relay.key("acme"), relay.cli("token", "create", "--account", "acme")["token"]),
    }


def run(relay: Relay, who: tuple[str, str], calls: int, mode: Any, port: int) -> int:
    """Puts so many calls to each route; how many routes there were. `port`: an upstream's."""
    at = f"http://127.0.0.1:{relay.http}"
    schema = schemathesis.openapi.from_url(f"{at}/openapi.json")
    routes = 0
    with requests.Session() as session:
        for found in schema.get_all_operations():
            assert isinstance(found, Ok), found
            operation = found.ok()
            routes += 1
            secret = who[1] if operation.path.startswith(MANAGE) else who[0]
            headers = {"Authorization": f"Bearer {secret}"} if secret else {}
            put(operation.as_strategy(generation_mode=mode), calls, (at, session, headers, port))
    return routes


def put(cases: Any, calls: int, by: tuple[str, requests.Session, dict[str, str], int]) -> None:
    """Makes the calls and looks at each answer."""
    at, session, headers, port = by
    checks = [CHECKS.get_one(name) for name in NAMES]
    ours = CHECKS.get_one("not_a_server_error")

    @given(case=cases)
    @settings(
        max_examples=calls,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def one(case: Any) -> None:
        case.headers.pop("Authorization", None)  # a wrong one is answered ever later
        if isinstance(case.body, dict):
            host, at_port = case.body.get("host"), case.body.get("port")
            if isinstance(host, str) and NAME.fullmatch(host):
                case.body["host"] = "127.0.0.1"  # names of servers are the machine's to look up
            if isinstance(at_port, int) and 0 < at_port < 65_536:
                case.body["port"] = port
        answer = case.call(at, session=session, headers=headers, timeout=CALL_S)
        away = answer.status_code in (502, 503)  # the upstream's, or told to come again
        case.validate_response(answer, checks=[c for c in checks if not (away and c is ours)])

    with contextlib.suppress(Unsatisfiable):  # nothing that it takes could be wrong
        one()


def test_every_route_answers_as_described(
    relay: Relay, secrets: dict[str, tuple[str, str]], upstream: RecordingServer
) -> None:
    port = upstream.book.port
    assert run(relay, secrets["operator"], SHORT, schemathesis.GenerationMode.POSITIVE, port) > 60


@pytest.mark.slow
@pytest.mark.parametrize("who", ["nobody", "operator", "account"])
@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_every_answer_is_described(
    relay: Relay,
    secrets: dict[str, tuple[str, str]],
    upstream: RecordingServer,
    who: str,
    mode: str,
) -> None:
    kind, calls = schemathesis.GenerationMode(mode), LONG if who != "nobody" else SHORT
    assert run(relay, secrets[who], calls, kind, upstream.book.port) > 60
    relay.audit()
