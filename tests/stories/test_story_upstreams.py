"""Real servers as the upstream: smtp-sink, aiosmtpd told to fail, a Postfix, a Dovecot and an Exim
with TLS and login."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sqlite3
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from peers.dovecot import Dovecot
from peers.exim import Exim
from peers.postfix import upstream_postfix
from peers.process import not_over_midnight, wait_until
from peers.recording import Recording, RecordingServer
from peers.relay import SENDER, Relay, ident_of, mail
from peers.upstreams import Aiosmtpd, SmtpSink


def test_smtp_sink(relay: Relay, smtp_sink: SmtpSink) -> None:
    key = relay.furnish(smtp_sink.port)
    letter = mail(extra="Date: Mon, 1 Jan 2024 00:00:00 +0000\r\nMessage-ID: <a@b.test>\r\n")
    code, text = relay.submit(key, letter, ["ann@example.com"])
    assert (code, text.split()[0]) == (250, "OK:")
    wait_until(lambda: bool(smtp_sink.messages()), "the dump")
    (arrived,) = smtp_sink.messages()
    assert arrived.endswith(b"\n" + letter.replace(b"\r\n", b"\n"))
    assert relay.message(ident_of(text))["status"] == "sent"


def test_aiosmtpd_that_fails_for_good(relay: Relay, aiosmtpd: Aiosmtpd) -> None:
    key = relay.furnish(aiosmtpd.port)
    aiosmtpd.handler.answers["DATA"] = "554 5.7.1 we do not like it"
    code, text = relay.submit(key, mail(), ["ann@example.com"])
    assert code == 550
    assert text.startswith("5.7.1 ")
    assert "we do not like it" in text
    shown = relay.message(ident_of(text))
    assert (shown["status"], shown["charged"], shown["refunded"]) == ("failed", 1, 1)
    assert relay.credits() == 1000
    relay.audit()


def test_aiosmtpd_that_fails_for_a_time(relay: Relay, aiosmtpd: Aiosmtpd) -> None:
    key = relay.furnish(aiosmtpd.port)
    aiosmtpd.handler.answers["DATA"] = "451 4.3.0 not now"
    code, text = relay.submit(key, mail(), ["ann@example.com"])
    assert (code, text.split()[0]) == (250, "queued:")
    ident = ident_of(text)
    shown = relay.message(ident)
    assert shown["status"] == "queued"
    assert shown["recipients"][0]["attempts"][0]["code"] == 451
    assert "not now" in shown["recipients"][0]["attempts"][0]["text"]
    assert relay.credits() == 999
    aiosmtpd.handler.answers.clear()
    relay.cli("queue", "retry", ident)
    wait_until(lambda: relay.message(ident)["status"] == "sent", "the second try")
    assert len(aiosmtpd.handler.messages) == 1
    assert relay.credits() == 999
    relay.audit()


@pytest.mark.slow
def test_postfix_with_starttls_and_login(
    relay: Relay, recording: Recording, tmp_path: Path
) -> None:
    postfix = upstream_postfix(tmp_path, recording.port, "way", "post word")
    try:
        relay.cli(
            *("upstream", "add", "real", "--sender", SENDER, "--host", "127.0.0.1"),
            *("--port", str(postfix.port), "--encryption", "starttls", "--validate", "off"),
            *("--username", "way@postfix.test", "--password-file", "-", "--no-test"),
            stdin="post word\n",
        )
        relay.cli("account", "create", "acme", "--credits", "10")
        key = relay.key("acme")
        code, text = relay.submit(key, mail(), ["ann@example.com", "bob@example.com"])
        assert (code, text.split()[0]) == (250, "OK:")
        wait_until(lambda: bool(recording.messages), f"Postfix to pass it on {postfix.log()}")
        assert "sasl_username=way@postfix.test" in postfix.log()
    finally:
        postfix.stop()
    assert set(recording.messages[0].recipients) == {"ann@example.com", "bob@example.com"}
    assert relay.credits() == 8
    assert "post word" not in relay.run("upstream", "show", "real", "--json").stdout


@pytest.fixture
def secured() -> Iterator[Callable[[bool], Recording]]:
    """Makes a recording upstream with TLS (implicit or STARTTLS) and the login way / post."""
    made: list[RecordingServer] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost", "127.0.0.1").configure_cert(context)

    def make(implicit: bool) -> Recording:
        book = dataclasses.replace(Recording(), users={"way": "post"})
        made.append(RecordingServer(book, context, implicit))
        return made[-1].start()

    yield make
    for server in made:
        server.stop()


@pytest.mark.parametrize("encryption", ["starttls", "tls"])
def test_encrypted_upstream(
    relay: Relay, secured: Callable[[bool], Recording], encryption: str
) -> None:
    book = secured(encryption == "tls")
    relay.cli(
        *("upstream", "add", "safe", "--sender", SENDER, "--host", "127.0.0.1"),
        *("--port", str(book.port), "--encryption", encryption, "--validate", "off"),
        *("--username", "way", "--password-file", "-", "--no-test"),
        stdin="post\n",
    )
    relay.cli("account", "create", "acme", "--credits", "10")
    code, text = relay.submit(relay.key("acme"), mail(), ["ann@example.com"])
    assert (code, text.split()[0]) == (250, "OK:")
    assert book.logins == ["way"]
    assert len(book.messages) == 1


@pytest.mark.slow
def test_unknown_certificate_pauses_and_keeps_the_mail(
    relay: Relay, secured: Callable[[bool], Recording]
) -> None:
    """`--validate on` and an authority that nobody knows: no password is sent, nothing is lost."""
    book = secured(False)
    relay.cli(
        *("upstream", "add", "safe", "--sender", SENDER, "--host", "127.0.0.1"),
        *("--port", str(book.port), "--encryption", "starttls", "--validate", "on"),
        *("--username", "way", "--password-file", "-", "--no-test"),
        stdin="post\n",
    )
    relay.cli("account", "create", "acme", "--credits", "10")
    code, text = relay.submit(relay.key("acme"), mail(), ["ann@example.com"])
    assert (code, text.split()[0]) == (250, "queued:")
    shown = relay.cli("upstream", "show", "safe")
    assert shown["state"] == "paused"
    assert "certificate" in shown["reason"].lower()
    assert book.logins == []
    assert relay.credits() == 9
    relay.cli("upstream", "set", "safe", "--validate", "off", "--no-test")
    ident = ident_of(text)
    wait_until(lambda: relay.message(ident)["status"] == "sent", "delivery after the edit")


def test_wrong_password_pauses_and_the_right_one_delivers(
    relay: Relay, secured: Callable[[bool], Recording]
) -> None:
    book = secured(False)
    relay.cli(
        *("upstream", "add", "safe", "--sender", SENDER, "--host", "127.0.0.1"),
        *("--port", str(book.port), "--encryption", "starttls", "--validate", "off"),
        *("--username", "way", "--password-file", "-", "--no-test"),
        stdin="wrong\n",
    )
    relay.cli("account", "create", "acme", "--credits", "10")
    code, text = relay.submit(relay.key("acme"), mail(), ["ann@example.com"])
    assert (code, text.split()[0]) == (250, "queued:")
    assert relay.cli("upstream", "show", "safe")["state"] == "paused"
    relay.cli("upstream", "set", "safe", "--password-file", "-", "--no-test", stdin="post\n")
    ident = ident_of(text)
    wait_until(lambda: relay.message(ident)["status"] == "sent", "delivery after the edit")
    assert relay.credits() == 9
    relay.audit()


def test_an_upstream_that_comes_back(relay: Relay, recording_server: RecordingServer) -> None:
    book = recording_server.book
    key = relay.furnish(book.port)
    recording_server.away()
    code, text = relay.submit(key, mail(), ["ann@example.com"])
    assert (code, text.split()[0]) == (250, "queued:")
    recording_server.start()
    relay.cli("upstream", "resume", "main")
    ident = ident_of(text)
    wait_until(lambda: relay.message(ident)["status"] == "sent", "the probe")
    assert len(book.messages) == 1


@pytest.mark.slow
@pytest.mark.parametrize("mechanisms", ["plain login", "login"])
def test_dovecot_with_starttls_and_login(
    relay: Relay, recording: Recording, mechanisms: str
) -> None:
    """With `login` alone, as Microsoft 365 offers it."""
    dovecot = Dovecot(recording.port, "way@x.test", "pöst", mechanisms)
    try:
        where = ("--host", "127.0.0.1", "--port", str(dovecot.port), "--encryption", "starttls")
        login = ("--username", "way@x.test", "--password-file", "-")
        add = ("upstream", "add", "main", "--sender", SENDER, *where, *login)
        refused = relay.run("--json", *add, stdin="wrong")
        assert (refused.returncode, json.loads(refused.stdout)["diagnosis"]) == (
            1,
            "authentication_failed",
        )
        added = relay.cli(*add, stdin="pöst\n")
        assert added["pin"].startswith("key:")
        relay.cli("account", "create", "acme", "--credits", "10")
        code, text = relay.submit(relay.key("acme"), mail(), ["ann@example.com"])
        assert (code, text.split()[0]) == (250, "OK:"), dovecot.log()
        (arrived,) = recording.to("ann@example.com")
        assert b"\r\nSubject: Hello\r\n" in arrived.octets
        assert arrived.mail_from == SENDER
        tested = relay.cli("upstream", "test", "main", "--send-to", "bob@example.com")
        assert tested["ok"] is True
        assert len(recording.to("bob@example.com")) == 1
    finally:
        dovecot.stop()


@pytest.mark.slow
@pytest.mark.parametrize("encryption", ["starttls", "tls"])
def test_exim_with_tls_and_login(tmp_path: Path, recording: Recording, encryption: str) -> None:
    """Its certificate holds by an authority that the machine trusts. A wrong password is told of
    when it is saved, and later pauses the upstream until it is put right: the mail waited."""
    exim = Exim(recording.port, "way@x.test", "pöst", implicit=encryption == "tls")
    relay = Relay(tmp_path / "relay")
    relay.env = {"SSL_CERT_FILE": str(exim.roots)}
    try:
        relay.start()
        where = ("--host", "localhost", "--port", str(exim.port), "--encryption", encryption)
        login = ("--username", "way@x.test", "--password-file", "-", "--validate", "on")
        add = ("upstream", "add", "main", "--sender", SENDER, *where, *login)
        refused = relay.run("--json", *add, stdin="wrong")
        told = json.loads(refused.stdout)
        assert (refused.returncode, told["diagnosis"]) == (1, "authentication_failed")
        assert "535 Incorrect authentication data" in told["title"], told
        assert "password" in told["fix"]
        relay.cli(*add, stdin="pöst\n")
        relay.cli("account", "create", "acme", "--credits", "10")
        code, text = relay.submit(relay.key("acme"), mail(), ["ann@example.com"])
        assert (code, text.split()[0]) == (250, "OK:"), exim.log()
        wait_until(lambda: bool(recording.to("ann@example.com")), f"Exim's delivery {exim.log()}")
        (arrived,) = recording.to("ann@example.com")
        assert b"\r\nSubject: Hello\r\n" in arrived.octets
        tested = relay.cli("upstream", "test", "main", "--send-to", "bob@example.com")
        assert tested["ok"] is True
        wait_until(lambda: bool(recording.to("bob@example.com")), "the test mail")

        password = ("upstream", "set", "main", "--password-file", "-", "--no-test")
        relay.cli(*password, stdin="wrong\n")
        code, text = relay.submit(relay.key("acme"), mail("eve@example.com"), ["eve@example.com"])
        assert (code, text.split()[0]) == (250, "queued:"), text
        assert relay.cli("upstream", "show", "main")["state"] == "paused"
        relay.cli(*password, stdin="pöst\n")
        wait_until(lambda: bool(recording.to("eve@example.com")), "what had waited")
        assert relay.credits() == 8
        relay.audit()
    finally:
        relay.stop()
        exim.stop()


@pytest.mark.slow
def test_failover_is_told_and_ends_by_itself(
    relay: Relay, recording: Recording, recording_server: RecordingServer
) -> None:
    not_over_midnight(60)
    recording_server.away()
    relay.upstream("second", recording.port, "other@relay.test")
    relay.upstream("main", recording_server.book.port, SENDER, "--fallback", "second")
    relay.cli("account", "create", "acme", "--credits", "10")
    key = relay.key("acme")
    first = ident_of(relay.submit(key, mail(), ["ann@example.com"])[1])
    wait_until(lambda: relay.message(first)["status"] == "sent", "the second upstream")
    assert relay.submit(key, mail("bob@example.com"), ["bob@example.com"])[1].startswith("OK:")
    assert [message.mail_from for message in recording.messages] == [SENDER, SENDER]
    (shown,) = [up for up in relay.cli("upstream", "list") if up["name"] == "main"]
    assert (shown["state"], shown["through"], shown["login"]) == ("failing", "second", "none")
    assert shown["lastError"] == shown["reason"] != ""
    assert shown["usedToday"] == 2
    assert shown["lastSuccessAt"] is None
    assert "second meanwhile" in relay.run("upstream", "list").stdout
    assert relay.log.read_text().count("event=failover ") == 1
    attempt = relay.message(first)["recipients"][0]["attempts"][-1]
    assert (attempt["upstream"], attempt["code"]) == ("second", 250)

    recording_server.start()
    relay.cli("upstream", "resume", "main")
    assert relay.submit(key, mail("eve@example.com"), ["eve@example.com"])[1].startswith("OK:")
    assert len(recording_server.book.to("eve@example.com")) == 1
    shown = relay.cli("upstream", "show", "main")
    assert (shown["state"], shown["through"]) == ("ok", None)
    assert shown["lastError"]
    assert shown["lastSuccessAt"] is not None
    assert relay.credits() == 7
    relay.audit()


@pytest.mark.slow
def test_a_password_that_is_moved_to_another_row_does_not_open(
    make_relay: Callable[..., Relay],
) -> None:
    """Row 45 of the threats: who can write the database still cannot make one account's server be
    told another's password. The mail waits until the password is set."""
    books = [RecordingServer(Recording(users={"way": word})) for word in ("alpha", "beta")]
    try:
        ports = [book.start().port for book in books]
        allowed = f'allow_networks = ["127.0.0.0/8"]\nports = {ports}'
        relay = make_relay(tables={"upstreams": allowed})
        for name, port, word in zip(("acme", "bolt"), ports, ("alpha", "beta"), strict=True):
            relay.cli("account", "create", name, "--credits", "10")
            relay.cli(
                *("upstream", "add", "own", "--account", name, "--sender", f"a@{name}.test"),
                *("--host", "127.0.0.1", "--port", str(port), "--encryption", "none"),
                *("--username", "way", "--password-file", "-"),
                stdin=f"{word}\n",
            )
        relay.stop()
        with contextlib.closing(sqlite3.connect(next(relay.data.glob("*.db")))) as db, db:
            db.execute(
                "UPDATE upstream SET password = (SELECT password FROM upstream WHERE id = 1)"
                " WHERE id = 2"
            )
        before = len(books[1].book.logins)
        relay.start()
        key = relay.key("bolt")
        letter = mail().replace(b"noreply@relay.test", b"a@bolt.test")
        code, text = relay.submit(key, letter, ["ann@example.com"], "a@bolt.test")
        assert (code, text.split()[0]) == (250, "queued:")
        shown = relay.cli("upstream", "show", "own", "--account", "bolt")
        assert shown["state"] == "paused"
        assert "cannot be opened" in shown["reason"]
        refused = relay.run("--json", "upstream", "test", "own", "--account", "bolt")
        assert refused.returncode == 1
        assert "alpha" not in refused.stdout + refused.stderr
        assert books[1].book.logins[before:] == []
        again = ("upstream", "set", "own", "--account", "bolt", "--password-file", "-")
        relay.cli(*again, stdin="beta\n")
        wait_until(lambda: bool(books[1].book.messages), "the mail")
        assert relay.credits("bolt") == 9
        relay.audit()
    finally:
        for book in books:
            book.stop()
