"""What a connection test says of a login by token, and what saving one tries."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from connection.connection_player import Play, Player
from peers.token_server import TokenServer
from waypost.clock import SystemClock
from waypost.core.errors import Secret, UsageError
from waypost.desk import accounts, upstreams
from waypost.desk.connection import connect, trial
from waypost.desk.connection.connect import Client
from waypost.desk.connection.edits import Fields
from waypost.desk.connection.trial import Trial
from waypost.desk.connection.vault import DeskVault
from waypost.desk.connection.views import TestFailed, TestView
from waypost.desk.office import Desk
from waypost.desk.secrets import FileSealer
from waypost.transport.check.run import Setup, Times
from waypost.transport.link.guard import Guard
from waypost.transport.oauth.tokens import Tokens
from waypost.upstream.settings import Form

SENDER = "me@x.example"
TAKES = "AUTH PLAIN LOGIN XOAUTH2"


@pytest.fixture
def tokens() -> Iterator[TokenServer]:
    server = TokenServer()
    yield server
    server.stop()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    key_file = tmp_path / "data" / "sealing.keys"
    clock = SystemClock()
    made = Desk(
        data=tmp_path / "data",
        clock=clock,
        sealer=FileSealer(key_file, clock),
        key_file=key_file,
        create=True,
    )
    accounts.create(made, "acme")
    return made


@pytest.fixture
def trying(desk: Desk) -> Trial:
    clock = SystemClock()
    held = Tokens(DeskVault(desk), clock)
    return Trial(Setup("relay.test", Guard(), clock, Times(60.0, 60.0), others=(), tokens=held))


def fields(port: int) -> Fields:
    form = Form(host="127.0.0.1", port=port, encryption="none")
    return Fields(form=form, login="xoauth2", sender=SENDER)


def connected(desk: Desk, tokens: TokenServer) -> None:
    client = Client(
        client_id="app-1",
        client_secret=Secret(tokens.book.client_secret),
        provider="microsoft",
        authorize_url=f"{tokens.url}/auth",
        token_url=f"{tokens.url}/token",
        trusted=True,
    )
    begun = connect.begin(desk, "up", "http://localhost:1/", client)
    said = parse_qs(urlsplit(begun.url).query)
    tokens.book.codes["c"] = {name: values[0] for name, values in said.items()}
    connect.finish(desk, "c", begun.state)


def played(desk: Desk, trying: Trial, tokens: TokenServer, play: Play, ended: bool) -> TestView:
    """An upstream that plays this is saved, connected and tested; `ended`: its token is refused by
    the token server too."""

    async def run() -> TestView:
        async with Player(play, None) as player:
            made = trial.Trial(trying.setup, test=False)
            await asyncio.to_thread(trial.add, desk, made, "up", fields(player.port))
            await asyncio.to_thread(connected, desk, tokens)
            if ended:
                tokens.book.answer = (400, '{"error":"invalid_grant"}')
            return await asyncio.to_thread(trial.test, desk, trying, "up")

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("play", "ended", "diagnosis", "step", "word"),
    [
        (Play(auth=TAKES), False, None, "MAIL FROM", ""),
        (
            Play(auth=TAKES, say={"AUTH": "535 5.7.3 Authentication unsuccessful"}),
            True,
            "authentication_failed",
            "login",
            "upstream connect up",
        ),
        (
            Play(auth=TAKES, say={"AUTH": "535 5.7.3 Authentication unsuccessful"}),
            False,
            "authentication_failed",
            "login",
            "5.7.3",
        ),
        (Play(auth="AUTH PLAIN LOGIN"), False, "authentication_failed", "login", "XOAUTH2"),
        (Play(auth=TAKES, say={"AUTH": "(silent)"}), False, "authentication_failed", "login", ""),
        (
            Play(auth=TAKES, say={"MAIL": "554 5.2.252 SendAsDenied; me not allowed to send as x"}),
            False,
            "sender_rejected",
            "MAIL FROM",
            "SendAsDenied",
        ),
    ],
)
def test_what_a_test_says(
    desk: Desk,
    trying: Trial,
    tokens: TokenServer,
    play: Play,
    ended: bool,
    diagnosis: str | None,
    step: str,
    word: str,
) -> None:
    if play.say.get("AUTH") == "(silent)":
        quick = Setup("relay.test", Guard(), SystemClock(), Times(60.0, 2.0), others=())
        held = Tokens(DeskVault(desk), SystemClock())
        trying = Trial(Setup(quick.hostname, quick.guard, quick.clock, quick.times, tokens=held))
    view = played(desk, trying, tokens, play, ended)
    assert (view.ok, view.diagnosis) == (diagnosis is None, diagnosis), view
    assert view.steps[-1].name == step
    assert word in f"{view.title} {view.causes} {view.fix} {view.transcript}"
    assert "secret" not in str(view).replace("application's secret", "")
    assert len({done.name for done in view.steps}) == len(view.steps)


def test_what_is_not_connected_yet_is_tested_up_to_the_login(desk: Desk, trying: Trial) -> None:
    async def run() -> list[str]:
        async with Player(Play(auth=TAKES), None) as player:
            made = await asyncio.to_thread(trial.add, desk, trying, "up", fields(player.port))
            assert (made.state, made.connected) == ("paused", False)
            assert "waypost upstream connect up" in made.reason
            return player.heard

    heard = asyncio.run(run())
    assert not [line for line in heard if line.startswith(("AUTH", "MAIL"))]
    with pytest.raises(TestFailed, match="connection_refused"):
        trial.change(desk, trying, "up", Fields(form=Form(port=1), login="xoauth2"))
    with pytest.raises(UsageError):
        upstreams.add(desk, "no", Fields(form=Form(preset="outlook", username=""), sender=SENDER))


def test_a_provider_that_takes_tokens_alone_needs_no_word_of_it(desk: Desk) -> None:
    made = upstreams.add(
        desk, "up", Fields(form=Form(preset="outlook"), sender="me@outlook.com"), account="acme"
    )
    assert (made.login, made.state, made.username) == ("xoauth2", "paused", "me@outlook.com")
