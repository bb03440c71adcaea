"""Consents are used once and in time; token servers are bounded; accounts name no servers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from peers.token_server import TokenServer
from waypost.clock import SystemClock
from waypost.core.errors import NotFound, Secret, UsageError, WrongState
from waypost.core.upstream import Upstream
from waypost.desk import accounts, secrets, upstreams
from waypost.desk.connection import connect
from waypost.desk.connection.connect import Begun, Client
from waypost.desk.connection.edits import Fields
from waypost.desk.connection.vault import DeskVault
from waypost.desk.office import Desk
from waypost.desk.secrets import FileSealer
from waypost.transport.oauth import http
from waypost.transport.oauth.tokens import NoToken, Tokens
from waypost.transport.trouble import Scope
from waypost.upstream.oauth import TokenAway
from waypost.upstream.seal import SealError
from waypost.upstream.settings import Form

BACK = "http://127.0.0.1:4711/"


class MovedClock(SystemClock):
    def __init__(self) -> None:
        self.ms = 1_790_000_000_000

    def wall_ms(self) -> int:
        return self.ms


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
def tokens() -> Iterator[TokenServer]:
    server = TokenServer()
    yield server
    server.stop()


@pytest.fixture
def desk(tmp_path: Path, clock: MovedClock) -> Desk:
    key_file = tmp_path / "data" / "sealing.keys"
    made = Desk(
        data=tmp_path / "data",
        clock=clock,
        sealer=FileSealer(key_file, clock),
        key_file=key_file,
        create=True,
    )
    accounts.create(made, "acme")
    accounts.create(made, "other")
    form = Form(preset="gmail")
    for name, account in (("up", None), ("theirs", "acme")):
        fields = Fields(form=form, login="xoauth2", sender="me@gmail.com")
        upstreams.add(made, name, fields, account=account)
    return made


def client(tokens: TokenServer, *, trusted: bool = True) -> Client:
    return Client(
        client_id="app-1",
        client_secret=Secret(tokens.book.client_secret),
        authorize_url=f"{tokens.url}/auth",
        token_url=f"{tokens.url}/token",
        trusted=trusted,
    )


def consented(tokens: TokenServer, begun: Begun) -> str:
    """The code that the person's consent at this URL brings."""
    said = {name: values[0] for name, values in parse_qs(urlsplit(begun.url).query).items()}
    assert said["state"] == begun.state
    assert said["login_hint"] == "me@gmail.com"
    tokens.book.codes["c"] = said
    return "c"


def test_a_state_is_used_once(desk: Desk, tokens: TokenServer) -> None:
    begun = connect.begin(desk, "up", BACK, client(tokens))
    code = consented(tokens, begun)
    for wrong in ("", begun.state[:-1] + "x", "y" * 43, "\ud800"):
        with pytest.raises(WrongState):
            connect.finish(desk, code, wrong)
    assert connect.finish(desk, code, begun.state).connected
    tokens.book.codes["c"] = tokens.book.codes.get("c", {})
    with pytest.raises(WrongState):
        connect.finish(desk, code, begun.state)
    assert len(tokens.book.grants("authorization_code")) == 1


def test_a_state_is_used_in_time_and_by_its_owner(
    desk: Desk, tokens: TokenServer, clock: MovedClock
) -> None:
    begun = connect.begin(desk, "up", BACK, client(tokens))
    clock.ms += connect.CONSENT_MS + 1
    with pytest.raises(WrongState):
        connect.finish(desk, consented(tokens, begun), begun.state)
    for asker in (None, "other"):
        begun = connect.begin(desk, "theirs", BACK, client(tokens), account="acme")
        with pytest.raises(WrongState):
            connect.finish(desk, consented(tokens, begun), begun.state, account=asker)
    assert tokens.book.forms == []
    with pytest.raises(NotFound):
        connect.begin(desk, "theirs", BACK, client(tokens), account="other")


def test_only_the_operator_names_servers(desk: Desk, tokens: TokenServer) -> None:
    own = client(tokens, trusted=False)
    with pytest.raises(UsageError):
        connect.begin(desk, "theirs", BACK, own, account="acme")
    with pytest.raises(UsageError):
        connect.by_client(desk, "theirs", own, account="acme")
    assert tokens.book.forms == []
    begun = connect.begin(desk, "theirs", BACK, Client(client_id="app-1"), account="acme")
    assert begun.url.startswith("https://accounts.google.com/")
    for wrong in ("http://evil.example/", "javascript:alert(1)"):
        with pytest.raises(UsageError):
            connect.begin(desk, "up", wrong, client(tokens))


def test_yahoos_own_servers_are_known(desk: Desk) -> None:
    fields = Fields(form=Form(preset="yahoo"), login="xoauth2", sender="me@yahoo.com")
    upstreams.add(desk, "hers", fields, account="acme")
    app = Client(client_id="app-1", client_secret=Secret("s"))
    begun = connect.begin(desk, "hers", "https://localhost/", app, account="acme")
    where = urlsplit(begun.url)
    assert f"{where.scheme}://{where.netloc}{where.path}" == (
        "https://api.login.yahoo.com/oauth2/request_auth"
    )
    asked = parse_qs(where.query)
    assert (asked["scope"], asked["code_challenge_method"]) == (["mail-w"], ["S256"])
    assert asked["login_hint"] == ["me@yahoo.com"]
    with pytest.raises(UsageError, match="Yahoo gives no tokens for client credentials"):
        connect.by_client(desk, "hers", app, account="acme")


def test_a_code_without_its_verifier_is_worth_nothing(desk: Desk, tokens: TokenServer) -> None:
    """PKCE: what was asked for by another's challenge is not given."""
    begun = connect.begin(desk, "up", BACK, client(tokens))
    code = consented(tokens, begun)
    tokens.book.codes["c"] = {**tokens.book.codes["c"], "code_challenge": "A" * 43}
    with pytest.raises(WrongState, match="invalid_grant"):
        connect.finish(desk, code, begun.state)
    assert not upstreams.show(desk, "up").connected


def connected(desk: Desk, tokens: TokenServer) -> Upstream:
    begun = connect.begin(desk, "up", BACK, client(tokens))
    connect.finish(desk, consented(tokens, begun), begun.state)
    return upstreams.load(desk, "up")


def test_a_token_is_renewed_when_its_time_comes(
    desk: Desk, tokens: TokenServer, clock: MovedClock
) -> None:
    up = connected(desk, tokens)

    async def several() -> list[str]:
        kept = Tokens(DeskVault(desk), clock)
        found = await asyncio.gather(*(kept.token(up) for _ in range(5)))
        return [token.reveal() for token, _ in found]

    first = asyncio.run(several())
    assert len(set(first)) == 1
    assert tokens.book.grants("refresh_token") == []
    clock.ms += 3_481_000
    second = asyncio.run(several())
    assert len(set(second)) == 1
    assert second != first
    assert len(tokens.book.grants("refresh_token")) == 1


def test_a_rotated_token_is_kept_though_nobody_waits_any_more(
    desk: Desk, tokens: TokenServer, clock: MovedClock
) -> None:
    """A stop cancels connections that are being opened: the server may have answered by then."""
    up = connected(desk, tokens)
    clock.ms += 3_600_000
    vault = DeskVault(desk)

    async def play() -> None:
        asked, answered = asyncio.Event(), asyncio.Event()

        async def ask(_url: str, _form: dict[str, str]) -> tuple[int, bytes]:
            asked.set()
            await answered.wait()
            return 200, b'{"access_token":"new","refresh_token":"rotated","expires_in":3600}'

        one = asyncio.ensure_future(Tokens(vault, clock, ask).token(up))
        await asked.wait()
        one.cancel()
        await asyncio.sleep(0)
        assert vault.lock(up.id) is None  # nobody asks with the old one meanwhile
        answered.set()
        with pytest.raises(asyncio.CancelledError):
            await one
        free = vault.lock(up.id)
        assert free is not None
        free.close()

    asyncio.run(play())
    grant = vault.load(up.id)
    assert grant is not None
    assert (grant.access_token, grant.refresh_token) == ("new", "rotated")


@pytest.mark.parametrize(
    ("answer", "scope"),
    [
        ((400, '{"error":"invalid_grant"}'), Scope.UPSTREAM_PAUSED),
        ((401, '{"error":"invalid_client"}'), Scope.UPSTREAM_PAUSED),
        ((503, "busy"), Scope.UPSTREAM_FAILING),
        ((302, ""), Scope.UPSTREAM_FAILING),
        ((200, "{}"), Scope.UPSTREAM_FAILING),
        ((200, '{"access_token":"long"}' + " " * 70_000), Scope.UPSTREAM_FAILING),
        ((400, '{"error":"new"}'), Scope.UPSTREAM_FAILING),
    ],
)
def test_what_a_failed_renewal_means(
    desk: Desk, tokens: TokenServer, clock: MovedClock, answer: tuple[int, str], scope: Scope
) -> None:
    up = connected(desk, tokens)
    clock.ms += 3_600_000
    tokens.book.answer = answer
    with pytest.raises(NoToken) as told:
        asyncio.run(Tokens(DeskVault(desk), clock).token(up))
    assert told.value.trouble is not None
    assert told.value.trouble.scope is scope
    assert ("upstream connect up" in told.value.public) is (scope is Scope.UPSTREAM_PAUSED)


def test_a_token_server_that_repeats_secrets(
    desk: Desk, tokens: TokenServer, clock: MovedClock
) -> None:
    up = connected(desk, tokens)
    clock.ms += 3_600_000
    tokens.book.answer = lambda form: (
        400,
        f'{{"error":"invalid_grant","error_description":"{form["refresh_token"]}'
        f' {form["client_secret"]}"}}',
    )
    with pytest.raises(NoToken) as told:
        asyncio.run(Tokens(DeskVault(desk), clock).token(up))
    assert "secret" not in f"{told.value.public} {told.value.private}"
    assert "***" in told.value.public


def test_a_token_belongs_to_its_row_and_survives_rotation(desk: Desk, tokens: TokenServer) -> None:
    connected(desk, tokens)
    begun = connect.begin(desk, "theirs", BACK, client(tokens), account="acme")
    connect.finish(desk, consented(tokens, begun), begun.state, account="acme")
    vault = DeskVault(desk)
    one, two = upstreams.load(desk, "up").id, upstreams.load(desk, "theirs", account="acme").id
    before = vault.load(one)
    assert secrets.rotate(desk).resealed == 2
    assert vault.load(one) == before
    with desk.writing() as look:
        look.run(
            "UPDATE upstream SET oauth = (SELECT oauth FROM upstream WHERE id = ?) WHERE id = ?",
            (one, two),
        )
    with pytest.raises(SealError):
        vault.load(two)


def test_an_edit_does_not_point_a_token_elsewhere(desk: Desk, tokens: TokenServer) -> None:
    connected(desk, tokens)
    for form in (Form(host="evil.example"), Form(port=465), Form(username="you@gmail.com")):
        with pytest.raises(UsageError):
            upstreams.change(desk, "up", Fields(form=form))
    assert upstreams.change(desk, "up", Fields(form=Form(daily_cap=7))).connected
    moved = upstreams.change(desk, "up", Fields(form=Form(host="h.example"), login="xoauth2"))
    assert (moved.connected, moved.state) == (False, "paused")
    with pytest.raises(UsageError):
        upstreams.change(desk, "up", Fields(login="password"))
    back = upstreams.change(desk, "up", Fields(password=Secret("sesame")))
    assert (back.login, back.connected, back.has_password) == ("password", None, True)


def test_a_token_server_that_says_nothing_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(TokenAway, match="in time"):
            asyncio.run(http.post(url, {"a": "b"}, ask_s=0.2))
    with pytest.raises(TokenAway):
        asyncio.run(http.post(url, {"a": "b"}, ask_s=5))


def test_redirects_of_a_token_server_are_not_followed(tokens: TokenServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        elsewhere.setblocking(False)
        port = elsewhere.getsockname()[1]
        tokens.book.answer = (307, "")
        tokens.book.location = f"http://127.0.0.1:{port}/"
        with pytest.raises(TokenAway, match="redirect"):
            asyncio.run(http.post(f"{tokens.url}/token", {"secret": "s"}))
        with pytest.raises(BlockingIOError):  # nobody came
            elsewhere.accept()
