"""Logins by token: real processes, a real HTTP token server, an SMTP server that checks tokens."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from peers.process import wait_until
from peers.recording import Recording, RecordingServer
from peers.relay import SENDER, Relay, ident_of, mail
from peers.token_server import TokenServer


@pytest.fixture
def tokens() -> Iterator[TokenServer]:
    server = TokenServer()
    yield server
    server.stop()


@pytest.fixture
def relay(make_relay: Callable[..., Relay]) -> Relay:
    return make_relay(settings="inline_wait = 30")


@pytest.fixture
def smtp(tokens: TokenServer) -> Iterator[RecordingServer]:
    """Takes the tokens that the token server says hold, and nothing else."""
    server = RecordingServer(Recording(bearers=tokens.book.valid))
    server.start()
    yield server
    server.stop()


def registered(relay: Relay, tokens: TokenServer, *more: str) -> list[str]:
    """The flags that name the application."""
    secret = relay.folder / "client-secret"
    secret.write_text(tokens.book.client_secret + "\n")
    named = ["--client-id", tokens.book.client_id, "--client-secret-file", str(secret)]
    return ["--provider", "google", *named, *tokens.flags, *more]


def add(relay: Relay, smtp: RecordingServer, name: str = "main", sender: str = SENDER) -> None:
    relay.upstream(name, smtp.book.port, sender, "--login", "xoauth2")


def consented(relay: Relay, *flags: str, name: str = "main") -> Any:
    """`upstream connect` with a browser that consents; the JSON that it prints."""
    command = ["--config", str(relay.config), "--json", "upstream", "connect", name, *flags]
    with subprocess.Popen(
        [sys.executable, "-m", "waypost", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=relay.environment(),
    ) as process:
        assert process.stderr is not None
        url = next((line for line in process.stderr if line.startswith("http")), "")
        assert url, process.stderr.read()
        with urllib.request.urlopen(url.strip(), timeout=120) as page:
            assert b"Back to the terminal" in page.read()
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return json.loads(out)


def again(smtp: RecordingServer) -> None:
    """Ends every connection, so that the next mail needs a new login."""
    smtp.away()
    smtp.start()


def test_from_consent_to_revocation_and_back(
    relay: Relay, tokens: TokenServer, smtp: RecordingServer
) -> None:
    book, arrived = tokens.book, smtp.book.messages
    relay.cli("account", "create", "acme", "--credits", "100")
    key = relay.key("acme")
    add(relay, smtp)
    shown = relay.cli("upstream", "show", "main")
    assert (shown["login"], shown["connected"], shown["state"]) == ("xoauth2", False, "paused")
    assert "waypost upstream connect main" in shown["reason"]
    code, text = relay.submit(key, mail(), ["ann@example.com"])
    assert (code, text.split()[0]) == (250, "queued:")

    shown = consented(relay, *registered(relay, tokens))
    assert (shown["login"], shown["connected"], shown["state"]) == ("xoauth2", True, "ok")
    assert (shown["username"], shown["hasPassword"]) == (SENDER, False)
    wait_until(lambda: relay.message(ident_of(text))["status"] == "sent", "what waited")
    assert set(smtp.book.logins) == {SENDER}
    assert book.grants("refresh_token") == []

    book.valid.clear()  # the token has ended, though its time has not come
    again(smtp)
    code, text = relay.submit(key, mail(), ["ann@example.com"])
    assert (code, text.split()[0]) == (250, "OK:")
    assert len(book.grants("refresh_token")) == 1

    secrets = book.secrets()
    book.revoke()
    again(smtp)
    code, text = relay.submit(key, mail(), ["ann@example.com"])
    assert (code, text.split()[0]) == (250, "queued:")
    wait_until(lambda: relay.cli("upstream", "show", "main")["state"] == "paused", "the pause")
    shown = relay.cli("upstream", "show", "main")
    assert "Token has been expired or revoked" in shown["reason"]
    assert shown["reason"].endswith("waypost upstream connect main")
    assert relay.message(ident_of(text))["status"] == "queued"
    assert relay.credits() == 97
    tested = relay.run("--json", "upstream", "test", "main")
    assert (tested.returncode, json.loads(tested.stdout)["diagnosis"]) == (
        1,
        "authentication_failed",
    )

    consented(relay)  # by the application that it was connected with
    wait_until(lambda: relay.message(ident_of(text))["status"] == "sent", "the last message")
    assert len(arrived) == 3
    assert relay.credits() == 97
    relay.audit()
    for secret in [*secrets, *book.secrets()]:
        assert not leaks(relay, secret.encode()), secret
        assert secret not in tested.stdout + tested.stderr


def leaks(relay: Relay, secret: bytes) -> list[Path]:
    """Files of the relay that hold it: its log, its store."""
    files = [relay.log, *(path for path in relay.data.rglob("*") if path.is_file())]
    return [path for path in files if secret in path.read_bytes()]


@pytest.mark.slow
def test_one_renewal_at_a_time_over_processes(
    relay: Relay, tokens: TokenServer, smtp: RecordingServer
) -> None:
    book = tokens.book
    add(relay, smtp)
    consented(relay, *registered(relay, tokens))
    book.rotate, book.slow_s = True, 0.3
    before = set(book.refreshes)
    book.valid.clear()
    done: list[int] = []

    def test() -> None:
        done.append(relay.run("upstream", "test", "main").returncode)

    threads = [threading.Thread(target=test) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert done == [0, 0, 0, 0]
    assert (len(book.grants("refresh_token")), book.at_once_most) == (1, 1)
    # The refresh token that came with it took the place of the old one: the next renewal works.
    assert not before & book.refreshes
    book.valid.clear()
    assert relay.run("upstream", "test", "main").returncode == 0


@pytest.mark.slow
def test_a_token_server_that_is_away_bounces_nothing(
    relay: Relay, tokens: TokenServer, smtp: RecordingServer
) -> None:
    book = tokens.book
    relay.cli("account", "create", "acme", "--credits", "100")
    key = relay.key("acme")
    add(relay, smtp)
    consented(relay, *registered(relay, tokens))
    book.valid.clear()
    book.answer = (503, "busy")
    code, text = relay.submit(key, mail(), ["ann@example.com"])
    assert (code, text.split()[0]) == (250, "queued:")
    wait_until(lambda: relay.cli("upstream", "show", "main")["state"] == "failing", "the back-off")
    shown = relay.cli("upstream", "show", "main")
    assert "503" in shown["reason"]
    assert shown["nextProbeAt"] is not None
    book.answer = None
    relay.cli("upstream", "resume", "main")
    wait_until(lambda: relay.message(ident_of(text))["status"] == "sent", "the mail")
    shown = relay.cli("upstream", "show", "main")
    assert (shown["state"], shown["reason"]) == ("ok", "")
    assert "503" in shown["lastError"]
    relay.audit()


@pytest.mark.slow
def test_rights_of_applications_and_service_accounts(
    relay: Relay, tokens: TokenServer, smtp: RecordingServer
) -> None:
    add(relay, smtp)
    flags = registered(relay, tokens, "--client-credentials")
    shown = relay.cli("upstream", "connect", "main", *flags)
    assert (shown["login"], shown["state"]) == ("xoauth2", "ok")
    assert tokens.book.grants("client_credentials")[0]["scope"] == "https://mail.google.com/"
    wrong = relay.folder / "wrong"
    wrong.write_text("guess")
    flags[flags.index("--client-secret-file") + 1] = str(wrong)
    refused = relay.run("upstream", "connect", "main", *flags)
    assert refused.returncode == 1
    assert "invalid_client" in refused.stderr
    assert refused.stderr.count("\n") == 1

    key = rsa.generate_private_key(65537, 2048)
    tokens.book.public_key = key.public_key()
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
    account = {
        "type": "service_account",
        "client_email": "relay@project.iam.example",
        "private_key": pem,
        "private_key_id": "k1",
        "token_uri": f"{tokens.url}/token",
    }
    file = relay.folder / "account.json"
    file.write_text(json.dumps(account))
    shown = relay.cli("upstream", "connect", "main", "--service-account", str(file))
    assert shown["state"] == "ok"
    assert pem.splitlines()[3].encode() not in b"".join(
        path.read_bytes() for path in relay.data.rglob("*") if path.is_file()
    )
    file.write_text("{}")
    refused = relay.run("upstream", "connect", "main", "--service-account", str(file))
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)


@pytest.mark.slow
def test_without_a_browser_the_address_is_pasted(
    relay: Relay, tokens: TokenServer, smtp: RecordingServer
) -> None:
    add(relay, smtp)
    command = ["--config", str(relay.config), "upstream", "connect", "main", "--no-browser"]
    with subprocess.Popen(
        [sys.executable, "-m", "waypost", *command, *registered(relay, tokens)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=relay.environment(),
    ) as process:
        assert process.stdout is not None
        url = next(line for line in process.stdout if line.startswith("http")).strip()
        out, _ = process.communicate(went_to(url) + "\n", timeout=120)
    assert process.returncode == 0
    assert "xoauth2" in out
    for pasted in ("", "https://elsewhere.example/?code=1&state=2"):
        done = relay.run("upstream", "connect", "main", "--no-browser", stdin=pasted)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def went_to(url: str) -> str:
    """Where the browser is sent after the consent."""

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: Any) -> None:
            return None

    opener = urllib.request.build_opener(Stay)
    try:
        opener.open(url, timeout=120)
    except urllib.error.HTTPError as answer:
        answer.close()
        return str(answer.headers["Location"])
    raise AssertionError("nobody was sent anywhere")


@pytest.mark.slow
def test_several_workers_share_one_token(
    make_relay: Callable[..., Relay], tokens: TokenServer, smtp: RecordingServer
) -> None:
    """Of a token server that neither the preset nor a provider tells."""
    relay, book = make_relay(settings="workers = 2\ninline_wait = 30"), tokens.book
    relay.cli("account", "create", "acme", "--credits", "100")
    key = relay.key("acme")
    for name in ("one", "two"):
        add(relay, smtp, name, f"{name}@relay.test")
    flags = registered(relay, tokens, "--scope", "mail")[2:]
    for name in ("one", "two"):
        consented(relay, *flags, name=name)
    book.rotate, book.slow_s = True, 0.2
    for turn in range(2):
        book.valid.clear()
        again(smtp)
        for _ in range(4):
            for name in ("one", "two"):
                letter = mail().replace(b"noreply@relay.test", f"{name}@relay.test".encode())
                code, text = relay.submit(key, letter, ["ann@example.com"])
                assert (code, text.split()[0]) == (250, "OK:")
        assert len(book.grants("refresh_token")) == 2 * (turn + 1)
    assert len(smtp.book.messages) == 16
    relay.audit()
