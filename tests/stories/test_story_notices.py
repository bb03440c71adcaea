"""Who is told of mail that failed after it was accepted, over real sockets: once, and only then."""

from __future__ import annotations

import email
import email.policy
import signal
import time
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from peers.process import wait_until
from peers.recording import Recorded, Recording, RecordingServer
from peers.relay import SENDER, Relay, ident_of, mail, submit

ANN, BOB, OWNER = "ann@example.com", "bob@example.com", "owner@example.org"
NOTICE_S = 60.0


class Office:
    """One relay that answers before it tries; each test has accounts of its own."""

    def __init__(self, relay: Relay, recording: Recording) -> None:
        self.relay, self.recording = relay, recording
        self._rows = 0

    def account(self, *more: str) -> tuple[str, str]:
        self._rows += 1
        name = f"row{self._rows}"
        self.relay.cli("account", "create", name, "--credits", "100", *more)
        return name, self.relay.key(name)

    def ended(self, ident: str) -> Any:
        wait_until(lambda: self.relay.message(ident)["status"] != "queued", "it to end")
        return self.relay.message(ident)

    def notices(self, to: str) -> list[Recorded]:
        return self.recording.to(to)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    server = RecordingServer(Recording())
    book = server.start()
    relay = Relay(tmp_path_factory.mktemp("notices"), settings="inline_wait = 0")
    relay.env["WAYPOST_GLOBAL_SENDER"] = SENDER
    try:
        relay.start()
        relay.upstream("main", book.port, SENDER)
        yield Office(relay, book)
    finally:
        relay.stop()
        server.stop()


@pytest.fixture
def office(shared: Office) -> Iterator[Office]:
    yield shared
    shared.relay.audit()
    shared.recording.answers.clear()
    shared.recording.messages.clear()


def gone(line: str) -> str:
    return "550 5.1.1 <b>no such user</b>" if "bob" in line else "250 ok"


def read(found: Recorded) -> EmailMessage:
    message = email.message_from_bytes(found.octets, policy=email.policy.SMTP)
    assert isinstance(message, EmailMessage)
    return message


def test_one_notice_in_plain_words_uncharged_and_in_the_log(office: Office) -> None:
    name, key = office.account("--notify", OWNER)
    office.recording.answers["RCPT"] = gone
    message = mail(to=f"{ANN}, {BOB}", subject="Bill 7", extra="Message-ID: <own.7@acme>\r\n")
    code, text = office.relay.submit(key, message, [ANN, BOB])
    assert (code, text.split()[0]) == (250, "queued:")
    shown = office.ended(ident_of(text))
    assert shown["status"] == "partial"
    wait_until(lambda: bool(office.notices(OWNER)), "the notice", NOTICE_S)
    (found,) = office.notices(OWNER)
    assert (found.mail_from, found.recipients) == ("", [OWNER])
    notice = read(found)
    assert notice["Auto-Submitted"] == "auto-replied"
    assert (notice["From"].addresses[0].addr_spec, notice["To"]) == (SENDER, OWNER)
    assert notice["In-Reply-To"] == "<own.7@acme>"
    assert notice["Date"] and notice["Message-ID"]
    assert notice["Subject"] == "Not delivered: Bill 7"
    told = notice.get_content()
    assert "550 5.1.1 <b>no such user</b>" in told
    assert all(part in told for part in (BOB, shown["id"], "1 of its 2", "Check the address", name))
    assert ANN not in told

    logged = next(m for m in office.relay.messages("--account", name) if m["id"] != shown["id"])
    assert logged["subject"] == "Not delivered: Bill 7"
    office.ended(logged["id"])
    whole = office.relay.message(logged["id"])
    assert (whole["status"], whole["channel"], whole["charged"]) == ("sent", "notice", 0)
    assert whole["ledger"] == []
    assert office.relay.credits(name) == 99


def test_no_notice_where_none_is_due(office: Office) -> None:
    """Not without an address for it, not for `<>`, not about a notice; each with its control."""
    _, plain = office.account()
    name, key = office.account("--notify", "bob.owner@example.org")
    office.recording.answers["RCPT"] = gone  # the notice itself is refused too: its name is Bob's
    ended = []
    for secret, mail_from in ((plain, SENDER), (key, ""), (key, SENDER)):
        code, text = office.relay.submit(secret, mail(to=f"{ANN}, {BOB}"), [ANN, BOB], mail_from)
        assert code == 250
        ended.append(office.ended(ident_of(text))["id"])

    def about() -> list[Any]:
        found = office.relay.messages("--account", name)
        return [m for m in found if m["subject"].startswith("Not") and m["status"] == "failed"]

    wait_until(lambda: bool(about()), "the one notice that is due to fail", NOTICE_S)
    # Another message's notice is later than any that could be due for those.
    other, later = office.account("--notify", OWNER)
    _, text = office.relay.submit(later, mail(to=f"{ANN}, {BOB}"), [ANN, BOB])
    wait_until(lambda: bool(office.notices(OWNER)), "the later notice", NOTICE_S)
    assert len(about()) == 1
    assert len(office.relay.messages("--account", name)) == 3  # two mails, one notice
    assert office.relay.credits(name) == 98
    assert len(office.relay.messages("--account", other)) == 2


def test_the_sender_s_own_address_where_an_upstream_takes_no_null(office: Office) -> None:
    _, key = office.account("--notify", OWNER)
    office.recording.answers["MAIL"] = lambda line: (
        "553 5.1.7 a sender, please" if "<>" in line else "250 ok"
    )

    def after_mail(line: str) -> str:
        said = next(x for x in reversed(office.recording.lines) if x.startswith("MAIL"))
        return "503 5.5.1 MAIL first" if "<>" in said else gone(line)

    office.recording.answers["RCPT"] = after_mail
    _, text = office.relay.submit(key, mail(to=f"{ANN}, {BOB}"), [ANN, BOB])
    wait_until(lambda: bool(office.notices(OWNER)), "the notice", NOTICE_S)
    assert office.notices(OWNER)[0].mail_from == SENDER
    assert office.relay.cli("upstream", "show", "main")["state"] == "ok"
    assert not any(sender["held"] for sender in office.relay.cli("sender", "list"))
    assert ident_of(text) in read(office.notices(OWNER)[0]).get_content()


def test_nothing_that_was_said_becomes_a_field_or_a_line(office: Office) -> None:
    _, key = office.account("--notify", OWNER)
    office.recording.answers["RCPT"] = lambda line: (
        "550-5.1.1 gone\r\n550 5.1.1 Bcc: eve@example.com" if "bob" in line else "250 ok"
    )
    subject = "=?utf-8?B?SGkNCkJjYzogZXZlQGV4YW1wbGUuY29tDQoNCnRleHQ=?="  # with line ends in it
    message = mail(to=f"{ANN}, {BOB}", subject=subject, extra="Message-ID: <a b> x\r\n")
    office.relay.submit(key, message, [ANN, BOB])
    wait_until(lambda: bool(office.notices(OWNER)), "the notice", NOTICE_S)
    (found,) = office.notices(OWNER)
    assert found.recipients == [OWNER]
    notice = read(found)
    assert notice["Bcc"] is None and notice["In-Reply-To"] is None
    lines = notice.get_content().splitlines()
    assert not any(line.strip().startswith("Bcc:") for line in lines)


@pytest.mark.slow
def test_exactly_one_notice_through_kill_9(tmp_path: Path, recording: Recording) -> None:
    """Killed again and again between the end of the mail and the notice's own end."""
    relay = Relay(tmp_path / "killed", settings="inline_wait = 0")
    recording.answers["RCPT"] = gone
    try:
        relay.start()
        relay.upstream("main", recording.port, SENDER)
        relay.cli("account", "create", "acme", "--credits", "100", "--notify", OWNER)
        key = relay.key("acme")
        with relay.session(key) as client:
            for number in range(10):
                assert submit(client, mail(to=BOB, subject=f"n{number}"), [BOB])[0] == 250
        for wait_s in (5.5, 1.0):  # when the notices come due, and shortly after
            wait_until(lambda: any(m["status"] == "failed" for m in relay.messages()), "an end")
            time.sleep(wait_s)
            relay.signal(signal.SIGKILL)
            relay.stop()
            relay.start()
        wait_until(lambda: all(m["status"] != "queued" for m in relay.messages()), "all")
        wait_until(lambda: len(relay.messages()) == 20, "ten notices", NOTICE_S)
        wait_until(lambda: all(m["status"] != "queued" for m in relay.messages()), "all")
        subjects = sorted(m["subject"] for m in relay.messages() if m["status"] == "sent")
        assert subjects == [f"Not delivered: n{number}" for number in range(10)]
        relay.audit()
    finally:
        relay.stop()
