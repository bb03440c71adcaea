"""Every line of the table of answers over a real socket; log, ledger and audit after each."""

from __future__ import annotations

import json
import smtplib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from peers.need import need
from peers.process import free_port, not_over_midnight, wait_until
from peers.recording import HANG, Recording, RecordingServer
from peers.relay import SENDER, Relay, any_certificate, ident_of, mail, submit
from peers.small_disk import fill, small_disk

CREDITS = 1000
WAIT_S = 40  # an answer that comes in half of it did not wait
ANN, BOB = "ann@example.com", "bob@example.com"


class Office:
    """One relay for the whole module; each row has an account of its own, `name`, with a key."""

    def __init__(self, relay: Relay, recording: Recording) -> None:
        self.relay, self.recording = relay, recording
        self.name, self.key = "", ""
        self._rows = 0

    def row(self) -> None:
        self._rows += 1
        self.name = f"row{self._rows}"
        self.relay.cli("account", "create", self.name, "--credits", str(CREDITS))
        self.key = self.relay.key(self.name)
        self.recording.answers.clear()

    def submit(self, message: bytes, to: list[str]) -> tuple[int, str]:
        return self.relay.submit(self.key, message, to)

    def accepted(self, text: str, word: str, status: str, net: int, charged: int) -> Any:
        """The answer's id is that of the log, the ledger has its price."""
        assert text.split()[0] == word
        shown = self.relay.message(ident_of(text))
        assert shown["status"] == status
        assert shown["account"] == self.name
        assert (shown["charged"], shown["charged"] - shown["refunded"]) == (charged, net)
        assert self.relay.credits(self.name) == CREDITS - net
        self.relay.audit()
        return shown

    def refused(self, answer: str, reason: str | None = None) -> Any:
        """Nothing was charged or kept, and the refusal is in the log with the answer given."""
        assert self.relay.credits(self.name) == CREDITS
        assert [line["reason"] for line in self.relay.ledger(self.name)] == ["topup"]
        assert self.relay.messages("--account", self.name) == []
        note = noted(self.relay, answer, self.name)
        assert note["channel"] == "smtp"
        assert note["peer"].startswith("127.0.0.1")
        if reason is not None:
            assert note["reason"] == reason
        self.relay.audit()
        return note


def noted(relay: Relay, answer: str, account: str = "") -> Any:
    """The newest refusal once it is the one with that answer: it is written behind the answer."""
    newest: list[Any] = []

    def kept() -> bool:
        newest[:] = relay.refusals()[:1]
        return any(
            note["answer"].startswith(answer) and (note["account"] or account) == account
            for note in newest
        )

    wait_until(kept, f"the refusal {answer} in the log")
    return newest[0]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    server = RecordingServer(Recording())
    book = server.start()
    # What a test leaves queued is not tried again while another one looks.
    relay = Relay(
        tmp_path_factory.mktemp("answers"),
        settings=f"inline_wait = {WAIT_S}",
        tables={"queue": 'retry = ["6h"]'},
    )
    try:
        relay.start()
        relay.upstream("main", book.port, SENDER)
        yield Office(relay, book)
    finally:
        relay.stop()
        server.stop()


@pytest.fixture
def office(shared: Office) -> Iterator[Office]:
    shared.row()
    yield shared
    shared.recording.answers.clear()
    shared.relay.cli("upstream", "resume", "main")


# Accepted


def test_sent_to_all(office: Office) -> None:
    code, text = office.submit(mail(to=f"{ANN}, {BOB}"), [ANN, BOB])
    assert code == 250
    shown = office.accepted(text, "OK:", "sent", net=2, charged=2)
    assert {r["address"] for r in shown["recipients"]} == {ANN, BOB}
    assert all(r["attempts"][-1]["code"] == 250 for r in shown["recipients"])


def test_sent_to_some(office: Office) -> None:
    office.recording.answers["RCPT"] = lambda x: "550 5.1.1 gone" if "bob" in x else "250 ok"
    code, text = office.submit(mail(to=f"{ANN}, {BOB}"), [ANN, BOB])
    assert code == 250
    shown = office.accepted(text, "OK:", "partial", net=1, charged=2)
    states = {r["address"]: r["status"] for r in shown["recipients"]}
    assert states == {ANN: "sent", BOB: "failed"}
    refund = next(x for x in office.relay.ledger(office.name) if x["reason"] == "refund")
    assert (refund["amount"], refund["message"]) == (1, shown["id"])


@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "DATA", "dot"])
def test_queued_by_a_temporary_failure(office: Office, stage: str) -> None:
    office.recording.answers[stage] = "451 4.2.0 later"
    code, text = office.submit(mail(), [ANN])
    assert code == 250
    shown = office.accepted(text, "queued:", "queued", net=1, charged=1)
    attempt = shown["recipients"][0]["attempts"][-1]
    assert (attempt["code"], "later" in attempt["text"]) == (451, True)


def test_some_sent_some_queued(office: Office) -> None:
    office.recording.answers["RCPT"] = lambda x: "450 4.2.1 full" if "bob" in x else "250 ok"
    code, text = office.submit(mail(to=f"{ANN}, {BOB}"), [ANN, BOB])
    assert code == 250
    shown = office.accepted(text, "queued:", "queued", net=2, charged=2)
    assert {r["status"] for r in shown["recipients"]} == {"sent", "queued"}


@pytest.mark.slow
def test_queued_because_slow_and_sent_all_the_same(
    make_relay: Callable[..., Relay], recording: Recording
) -> None:
    relay, key = own(make_relay, recording, settings="inline_wait = 1.5")
    answered = threading.Event()

    def slow(_: str) -> str:
        answered.wait(60)
        return "250 2.0.0 taken"

    recording.answers["dot"] = slow
    began = time.monotonic()
    code, text = relay.submit(key, mail(), [ANN])
    took_s = time.monotonic() - began
    assert not answered.is_set()
    answered.set()
    assert (code, text.split()[0]) == (250, "queued:")
    assert took_s > 1.4
    wait_until(lambda: relay.message(ident_of(text))["status"] == "sent", "it to be sent")
    assert len(recording.to(ANN)) == 1


def test_queued_by_the_upstream_being_away(office: Office) -> None:
    office.relay.upstream("nobody", free_port(), f"away@{office.name}.test")
    letter = mail().replace(SENDER.encode(), f"away@{office.name}.test".encode())
    began = time.monotonic()
    code, text = office.submit(letter, [ANN])
    assert code == 250
    office.accepted(text, "queued:", "queued", net=1, charged=1)
    again = time.monotonic()
    assert office.submit(letter, [BOB])[0] == 250
    assert time.monotonic() - again < WAIT_S / 2, "no try can begin: the answer does not wait"
    assert again - began < WAIT_S / 2


def test_queued_by_the_daily_cap(office: Office) -> None:
    not_over_midnight(60)
    address = f"capped@{office.name}.test"
    office.relay.cli("sender", "add", address, "--upstream", "main", "--global", "--daily-cap", "1")
    letter = mail().replace(SENDER.encode(), address.encode())
    assert office.submit(letter, [ANN])[1].split()[0] == "OK:"
    began = time.monotonic()
    code, text = office.submit(letter.replace(ANN.encode(), BOB.encode()), [BOB])
    assert (code, text.split()[0]) == (250, "queued:")
    assert time.monotonic() - began < WAIT_S / 2, "there is no room today: the answer does not wait"
    assert office.relay.message(ident_of(text))["status"] == "queued"
    assert office.relay.credits(office.name) == CREDITS - 2
    found = next(s for s in office.relay.cli("sender", "list") if s["address"] == address)
    assert (found["dailyCap"], found["usedToday"]) == (1, 1)
    office.relay.audit()


@pytest.mark.parametrize("stage", ["RCPT", "DATA", "dot"])
def test_upstream_refused_all(office: Office, stage: str) -> None:
    office.recording.answers[stage] = "550 5.1.1 no such person"
    code, text = office.submit(mail(), [ANN])
    assert code == 550
    assert text.startswith("5.1.1 ")
    assert "no such person" in text
    shown = office.relay.message(ident_of(text))
    assert text.endswith(f"({shown['id']})")
    assert (shown["status"], shown["charged"], shown["refunded"]) == ("failed", 1, 1)
    assert office.relay.credits(office.name) == CREDITS
    reasons = [x["reason"] for x in office.relay.ledger(office.name)]
    assert sorted(reasons) == ["debit", "refund", "topup"]
    office.relay.audit()


def test_upstream_refused_all_without_an_enhanced_code(office: Office) -> None:
    office.recording.answers["RCPT"] = "550 go away"
    code, text = office.submit(mail(), [ANN])
    assert (code, text.split()[0]) == (550, "5.0.0")
    assert "go away" in text


def test_the_command_that_sends_fails_where_all_were_refused(office: Office) -> None:
    office.recording.answers["RCPT"] = "550 5.1.1 no such person"
    done = office.relay.run(
        *("--json", "send", "--account", office.name, "--from", SENDER, "--to", ANN)
    )
    assert done.returncode == 1
    assert json.loads(done.stdout)["status"] == "failed"
    assert "550 5.1.1 no such person" in done.stderr


# Refused


def test_rate_limit(office: Office) -> None:
    office.relay.cli("account", "set", office.name, "--rate-limit", "1")
    with office.relay.session(office.key) as client:
        assert submit(client, mail(), [ANN])[0] == 250
        code, text = submit(client, mail(subject="again"), [ANN])
        assert (code, text[:6]) == (421, "4.7.0 ")
        with pytest.raises(smtplib.SMTPServerDisconnected):
            client.noop()
    assert office.relay.credits(office.name) == CREDITS - 1
    assert noted(office.relay, "421 4.7.0", office.name)["reason"] == "rate_limit"
    office.relay.audit()


def test_not_enough_credits(office: Office) -> None:
    office.relay.cli("account", "create", f"{office.name}-poor", "--credits", "1")
    key = office.relay.key(f"{office.name}-poor")
    code, text = office.relay.submit(key, mail(to=f"{ANN}, {BOB}"), [ANN, BOB])
    assert (code, text[:6]) == (451, "4.7.1 ")
    assert office.relay.credits(f"{office.name}-poor") == 1
    assert office.relay.submit(key, mail(), [ANN])[0] == 250
    code, text = office.relay.submit(key, mail(subject="more"), [ANN])
    assert (code, text[:6]) == (451, "4.7.1 ")
    assert office.relay.credits(f"{office.name}-poor") == 0
    assert noted(office.relay, "451 4.7.1", f"{office.name}-poor")["reason"] == "no_credits"
    office.relay.audit()


def test_no_credits_at_all_is_said_at_mail(office: Office) -> None:
    office.relay.cli("account", "create", f"{office.name}-none", "--credits", "0")
    with office.relay.session(office.relay.key(f"{office.name}-none")) as client:
        code, text = client.docmd(f"MAIL FROM:<{SENDER}>")
        assert (code, text[:6]) == (451, b"4.7.1 ")


def login(office: Office, key: str) -> tuple[int, bytes]:
    """The answer to a login that fails."""
    with pytest.raises(smtplib.SMTPAuthenticationError) as told, office.relay.session(None) as c:
        c.ehlo()
        c.user, c.password = "x", key
        c.auth("PLAIN", c.auth_plain)
    answer = told.value.smtp_error
    return told.value.smtp_code, answer if isinstance(answer, bytes) else answer.encode()


def test_account_disabled(office: Office) -> None:
    with office.relay.session(office.key) as client:
        office.relay.cli("account", "disable", office.name)
        code, text = client.docmd(f"MAIL FROM:<{SENDER}>")
        assert (code, text[:6]) == (421, b"4.7.0 ")
    code, text = login(office, office.key)
    assert (code, text[:6]) == (535, b"5.7.8 ")
    office.refused("535 5.7.8")
    office.relay.cli("account", "enable", office.name)
    assert office.submit(mail(), [ANN])[0] == 250


def test_key_unknown(office: Office) -> None:
    code, text = login(office, "hyd-mail-" + "A" * 40)
    assert (code, text[:6]) == (535, b"5.7.8 ")
    note = office.refused("535 5.7.8", "key_unknown")
    assert "A" * 40 not in str(note)


@pytest.mark.slow
def test_key_disabled(office: Office) -> None:
    (key,) = [k for k in office.relay.cli("key", "list") if k["account"] == office.name]
    with office.relay.session(office.key) as client:
        office.relay.cli("key", "disable", str(key["id"]))
        code, text = client.docmd("NOOP")
        assert (code, text[:6]) == (421, b"4.7.0 ")
    code, text = login(office, office.key)
    assert (code, text[:6]) == (535, b"5.7.8 ")
    office.refused("535 5.7.8", "key_disabled")
    office.relay.cli("key", "enable", str(key["id"]))
    assert office.submit(mail(), [ANN])[0] == 250


@pytest.mark.slow
def test_a_rotated_key_stops_at_once(office: Office) -> None:
    (key,) = [k for k in office.relay.cli("key", "list") if k["account"] == office.name]
    new = office.relay.cli("key", "rotate", str(key["id"]))["key"]
    assert login(office, office.key)[0] == 535
    assert office.relay.submit(new, mail(), [ANN])[0] == 250


@pytest.mark.parametrize(
    "header",
    [
        "From: stranger@elsewhere.test\r\n",
        f"From: {SENDER}\r\nFrom: {SENDER}\r\n",
        f"From: {SENDER}, other@relay.test\r\n",
        f"From: {SENDER}\r\nSender: stranger@elsewhere.test\r\n",
        f'From: "boss@bank.test" <{SENDER}>\r\n',
        f"From: {SENDER}\r\nResent-From: stranger@elsewhere.test\r\n",
    ],
)
def test_sender_not_allowed(office: Office, header: str) -> None:
    code, text = office.submit(f"{header}To: {ANN}\r\n\r\nx\r\n".encode(), [ANN])
    assert (code, text[:6]) == (550, "5.7.1 ")
    office.refused("550 5.7.1", "sender_not_allowed")


@pytest.mark.parametrize("to", ["not an address", "a@b@c", f"{ANN}, <oops", "x@-bad-.test"])
def test_address_cannot_be_read(office: Office, to: str) -> None:
    code, text = office.submit(mail(to=to), [ANN])
    assert (code, text[:6]) == (550, "5.1.3 ")
    office.refused("550 5.1.3", "address")


def test_too_many_recipients(office: Office) -> None:
    many = [f"r{n}@example.com" for n in range(101)]
    code, text = office.submit(mail(to=many[0]), many)
    assert (code, text[:6]) == (550, "5.5.3 ")
    office.refused("550 5.5.3", "recipients")
    assert office.submit(mail(to=many[0]), many[:100])[0] == 250


def test_an_envelope_key_is_told_to_split(office: Office) -> None:
    key = office.relay.key(office.name, "--recipients", "envelope")
    with office.relay.session(key) as client:
        client.docmd(f"MAIL FROM:<{SENDER}>")
        answers = [client.docmd(f"RCPT TO:<r{n}@example.com>") for n in range(101)]
        assert {code for code, _ in answers[:100]} == {250}
        assert (answers[100][0], answers[100][1][:6]) == (452, b"4.5.3 ")


MALFORMED = {
    "NUL": mail(body="a\0b\r\n"),
    "form feed in the header": mail(extra="X-A: b\x0cBcc: c@d.test\r\n"),
    "white space first": b" From: x\r\n" + mail(),
    "no colon": mail(extra="this is no field\r\n"),
}


@pytest.mark.parametrize("message", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed(office: Office, message: bytes) -> None:
    code, text = office.submit(message, [ANN])
    assert (code, text[:6]) == (550, "5.6.0 ")
    office.refused("550 5.6.0", "malformed")


def test_loop(office: Office) -> None:
    hops = "Received: from a by b; Mon, 01 Jan 2024 00:00:00 +0000\r\n" * 51
    code, text = office.submit(mail(extra=hops), [ANN])
    assert (code, text[:6]) == (550, "5.4.6 ")
    office.refused("550 5.4.6", "loop")
    ours = "Received: from a ([192.0.2.1]) by relay.test with ESMTPSA id 0; x\r\n" * 4
    assert office.submit(mail(extra=ours), [ANN])[0] == 550


def test_a_local_part_that_is_not_ascii(office: Office) -> None:
    with office.relay.session(office.key) as client:
        client.docmd(f"MAIL FROM:<{SENDER}>")
        client.send("RCPT TO:<grüße@example.com>\r\n".encode())
        code, text = client.getreply()
        assert (code, text[:6]) == (550, b"5.6.7 ")
    office.refused("550 5.6.7")


def test_eight_bit_mail_that_the_upstream_cannot_carry(office: Office) -> None:
    plain = RecordingServer(Recording(extensions=["PIPELINING"]))
    book = plain.start()
    try:
        address = f"seven@{office.name}.test"
        office.relay.upstream(f"seven-{office.name}", book.port, address)
        letter = mail(body="Grüße\r\n").replace(SENDER.encode(), address.encode())
        code, text = office.submit(letter, [ANN])
    finally:
        plain.stop()
    assert (code, text[:6]) == (550, "5.6.3 ")
    assert book.messages == []
    assert office.relay.message(ident_of(text))["status"] == "failed"
    assert office.relay.credits(office.name) == CREDITS
    office.relay.audit()


def test_size_declared_too_large(office: Office) -> None:
    with office.relay.session(office.key) as client:
        code, text = client.docmd(f"MAIL FROM:<{SENDER}> SIZE=31457281")
        assert (code, text[:6]) == (552, b"5.3.4 ")
        assert client.docmd(f"MAIL FROM:<{SENDER}> SIZE=31457280")[0] == 250
    office.refused("552 5.3.4")


def test_larger_than_the_cap_alone(office: Office) -> None:
    address = f"small@{office.name}.test"
    office.relay.cli("sender", "add", address, "--upstream", "main", "--global", "--daily-cap", "1")
    letter = mail(to=f"{ANN}, {BOB}").replace(SENDER.encode(), address.encode())
    code, text = office.submit(letter, [ANN, BOB])
    assert (code, text[:6]) == (550, "5.7.1 ")
    office.refused("550 5.7.1", "over_cap")


# Refused by a relay that is set up for it


def own(
    make_relay: Callable[..., Relay], recording: Recording, **arguments: Any
) -> tuple[Relay, str]:
    relay = make_relay(**arguments)
    return relay, relay.furnish(recording.port, credits=str(CREDITS))


def test_bare_line_ends_refused(make_relay: Callable[..., Relay], recording: Recording) -> None:
    relay, key = own(make_relay, recording, settings='bare_newline = "refuse"')
    for body in ("a\nb\r\n", "a\rb\r\n", "a\n.\r\nMAIL FROM:<x@y.test>\r\n"):
        code, text = relay.submit(key, mail(body=body), [ANN])
        assert (code, text[:7]) == (550, "5.6.11 ")
    assert recording.messages == []
    assert relay.credits() == CREDITS
    noted(relay, "550 5.6.11", "acme")
    assert {n["reason"] for n in relay.refusals()} == {"bare_newline"}
    relay.audit()


def test_grown_too_large(make_relay: Callable[..., Relay], recording: Recording) -> None:
    relay, key = own(make_relay, recording, tables={"limits": "message_bytes = 100000"})
    with relay.session(key) as client:
        code, text = submit(client, mail(body="x" * 100_000 + "\r\n"), [ANN])
        assert (code, text[:6]) == (550, "5.3.4 ")
        assert submit(client, mail(), [ANN])[0] == 250, "the session goes on"
    assert noted(relay, "550 5.3.4", "acme")["reason"] == "too_large"
    assert relay.credits() == CREDITS - 1
    relay.audit()


@pytest.mark.slow
def test_too_many_sessions(make_relay: Callable[..., Relay], recording: Recording) -> None:
    relay, key = own(make_relay, recording, tables={"limits": "sessions_per_address = 2"})
    with relay.session(key), relay.session(key):
        third = smtplib.SMTP()
        code, text = third.connect("127.0.0.1", relay.submission)
        third.close()
        assert (code, text[:6]) == (421, b"4.3.2 ")
    assert noted(relay, "421 4.3.2")["reason"] == "too_many_sessions"
    until = time.monotonic() + 60
    while True:
        try:
            assert relay.submit(key, mail(), [ANN])[0] == 250
            break
        except smtplib.SMTPConnectError:
            assert time.monotonic() < until, "the place of a session that ended is free again"
            time.sleep(0.1)


@pytest.mark.slow
def test_disk_nearly_full(
    make_relay: Callable[..., Relay], recording: Recording, tmp_path: Path
) -> None:
    """The data directory on a small file system of its own that somebody else fills."""
    with small_disk(need, tmp_path / "relay0" / "data") as filler:
        relay, key = own(make_relay, recording)
        assert relay.submit(key, mail(), [ANN])[0] == 250
        fill(filler)
        until = time.monotonic() + 60
        while relay.submit(key, mail(subject=str(time.monotonic())), [ANN])[0] == 250:
            assert time.monotonic() < until
            time.sleep(0.3)
        with relay.session(key) as client:
            code, text = client.docmd(f"MAIL FROM:<{SENDER}>")
            assert (code, text[:6]) == (452, b"4.3.1 ")
        assert noted(relay, "452 4.3.1", "acme")["reason"] == "disk_or_memory_full"
        wait_until(lambda: relay.readyz() == 503, "the relay to say that it takes no mail")
        filler.unlink()
        until = time.monotonic() + 60
        while relay.submit(key, mail(subject=str(time.monotonic())), [ANN])[0] != 250:
            assert time.monotonic() < until, "it takes mail again by itself"
            time.sleep(0.3)
        wait_until(lambda: relay.readyz() == 200, "the relay to be ready again")
        relay.audit()
        assert relay.stop() == 0


@pytest.mark.slow
def test_store_in_trouble(make_relay: Callable[..., Relay], recording: Recording) -> None:
    """Somebody else holds the database's write lock: a 4xx, never a 250, and then it goes on."""
    relay, key = own(make_relay, recording)
    (database,) = [
        p
        for p in relay.data.rglob("*")
        if p.is_file() and p.read_bytes()[:15] == b"SQLite format 3"
    ]
    with relay.session(key) as client:
        holder = sqlite3.connect(database, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        try:
            code, text = submit(client, mail(), [ANN])
        finally:
            holder.execute("ROLLBACK")
            holder.close()
        assert (code, text[:6]) == (451, "4.3.0 ")
    assert recording.messages == []
    assert relay.credits() == CREDITS
    assert relay.submit(key, mail(), [ANN])[0] == 250
    relay.audit()


def test_before_tls_and_before_login(relay: Relay) -> None:
    with relay.session(None, starttls=False) as client:
        client.ehlo()
        assert not client.has_extn("auth")
        assert client.docmd("AUTH PLAIN AAAA")[1][:7] == b"5.7.11 "
        code, text = client.docmd("MAIL FROM:<a@b.test>")
        assert (code, text) == (530, b"5.7.0 Must issue a STARTTLS command first")
        client.starttls(context=any_certificate())
        for command in ("MAIL FROM:<a@b.test>", "RCPT TO:<a@b.test>", "DATA"):
            assert client.docmd(command) == (530, b"5.7.0 Authentication required")


@pytest.mark.slow
def test_hang_ends_with_queued(make_relay: Callable[..., Relay], recording: Recording) -> None:
    relay, key = own(make_relay, recording, settings="inline_wait = 0")
    recording.answers["dot"] = HANG
    with relay.session(key) as client:
        for command in (f"MAIL FROM:<{SENDER}>", f"RCPT TO:<{ANN}>", "DATA"):
            client.docmd(command)
        began = time.monotonic()
        client.send(mail() + b".\r\n")
        code, text = client.getreply()
    assert (code, text.split()[0]) == (250, b"queued:")
    assert time.monotonic() - began < 3.5, "not even for as long as it waits by default"
