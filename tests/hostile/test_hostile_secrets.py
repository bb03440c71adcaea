"""Planted secrets on every error path, with every logger at DEBUG: none comes out anywhere.

Upstreams that repeat what they were told wherever they speak, a token server that does, wrong keys
and tokens on every door. Looked through: the log, everything that commands print, all answers, and
every file of the data directory but the sealing keys.
"""

from __future__ import annotations

import base64
import io
import json
import logging
import smtplib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from peers.process import wait_until
from peers.recording import DROP, Recording, RecordingServer
from peers.relay import Relay, mail
from peers.token_server import TokenServer
from waypost.cli.main import main

DEBUG = """\
import logging, sys
logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
"""
ECHOES: dict[str, dict[str, str]] = {
    # What the server says, by stage; {p} is the password, {b} what AUTH PLAIN carried.
    "greeting": {"greeting": "554 5.7.1 go away with {p}"},
    "greeting later": {"greeting": "421 4.3.2 {p} is busy"},
    "ehlo": {"EHLO": "421 4.3.2 {p}"},
    "ehlo garbled": {"EHLO": "{p} is not SMTP"},
    "ehlo offers": {"EHLO": "250-recording.test\r\n250 AUTH {P}"},
    "auth": {"AUTH": "535 5.7.8 {p} refused"},
    "auth in base64": {"AUTH": "535 5.7.8 {b} refused"},
    "auth in capitals": {"AUTH": "454 4.7.0 {P} later"},
    "auth of lines": {"AUTH": "535-5.7.8 first {p}\r\n535 5.7.8 second {b}"},
    "auth garbled": {"AUTH": "garbled {p} {b}"},
    "auth cut": {"AUTH": DROP},
    "mail": {"MAIL": "553 5.7.1 {p} may not send"},
    "mail quota": {"MAIL": "550 5.4.5 Daily user sending limit exceeded {p}"},
    "rcpt": {"RCPT": "550 5.1.1 {p} is nobody"},
    "rcpt later": {"RCPT": "450 4.2.0 {p} later"},
    "data": {"DATA": "451 4.3.0 {p}"},
    "dot": {"dot": "554 5.6.0 {p} {b}"},
    "dot later": {"dot": "451 4.3.0 {b}"},
    "dot taken": {"dot": "250 2.0.0 taken as {p}"},
    "dot garbled": {"dot": "what? {p}"},
}
SECRETS_LEAST = 30


class House:
    """The relay, and everything that anybody was shown."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.secrets: dict[str, str] = {}
        self.said = ""

    def plant(self, name: str) -> str:
        secret = f"Planted-{len(self.secrets):02}-{name.replace(' ', '-')}-sEcReT"
        self.secrets[name] = secret
        return secret

    def file(self, text: str) -> str:
        path = self.relay.folder / "secret.txt"
        path.write_text(text)
        return str(path)

    def run(self, *arguments: str) -> int:
        """A command, in this process, whose loggers are at DEBUG too."""
        told = io.StringIO()
        with redirect_stdout(told), redirect_stderr(told):
            code = main(["--config", str(self.relay.config), *arguments])
        assert "Traceback" not in told.getvalue()
        self.said += told.getvalue()
        return code

    def ask(self, path: str, bearer: str, body: bytes | None = None) -> int:
        request = urllib.request.Request(f"http://127.0.0.1:{self.relay.http}{path}", body)
        request.add_header("Authorization", f"Bearer {bearer}")
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                self.said += answer.read().decode() + str(answer.headers)
                return int(answer.status)
        except urllib.error.HTTPError as error:
            self.said += error.read().decode() + str(error.headers)
            error.close()
            return error.code

    def leaks(self) -> list[tuple[str, str]]:
        """(where, which) of every secret that is found, in any of its forms."""
        places = {"said": self.said.lower().encode(), "log": b""}
        places["log"] = self.relay.log.read_bytes().lower()
        for path in self.relay.data.rglob("*"):
            if path.is_file() and path.name != "sealing.keys":
                places[path.name] = path.read_bytes().lower()
        found = []
        for name, secret in self.secrets.items():
            for form in (secret.encode(), base64.b64encode(secret.encode())):
                found += [(p, name) for p, held in places.items() if form.lower() in held]
        return found


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    (tmp_path / "debug").mkdir()
    (tmp_path / "debug" / "sitecustomize.py").write_text(DEBUG)
    relay = Relay(tmp_path / "relay")
    relay.env = {
        "PYTHONPATH": f"{relay.environment()['PYTHONPATH']}:{tmp_path / 'debug'}",
        "PYTHONASYNCIODEBUG": "1",
    }
    relay.start()
    made = House(relay)
    debug = logging.StreamHandler(told := io.StringIO())
    logging.getLogger().addHandler(debug)
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.DEBUG)
    yield made
    logging.getLogger().removeHandler(debug)
    logging.getLogger().setLevel(level)
    relay.stop()
    assert not [name for name, secret in made.secrets.items() if secret in told.getvalue()]


def echo(text: str, user: str, password: str) -> str:
    plain = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
    return text.replace("{p}", password).replace("{P}", password.upper()).replace("{b}", plain)


@pytest.mark.slow
def test_no_planted_secret_comes_out(house: House) -> None:
    relay = house.relay
    assert house.run("account", "create", "acme", "--credits", "1000") == 0
    key = relay.key("acme")
    house.secrets["key"] = key
    with ExitStack() as stack:
        for name, answers in ECHOES.items():
            repeats(house, stack, name, answers, key)
        tokens(house, stack, key)
        doors(house)
        for arguments in (
            ("log", "list", "--limit", "0"),
            ("log", "refusals"),
            ("queue", "show"),
            ("upstream", "list"),
            ("account", "show", "acme"),
            ("key", "list"),
            ("secrets", "rotate"),
            ("doctor",),
        ):
            house.run(*arguments, "--json")
            house.run(*arguments)
        for message in relay.messages():
            house.run("log", "show", message["id"], "--json")
        wait_until(lambda: all_tried(relay), "every message to be tried")
    assert len(house.secrets) >= SECRETS_LEAST
    assert house.leaks() == []
    # It was looked for where it would be: what stands beside it came out.
    assert house.said.count("***") >= len(ECHOES)


def all_tried(relay: Relay) -> bool:
    return all(line["nextAt"] or line["reason"] for line in relay.cli("queue", "show"))


def repeats(house: House, stack: ExitStack, name: str, answers: dict[str, str], key: str) -> None:
    """An upstream that repeats its password at a stage: saved, tested, and mailed through."""
    relay, password = house.relay, house.plant(name)
    user = f"u{len(house.secrets)}@relay.test"
    said: dict[str, str | Callable[[str], str]] = {
        stage: text if text == DROP else echo(text, user, password)
        for stage, text in answers.items()
    }
    server = RecordingServer(Recording(users={user: password}, answers=said))
    stack.callback(server.stop)
    where = ("--host", "127.0.0.1", "--port", str(server.start().port), "--encryption", "none")
    login = ("--sender", user, "--password-file", house.file(password))
    ident = user.partition("@")[0]
    house.run("upstream", "add", ident, *where, *login)  # tested, and told of
    house.run("upstream", "add", ident, *where, *login, "--no-test", "--json")
    letter = mail().replace(b"noreply@relay.test", user.encode())
    try:
        with relay.session(key) as client:
            answer = client.sendmail(user, ["ann@example.com"], letter)
            house.said += str(answer)
    except smtplib.SMTPException as error:
        house.said += str(error)
    house.run("upstream", "test", ident, "--json")
    house.run("upstream", "show", ident)


def tokens(house: House, stack: ExitStack, key: str) -> None:
    """A login by token whose servers repeat everything."""
    relay, server = house.relay, TokenServer()
    stack.callback(server.stop)
    server.book.client_secret = house.plant("client secret")
    access, refresh, newer = house.plant("access"), house.plant("refresh"), house.plant("newer")
    said = {"access_token": access, "refresh_token": refresh, "expires_in": 3600}
    server.book.answer = (200, json.dumps(said))
    smtp = RecordingServer(Recording(bearers={access}))
    stack.callback(smtp.stop)
    smtp.start()
    relay.upstream("tok", smtp.book.port, "tok@relay.test", "--login", "xoauth2")
    secret = house.file(server.book.client_secret)
    named = ["--client-id", "app-1", "--client-secret-file", secret, *server.flags]
    flags = ["--provider", "google", *named, "--client-credentials"]
    assert house.run("upstream", "connect", "tok", *flags) == 0
    assert smtp.book.bearers is not None
    smtp.book.bearers.clear()
    heard: list[str] = []

    def repeat(line: str) -> str:
        """Every token that it was ever told."""
        heard.append(base64.b64decode(line.split()[2]).decode().split("Bearer ")[1].strip("\x01"))
        return f"535 5.7.8 {' and '.join(heard)} are no tokens"

    smtp.book.answers["AUTH"] = repeat
    server.book.answer = (200, json.dumps(said | {"access_token": newer}))
    letter = mail().replace(b"noreply@relay.test", b"tok@relay.test")
    with relay.session(key) as client:
        client.sendmail("tok@relay.test", ["ann@example.com"], letter)
    heard.clear()  # a command knows none of the tokens that the relay had
    house.run("upstream", "test", "tok", "--json")
    why = f"{refresh} {newer} {server.book.client_secret}"
    server.book.answer = (400, json.dumps({"error": "invalid_grant", "error_description": why}))
    house.run("upstream", "test", "tok")
    house.run("upstream", "connect", "tok", *flags, "--json")
    house.run("upstream", "show", "tok", "--json")


def doors(house: House) -> None:
    """Wrong keys and tokens where they are asked for."""
    relay = house.relay
    for name in ("smtp plain", "smtp login"):
        wrong = house.plant(name)
        with relay.session(None) as client:
            client.user, client.password = "x", wrong
            method = client.auth_plain if name.endswith("plain") else client.auth_login
            try:
                client.auth(name.split()[1].upper(), method)
            except smtplib.SMTPException as error:
                house.said += str(error)
    with relay.session(None, starttls=False) as client:
        client.ehlo()
        early = base64.b64encode(f"\0x\0{house.plant('before tls')}".encode()).decode()
        house.said += str(client.docmd("AUTH", f"PLAIN {early}"))
        house.said += str(client.docmd(house.plant("as a command")))
    body = json.dumps({"to": "a@b.example", "text": "x"}).encode()
    assert house.ask("/api/v1/email/send", house.plant("http key"), body) == 401
    assert house.ask("/api/v1/account", house.plant("http read")) == 401
    assert house.ask("/api/v1/upstreams", house.plant("http token")) in (401, 403, 404)
    for index, text in enumerate((b"{", b"[" * 5_000, b"\xff")):
        secret = house.plant(f"broken body {index}").encode()
        assert house.ask("/api/v1/email/send", house.secrets["key"], text + secret) == 400
    missing = relay.folder / "not-there"
    house.run("upstream", "set", "tok", "--password-file", str(missing))
    done = relay.run(
        "upstream", "set", "tok", "--password-file", "-", stdin=house.plant("set") + "\0"
    )
    house.said += done.stdout + done.stderr
    house.run(
        "upstream",
        "add",
        "x",
        "--sender",
        "no address",
        "--host",
        "h",
        "--password-file",
        house.file(house.plant("no sender")),
    )
