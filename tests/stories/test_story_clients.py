"""Real mail programs submit, each in the way its users do: what arrives upstream, what it cost."""

from __future__ import annotations

import json
import smtplib
import subprocess
from email.message import EmailMessage
from pathlib import Path

import pytest

from peers.need import need
from peers.postfix import Postfix, relayhost_settings
from peers.process import wait_until
from peers.recording import Recorded, Recording
from peers.relay import SENDER, Relay, any_certificate, ident_of, mail, submit

TO, CC, BCC = "customer@example.com", "copy@example.com", "blind@example.com"


def run(*command: str, stdin: str = "", cwd: Path | None = None) -> str:
    """Standard output of a program that must succeed."""
    done = subprocess.run(
        command, input=stdin, capture_output=True, text=True, timeout=120, cwd=cwd
    )
    assert done.returncode == 0, f"{command[0]}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def delivered(recording: Recording) -> Recorded:
    """The one message that arrived."""
    wait_until(lambda: bool(recording.messages), "the message upstream")
    assert len(recording.messages) == 1
    return recording.messages[0]


def recipients(recording: Recording) -> set[str]:
    return set(delivered(recording).recipients)


def accounted(relay: Relay, ident: str, count: int) -> None:
    """The log has the message as sent, the ledger its price, and the audit proves both."""
    shown = relay.message(ident)
    assert shown["status"] == "sent"
    assert shown["charged"] == count
    assert shown["refunded"] == 0
    assert relay.credits() == 1000 - count
    relay.audit()


@pytest.mark.parametrize("secure", [False, True], ids=["starttls", "implicit-tls"])
def test_nodemailer(relay: Relay, recording: Recording, secure: bool) -> None:
    node, folder = need("node", "nodemailer")
    key = relay.furnish(recording.port)
    order = {
        "host": "127.0.0.1",
        "port": relay.submissions if secure else relay.submission,
        "secure": secure,
        "pass": key,
        "message": {
            "from": f'"Acme" <{SENDER}>',
            "to": TO,
            "subject": "Receipt #12345",
            "html": "<h1>Thanks!</h1><p>Your receipt is attached below.</p>",
            "attachments": [{"filename": "receipt.txt", "content": "12345"}],
        },
    }
    told = json.loads(run(node, "send.mjs", stdin=json.dumps(order), cwd=Path(folder)))
    assert told["response"].startswith("250 OK: ")
    assert told["rejected"] == []
    arrived = delivered(recording)
    assert arrived.recipients == [TO]
    assert arrived.mail_from == SENDER
    assert b"Subject: Receipt #12345\r\n" in arrived.octets
    assert b"<h1>Thanks!</h1>" in arrived.octets
    accounted(relay, ident_of(told["response"]), 1)


def test_nodemailer_bcc(relay: Relay, recording: Recording) -> None:
    node, folder = need("node", "nodemailer")
    key = relay.furnish(recording.port)
    message = {"from": SENDER, "to": TO, "cc": CC, "bcc": BCC, "subject": "s", "text": "t"}
    order = {
        "host": "127.0.0.1",
        "port": relay.submission,
        "secure": False,
        "pass": key,
        "message": message,
    }
    told = json.loads(run(node, "send.mjs", stdin=json.dumps(order), cwd=Path(folder)))
    assert recipients(recording) == {TO, CC, BCC}
    assert BCC.encode() not in delivered(recording).octets
    accounted(relay, ident_of(told["response"]), 3)


@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "implicit-tls"])
def test_smtplib(relay: Relay, recording: Recording, implicit: bool) -> None:
    key = relay.furnish(recording.port)
    message = EmailMessage()
    message["From"], message["To"], message["Cc"] = f"Acme <{SENDER}>", TO, CC
    message["Bcc"], message["Subject"] = BCC, "Grüße"
    message.set_content("Schöne Grüße\n")
    if implicit:
        context = any_certificate()
        with smtplib.SMTP_SSL("127.0.0.1", relay.submissions, context=context) as client:
            client.login("x", key)
            assert client.send_message(message) == {}
    else:
        with relay.session(key) as client:
            assert client.send_message(message) == {}
    assert recipients(recording) == {TO, CC, BCC}
    assert BCC.encode() not in delivered(recording).octets
    accounted(relay, relay.messages()[0]["id"], 3)


@pytest.mark.parametrize("login", ["PLAIN", "LOGIN"])
def test_swaks(relay: Relay, recording: Recording, login: str) -> None:
    (swaks,) = need("swaks")
    key = relay.furnish(recording.port)
    out = run(
        *(swaks, "--server", f"127.0.0.1:{relay.submission}", "--tls", "--auth", login),
        *("--auth-user", "x", "--auth-password", key, "--from", SENDER, "--to", TO),
        *("--h-Subject", "From swaks", "--body", "one\n.\n..two\n"),
    )
    answer = next(x for x in out.splitlines() if "250 OK: " in x)
    arrived = delivered(recording)
    assert arrived.recipients == [TO]
    assert b"Subject: From swaks\r\n" in arrived.octets
    assert b"\r\n.\r\n..two\r\n" in arrived.octets
    accounted(relay, ident_of(answer), 1)


def test_swaks_with_a_wrong_key(relay: Relay, recording: Recording) -> None:
    (swaks,) = need("swaks")
    relay.furnish(recording.port)
    done = subprocess.run(
        [
            *(swaks, "--server", f"127.0.0.1:{relay.submission}", "--tls", "--auth", "PLAIN"),
            *("--auth-user", "x", "--auth-password", "hyd-mail-wrong"),
            *("--from", SENDER, "--to", TO),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode != 0
    assert "535 5.7.8" in done.stdout
    assert recording.messages == []
    assert relay.credits() == 1000


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_curl(relay: Relay, recording: Recording, tmp_path: Path, scheme: str) -> None:
    (curl,) = need("curl")
    key = relay.furnish(recording.port)
    file = tmp_path / "mail.eml"
    file.write_bytes(mail(to=TO))
    port = relay.submission if scheme == "smtp" else relay.submissions
    run(
        *(curl, "--silent", "--show-error", "--url", f"{scheme}://127.0.0.1:{port}/client.test"),
        *("--ssl-reqd", "--insecure", "--user", f"x:{key}", "--mail-from", SENDER),
        *("--mail-rcpt", TO, "--mail-rcpt", BCC, "--upload-file", str(file)),
    )
    assert recipients(recording) == {TO, BCC}
    assert BCC.encode() not in delivered(recording).octets
    assert b"from client.test ([127.0.0.1])" in delivered(recording).octets
    accounted(relay, relay.messages()[0]["id"], 2)


def test_msmtp(relay: Relay, recording: Recording, tmp_path: Path) -> None:
    (msmtp,) = need("msmtp")
    key = relay.furnish(recording.port)
    config = tmp_path / "msmtprc"
    config.write_text(
        "account default\nhost 127.0.0.1\n"
        f"port {relay.submission}\nfrom {SENDER}\nauth on\nuser x\npassword {key}\n"
        "tls on\ntls_starttls on\ntls_certcheck off\n"
    )
    config.chmod(0o600)
    letter = mail(to=TO, extra=f"Bcc: {BCC}\r\n").decode().replace("\r\n", "\n")
    run(msmtp, "-C", str(config), "-t", stdin=letter)
    assert recipients(recording) == {TO, BCC}
    assert BCC.encode() not in delivered(recording).octets
    accounted(relay, relay.messages()[0]["id"], 2)


@pytest.mark.slow
@pytest.mark.parametrize("recipients_from", ["headers", "envelope"])
def test_postfix_with_waypost_as_its_relayhost(
    relay: Relay, recording: Recording, tmp_path: Path, recipients_from: str
) -> None:
    need("root", "master")
    relay.furnish(recording.port)
    key = relay.key("acme", "--recipients", recipients_from)
    postfix = Postfix(tmp_path / "postfix", relayhost_settings(relay.submission, key))
    try:
        with smtplib.SMTP("127.0.0.1", postfix.port, timeout=120) as client:
            client.ehlo("desk.test")
            letter = mail(to=f"{TO}, {CC}")
            assert submit(client, letter, [TO, CC, BCC])[0] == 250
        wait_until(lambda: bool(recording.messages), f"the message upstream: {postfix.log()}")
        wait_until(lambda: "relay=127.0.0.1" in postfix.log(), "Postfix's log")
    finally:
        postfix.stop()
    assert recipients(recording) == {TO, CC, BCC}
    assert delivered(recording).mail_from == SENDER
    assert BCC.encode() not in delivered(recording).octets
    assert "status=sent (250 OK: " in postfix.log()
    accounted(relay, relay.messages()[0]["id"], 3)


@pytest.mark.slow
def test_postfix_forwards_where_only_the_envelope_counts(
    relay: Relay, recording: Recording, tmp_path: Path
) -> None:
    """An alias at the MTA: the header's address must not get the message as well."""
    need("root", "master")
    relay.furnish(recording.port)
    key = relay.key("acme", "--recipients", "envelope")
    postfix = Postfix(tmp_path / "postfix", relayhost_settings(relay.submission, key))
    try:
        with smtplib.SMTP("127.0.0.1", postfix.port, timeout=120) as client:
            client.ehlo("desk.test")
            assert submit(client, mail(to="list@example.com"), ["member@example.com"])[0] == 250
        wait_until(lambda: bool(recording.messages), "the message upstream")
    finally:
        postfix.stop()
    assert recipients(recording) == {"member@example.com"}
    accounted(relay, relay.messages()[0]["id"], 1)
