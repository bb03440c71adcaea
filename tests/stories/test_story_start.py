"""Starting, stopping and being set up wrong: one clear line that says what to do."""

from __future__ import annotations

import json
import os
import signal
import smtplib
import socket
import ssl
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from peers.process import wait_until
from peers.recording import Recording
from peers.relay import SENDER, Relay, ident_of, mail, submit


def one_clear_line(relay: Relay, code: int, *words: str) -> None:
    """`serve` ends with the code and says it in one line that holds the words."""
    done = relay.run("serve")
    assert done.returncode == code, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert "Traceback" not in done.stderr
    assert len(lines) == 1, done.stderr
    for word in words:
        assert word in lines[0], lines[0]


def test_wrong_certificate_path(tmp_path: Path) -> None:
    relay = Relay(tmp_path, tables={"tls": 'certificate = "/nowhere/cert.pem"\nkey = "/nowhere/k"'})
    done = relay.run("serve")
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    assert "/nowhere/cert.pem" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_taken_port(tmp_path: Path) -> None:
    relay = Relay(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", relay.submission))
        taken.listen()
        one_clear_line(relay, 1, str(relay.submission))


def test_unwritable_data_directory(tmp_path: Path) -> None:
    relay = Relay(tmp_path)
    relay.data.write_text("a file, not a directory")
    one_clear_line(relay, 1, str(relay.data))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("inline_wat = 3", ("inline_wat", "inline_wait")),
        ('inline_wait = "soon"', ("inline_wait",)),
        ("workers = -1", ("workers",)),
        ("this is not TOML", ("waypost.toml",)),
    ],
)
def test_broken_configuration(tmp_path: Path, settings: str, words: tuple[str, ...]) -> None:
    relay = Relay(tmp_path, settings=settings)
    done = relay.run("serve")
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    for word in words:
        assert word in done.stderr


def test_a_reload_says_what_needs_a_restart(
    make_relay: Callable[..., Relay], recording: Recording
) -> None:
    relay = make_relay()
    key = relay.furnish(recording.port)
    relay.write_config('inline_wait = 0\nkey_prefix = "other-"', {"upstreams": "ports = [25]"})
    relay.signal(signal.SIGHUP)
    wait_until(lambda: "restart_needed" in relay.log.read_text(), "the warning")
    (line,) = [x for x in relay.log.read_text().splitlines() if "restart_needed" in x]
    assert 'settings="key_prefix, upstreams.ports"' in line
    assert relay.submit(key, mail(), ["ann@example.com"])[1].startswith("queued: ")
    wait_until(lambda: len(recording.messages) == 1, "the message upstream")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_reload_takes_over_what_it_can(
    make_relay: Callable[..., Relay], recording: Recording, workers: str
) -> None:
    """Senders, times of the queue, how long bodies stay, caps of sessions: without a restart."""
    relay = make_relay(settings=f"workers = {workers}")
    key = relay.furnish(recording.port)
    relay.cli("sender", "add", "other@relay.test", "--upstream", "main", "--global")
    tables = {
        "limits": "sessions_per_address = 1",
        "queue": 'retry = ["100ms"]',
        "keep": 'body = "1h"',
    }
    settings = f'workers = {workers}\ninline_wait = 0\nglobal_sender = "other@relay.test"'
    relay.write_config(settings, tables)
    relay.signal(signal.SIGHUP)
    wait_until(lambda: relay.log.read_text().count("reloaded") == int(workers), "the reload")
    assert "restart_needed" not in relay.log.read_text()
    recording.answers["dot"] = "451 4.3.0 later"
    bare = b"To: ann@example.com\r\nSubject: no From\r\n\r\nHi.\r\n"
    with relay.session(key) as client:
        answer = submit(client, bare, ["ann@example.com"], mail_from="")[1]
        with (
            pytest.raises(smtplib.SMTPConnectError, match="too many sessions"),
            relay.session(None),
        ):
            pass
    ident = ident_of(answer)
    wait_until(lambda: len(attempts_of(relay, ident)) > 1, "another try, sooner than a minute")
    recording.answers.clear()
    wait_until(lambda: relay.message(ident)["status"] == "sent", "delivery")
    told = relay.message(ident)
    assert told["from"] == "other@relay.test"
    assert told["bodyKept"] is True


def attempts_of(relay: Relay, ident: str) -> list[object]:
    return list(relay.message(ident)["recipients"][0]["attempts"])


@pytest.mark.parametrize("workers", ["1", "2"])
def test_ready_is_one_json_value_where_it_is_asked_for(tmp_path: Path, workers: str) -> None:
    relay = Relay(tmp_path)
    command = [sys.executable, "-m", "waypost", "--config", str(relay.config), "--json"]
    process = subprocess.Popen(
        [*command, "serve", "--workers", workers],
        stdout=subprocess.PIPE,
        env=relay.environment(),
        cwd=tmp_path,
    )
    try:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        assert told["listening"]["submission"] == [f"127.0.0.1:{relay.submission}"]
        assert told["data"] == str(relay.data)
        assert relay.readyz() == 200
        process.terminate()
        assert process.communicate(timeout=60)[0] == b""
        assert process.returncode == 0
    finally:
        process.kill()


def test_commands_do_not_make_a_data_directory(tmp_path: Path) -> None:
    relay = Relay(tmp_path / "here")
    other = tmp_path / "elsewhere"
    other.mkdir()
    relay.folder = other
    relay.config.unlink()
    relay.config = other / "waypost.toml"
    relay.config.write_text("")
    done = relay.run("account", "list")
    assert done.returncode == 1
    assert not (other / "waypost-data").exists()
    assert "Traceback" not in done.stderr


def test_the_data_directory_is_private(relay: Relay) -> None:
    assert stat.S_IMODE(relay.data.stat().st_mode) == 0o700
    for path in relay.data.rglob("*"):
        if path.is_file():
            assert not path.stat().st_mode & 0o077, path


@pytest.mark.slow
def test_sigterm_ends_with_0_and_loses_nothing(relay: Relay, recording: Recording) -> None:
    recording.answers["dot"] = "451 4.3.0 later"
    key = relay.furnish(recording.port)
    code, text = relay.submit(key, mail(), ["ann@example.com"])
    assert code == 250
    assert relay.stop() == 0
    recording.answers.clear()
    relay.start()
    relay.cli("queue", "retry", "--all")
    wait_until(lambda: relay.message(ident_of(text))["status"] == "sent", "delivery")
    assert len(recording.messages) == 1
    relay.audit()


def test_commands_work_while_the_relay_is_away(relay: Relay, recording: Recording) -> None:
    relay.furnish(recording.port)
    assert relay.stop() == 0
    relay.cli("credits", "add", "acme", "5", "--note", "thanks")
    assert relay.credits() == 1005
    assert {line["note"]: line["amount"] for line in relay.ledger()}["thanks"] == 5
    relay.audit()


def test_send_goes_through_the_door(relay: Relay, recording: Recording) -> None:
    relay.furnish(recording.port)
    relay.cli(
        *("send", "--account", "acme", "--from", SENDER, "--to", "ann@example.com"),
        *("--subject", "Hi", "--text", "Ho"),
    )
    wait_until(lambda: bool(recording.messages), "the message upstream")
    assert b"Subject: Hi\r\n" in recording.messages[0].octets
    assert relay.credits() == 999


def test_changes_are_seen_at_once(relay: Relay, recording: Recording) -> None:
    key = relay.furnish(recording.port, credits="0")
    assert relay.submit(key, mail(), ["ann@example.com"])[0] == 451
    relay.cli("credits", "add", "acme", "1")
    assert relay.submit(key, mail(), ["ann@example.com"])[0] == 250


def shown_certificate(relay: Relay) -> str:
    pem = ssl.get_server_certificate(("127.0.0.1", relay.submissions), timeout=60)
    return pem.replace("\n", "")


def test_a_new_certificate_is_used_without_dropping_a_session(
    make_relay: Callable[..., Relay], recording: Recording, tmp_path: Path
) -> None:
    authority = trustme.CA()
    certificate, private = tmp_path / "cert.pem", tmp_path / "key.pem"

    def issue() -> str:
        issued = authority.issue_cert("relay.test")
        issued.private_key_pem.write_to_path(private)
        issued.cert_chain_pems[0].write_to_path(certificate)
        return issued.cert_chain_pems[0].bytes().decode().replace("\n", "")

    first = issue()
    relay = make_relay(tables={"tls": f'certificate = "{certificate}"\nkey = "{private}"'})
    key = relay.furnish(recording.port)
    assert shown_certificate(relay) == first
    with relay.session(key) as client:
        second = issue()
        relay.signal(signal.SIGHUP)
        wait_until(lambda: shown_certificate(relay) == second, "the new certificate")
        assert submit(client, mail(), ["ann@example.com"])[0] == 250


def test_backup_and_restore(
    make_relay: Callable[..., Relay], recording: Recording, tmp_path: Path
) -> None:
    """The drill: back up while serving, restore elsewhere, and the queue goes on from there."""
    relay = make_relay()
    key = relay.furnish(recording.port)
    recording.answers["dot"] = "451 4.3.0 later"
    large = mail(body="y" * 70 + "\r\n" + "0123456789\r\n" * 200_000)
    idents = [
        ident_of(relay.submit(key, letter, ["ann@example.com"])[1]) for letter in (mail(), large)
    ]
    relay.cli("backup", str(tmp_path / "copy"))
    assert relay.stop() == 0
    recording.answers.clear()
    other = Relay(tmp_path / "other")
    done = other.run("restore", str(tmp_path / "copy"))
    assert done.returncode == 0, done.stderr
    other.start()
    try:
        assert other.credits() == 998
        other.cli("queue", "retry", "--all")
        for ident in idents:
            wait_until(lambda i=ident: other.message(i)["status"] == "sent", "delivery")  # type: ignore[misc]
        assert len(recording.messages) == 2
        assert other.submit(key, mail(subject="new"), ["ann@example.com"])[0] == 250
        other.audit()
    finally:
        other.stop()


def test_doctor(relay: Relay, recording: Recording) -> None:
    relay.furnish(recording.port)
    done = relay.run("doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    relay.stop()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", relay.submission))
        taken.listen()
        done = relay.run("doctor")
    assert done.returncode == 1
    assert str(relay.submission) in done.stdout + done.stderr


def test_secrets_are_never_shown(relay: Relay, recording: Recording, tmp_path: Path) -> None:
    key = relay.furnish(recording.port)
    relay.cli(
        *("upstream", "add", "locked", "--sender", "x@locked.test", "--host", "127.0.0.1"),
        *("--port", str(recording.port), "--encryption", "none", "--username", "way"),
        *("--password-file", "-", "--no-test"),
        stdin="swordfish\n",
    )
    relay.submit(key, mail(), ["ann@example.com"])
    shown = [relay.run(*c.split(), "--json").stdout for c in ("upstream show locked", "key list")]
    assert "swordfish" not in "".join(shown)
    assert key not in "".join(shown)
    relay.stop()
    for path in [relay.log, *relay.data.rglob("*")]:
        if path.is_file():
            octets = path.read_bytes()
            assert b"swordfish" not in octets, path
            assert key.encode() not in octets, path


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("workers", [1, 2])
def test_as_root_no_file_of_another_owner_s_data_becomes_root_s(
    tmp_path: Path, workers: int
) -> None:
    """It serves as the owner, or says why it cannot; with root's port and root's certificate."""
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(folder.stat().st_mode | 0o055)
    relay = Relay(tmp_path / "relay", settings=f"workers = {workers}")
    relay.data.mkdir(mode=0o700)
    os.chown(relay.data, 12345, 12345)
    try:
        relay.start()
    except AssertionError:
        told = relay.log.read_text()
        assert "belongs to user 12345, who cannot read" in told
        assert "Traceback" not in told
    else:
        assert relay.cli("account", "create", "acme")["name"] == "acme"
        status = Path(f"/proc/{relay.pid}/status").read_text()
        assert "Uid:\t12345\t12345\t12345\t12345" in status
        assert relay.stop() == 0
    finally:
        relay.stop()
    assert {path.stat().st_uid for path in relay.data.rglob("*")} <= {12345}
