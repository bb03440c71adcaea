"""The README's commands and programs are run as they stand: only host, port and trust are ours."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from peers.need import need
from peers.process import wait_until
from peers.recording import Recording, RecordingServer
from peers.relay import ROOT, Relay, ident_of
from waypost.core.verdict import AUTH_REFUSED, TABLE
from waypost.watch.tell.alerts import TOLD

README = (ROOT / "README.md").read_text()
SENDER, RECIPIENT = "noreply@example.com", "you@example.net"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.S)


def commands() -> list[list[str]]:
    """The `waypost` commands between the marks, as words."""
    marked = README.split("<!-- commands: begin -->")[1].split("<!-- commands: end -->")[0]
    return [shlex.split(x[2:])[1:] for x in marked.splitlines() if x.startswith("$ waypost ")]


@pytest.fixture
def provider() -> Iterator[Recording]:
    """What the README calls smtp.example.com."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("smtp.example.com").configure_cert(context)
    server = RecordingServer(dataclasses.replace(Recording(), users={SENDER: "pass"}), context)
    yield server.start()
    server.stop()


@pytest.fixture
def furnished(relay: Relay, provider: Recording) -> tuple[Relay, Recording, str]:
    """Every command of the README was run; the last of the three is the key."""
    (relay.folder / "password.txt").write_text("pass\n")
    key = ""
    for words in commands():
        told = " ".join(words).replace(
            "--host smtp.example.com",
            f"--host 127.0.0.1 --port {provider.port} --encryption starttls --validate off",
        )
        done = relay.cli(*(shlex.split(told) if told != " ".join(words) else words))
        if words[:2] == ["key", "create"]:
            key = done["key"]
    return relay, provider, key


def local(text: str, relay: Relay) -> str:
    for there in ("relay.example.com:587", 'relay.example.com", 587'):
        here = there.replace("relay.example.com", "127.0.0.1").replace("587", str(relay.submission))
        text = text.replace(there, here)
    return text.replace("relay.example.com:8025", f"127.0.0.1:{relay.http}")


def run(command: list[str], key: str, stdin: str = "", cwd: Path | None = None) -> str:
    done = subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=cwd,
        env={**os.environ, "RELAY_KEY": key},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


Furnished = tuple[Relay, Recording, str]


def arrives(provider: Recording, count: int) -> None:
    wait_until(lambda: len(provider.messages) == count, "the message upstream")
    assert provider.messages[-1].recipients == [RECIPIENT]
    assert b"Subject: Hello\r\n" in provider.messages[-1].octets
    assert b"It works." in provider.messages[-1].octets


def test_the_commands(furnished: Furnished) -> None:
    relay, provider, key = furnished
    arrives(provider, 1)
    assert key.startswith("hyd-mail-")
    assert relay.credits() == 999
    relay.audit()


def test_swaks_and_curl(furnished: Furnished) -> None:
    need("swaks", "curl")
    relay, provider, key = furnished
    sending = [script for script in blocks("sh") if "RELAY_KEY" in script]
    for count, script in enumerate(sending, 2):
        run(["sh", "-c", local(script, relay).replace("--ssl-reqd", "--ssl-reqd -k")], key)
        arrives(provider, count)
    assert len(provider.messages) == 4  # the commands', swaks', curl's by SMTP and by HTTP


@pytest.mark.slow
def test_managing_by_curl(furnished: Furnished) -> None:
    need("curl")
    relay, _, _ = furnished
    (script,) = (script for script in blocks("sh") if "RELAY_TOKEN" in script)
    token = relay.cli("token", "create")["token"]
    done = run(["sh", "-c", local(script, relay).replace("$RELAY_TOKEN", token)], "")
    assert json.loads(done)["data"] == relay.cli("account", "show", "customer-17")


def test_python(furnished: Furnished) -> None:
    relay, provider, key = furnished
    (program,) = blocks("python")
    run([sys.executable, "-"], key, stdin=local(program, relay))
    arrives(provider, 2)


@pytest.mark.slow
def test_nodemailer(furnished: Furnished) -> None:
    node, folder = need("node", "nodemailer")
    relay, provider, key = furnished
    (program,) = blocks("js")
    program = program.replace('"relay.example.com"', '"127.0.0.1"')
    program = program.replace("port: 587,", f"port: {relay.submission},")
    program = program.replace(
        "requireTLS: true,", "requireTLS: true, tls: {rejectUnauthorized: false},"
    )
    run([node, "--input-type=module", "-"], key, stdin=program, cwd=Path(folder))
    arrives(provider, 2)


@pytest.mark.slow
def test_the_configuration_is_one(make_relay: Callable[..., Relay], tmp_path: Path) -> None:
    """The TOML shown is read without complaint; its certificate is not there, and it says so."""
    (shown,) = blocks("toml")
    relay = make_relay()
    place = tmp_path / "shown.toml"
    place.write_text(f'data = "{tmp_path / "shown"}"\n{shown}')
    relay.config = place
    done = relay.run("serve")
    assert done.returncode in (1, 2)
    assert "/etc/letsencrypt/live/relay.example.com/fullchain.pem" in done.stderr


def test_the_table_names_every_answer() -> None:
    table = README.split("## Answers")[1].split("##")[0]
    rows = [(row.smtp, row.enhanced) for row in TABLE.values()]
    for code, enhanced in [*rows, AUTH_REFUSED]:
        assert str(code) in table
        assert enhanced in table


def test_every_alert_is_named() -> None:
    told = README.split("Types: ")[1].split(". It is signed")[0]
    named: set[str] = set()
    for group in told.split(";"):
        first, *others = re.findall(r"`([a-z_.]+)`", group)
        named |= {first, *(first.partition(".")[0] + other for other in others)}
    assert named == TOLD


def test_demo_once() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "waypost", "demo", "--once"],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    answer = re.search(r"250 OK: [0-9a-f]{16}", done.stdout)
    assert answer
    assert done.stdout.count(ident_of(answer.group())) > 1, "dialogue and log show the same id"


def test_demo_once_as_one_json_value() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "waypost", "--json", "demo", "--once"],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["ok"] is True
    assert told["answer"] == f"250 OK: {told['message']['id']}"
    assert told["listening"]["submission"]
    assert "It works." in told["caught"]


def test_the_session_shown_is_whole() -> None:
    shown = README.split("<!-- session: begin -->")[1].split("<!-- session: end -->")[0]
    said = [x[3:7].upper() for x in shown.splitlines() if x.startswith("C: ")]
    assert said == ["EHLO", "STAR", "EHLO", "AUTH", "MAIL", "RCPT", "DATA", "(THE", "QUIT"]
    assert re.search(r"250 OK: [0-9a-f]{16}", shown)
