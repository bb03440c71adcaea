"""Two workers behind one port: what holds for one relay holds over both."""

from __future__ import annotations

import asyncio
import os
import signal
import smtplib
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable

import pytest

from peers.http_client import SEND, Client
from peers.process import free_port, listens, wait_until
from peers.recording import Recording
from peers.relay import SENDER, Relay, mail, submit
from workers.crew_of import AT_ONCE, SEVERAL, TURNS, accepted_by, at_once, wait_for_all, workers_of


def subjects(recording: Recording) -> Counter[bytes]:
    lines = (line for m in list(recording.messages) for line in m.octets.split(b"\r\n"))
    return Counter(line for line in lines if line.startswith(b"Subject: "))


def test_both_accept_and_all_mail_arrives_once(
    make_relay: Callable[..., Relay], recording: Recording
) -> None:
    relay = make_relay(**SEVERAL)
    wait_for_all(relay)
    key = relay.furnish(recording.port)
    answers = at_once(20, 3, relay, key)
    assert [code for code, _ in answers] == [250] * 60
    assert {accepted_by(text) for _, text in answers} == {0, 1}
    wait_until(lambda: len(recording.messages) >= 60, "all of it upstream")
    assert len(subjects(recording)) == len(recording.messages) == 60
    # One owner: the other worker's mail went over the same connections, and its clients were told.
    assert [text[:3] for _, text in answers].count("OK:") == 60
    assert relay.credits() == 1000 - 60
    relay.audit()


def test_the_rate_is_exact_over_both(
    make_relay: Callable[..., Relay], recording: Recording
) -> None:
    relay = make_relay(settings="workers = 2\ninline_wait = 0")
    key = relay.furnish(recording.port)
    # They meet, else one worker's sessions may use all up before the other's begin.
    answers = at_once(20, 10, relay, key, meet=True)
    good = [text for code, text in answers if code == 250]
    assert {accepted_by(text) for text in good} == {0, 1}
    assert len(good) == 120
    assert {code for code, _ in answers} == {250, 421}


def test_two_hundred_race_for_a_hundred_credits(
    make_relay: Callable[..., Relay], recording: Recording
) -> None:
    relay = make_relay(**AT_ONCE)
    key = relay.furnish(recording.port, credits="100")
    # They meet, else one worker's sessions may use all up before the other's begin.
    answers = at_once(20, 10, relay, key, meet=True)
    good = [text for code, text in answers if code == 250]
    assert {accepted_by(text) for text in good} == {0, 1}
    assert (len(answers), len(good)) == (200, 100)
    assert {code for code, _ in answers} == {250, 451}
    ledger = relay.ledger()
    assert sum(line["amount"] for line in ledger) == relay.credits() == 0
    wait_until(lambda: len(recording.messages) == 100, "all of it upstream")
    relay.audit()


def test_the_daily_cap_is_exact_over_both(
    make_relay: Callable[..., Relay], recording: Recording
) -> None:
    relay = make_relay(**AT_ONCE)
    relay.upstream("main", recording.port, "noreply@relay.test", "--daily-cap", "30")
    relay.cli("account", "create", "acme", "--credits", "1000")
    key = relay.key("acme")
    answers = at_once(10, 6, relay, key)
    assert [code for code, _ in answers] == [250] * 60
    wait_until(lambda: len(recording.messages) >= 30, "today's part")
    wait_until(lambda: len(relay.messages("--status", "queued")) == 30, "the rest to wait")
    assert len(recording.messages) == 30
    relay.audit()


def most_connections(
    make_relay: Callable[..., Relay], book: Recording, wanted: int, sabotage: str = ""
) -> int:
    """How many an upstream that allows three saw at once, under load on both workers. It takes
    nothing before so many as are `wanted` have come, or have not for long."""
    most = [0]

    def greeting(_: str) -> str:
        most[0] = max(most[0], book.open)
        return "220 recording.test ESMTP"

    async def others_came() -> None:
        for _ in range(3_000):
            if most[0] >= wanted:
                return
            await asyncio.sleep(0.01)

    book.answers["greeting"] = greeting
    book.before_dot = others_came
    relay = make_relay(**AT_ONCE, sabotage=sabotage)
    relay.upstream("main", book.port, "noreply@relay.test", "--connections", "3")
    relay.cli("account", "create", "acme", "--credits", "1000")
    key = relay.key("acme")
    answers = at_once(20, 10, relay, key)
    assert {accepted_by(text) for _, text in answers} == {0, 1}
    wait_until(lambda: len(book.messages) >= 200, "all of it upstream")
    return most[0]


def test_the_connection_limit_holds_over_both(
    make_relay: Callable[..., Relay], recording: Recording
) -> None:
    assert most_connections(make_relay, recording, wanted=3) == 3


@pytest.mark.slow
def test_control_without_one_owner_the_limit_does_not_hold(
    make_relay: Callable[..., Relay], recording: Recording
) -> None:
    assert most_connections(make_relay, recording, wanted=4, sabotage="unowned") > 3


LONG = {"settings": "workers = 2\ninline_wait = 300", "tables": {"limits": "rate_per_minute = 0"}}
"""An answer that waits for that long never comes: the client gives up after two minutes."""


def test_who_waits_for_the_other_is_told_that_no_try_can_begin(
    make_relay: Callable[..., Relay],
) -> None:
    """An upstream that is found to be away is told to the worker that accepted the message."""
    relay = make_relay(**LONG)
    wait_for_all(relay)
    relay.cli("account", "create", "acme", "--credits", "1000")
    key = relay.key("acme")
    for number in range(1, TURNS):
        sender = f"from{number}@relay.test"
        relay.upstream(f"up{number}", free_port(), sender)
        letter = {"from": sender, "to": "ann@example.com", "text": "Hi."}
        told = Client(relay.http, key).call("POST", SEND, letter, {"Connection": "close"})
        assert (told.status, told.data["status"]) == (202, "queued")
        assert told.data["retryHint"]["reason"] == "Connection refused"
        if accepted_by(told.data["messageId"]) != number % 2:  # whose the upstream is
            return
    raise AssertionError("chance gave no message to the other worker")


def test_the_end_is_told_to_whoever_waits_for_the_other(
    make_relay: Callable[..., Relay], recording: Recording
) -> None:
    """At the stop a call hears at once of its message, which another worker sends."""
    relay = make_relay(**LONG)
    wait_for_all(relay)
    key = relay.furnish(recording.port)
    may_end = threading.Event()
    held_back: list[int] = []

    async def held() -> None:
        held_back.append(1)
        for _ in range(12_000):
            if may_end.is_set():
                return
            await asyncio.sleep(0.01)

    recording.before_dot = held
    told: list[int] = []

    def call() -> None:
        letter = {"from": SENDER, "to": "ann@example.com", "text": "Hi."}
        answer = Client(relay.http, key).call("POST", SEND, letter, {"Connection": "close"})
        told.append(answer.status)

    calls = [threading.Thread(target=call) for _ in range(8)]
    for thread in calls:
        thread.start()
    wait_until(lambda: len(held_back) == 8, "all of them on the wire")
    relay.signal(signal.SIGTERM)
    wait_until(lambda: not listens(relay.submission), "it to stop taking mail")
    may_end.set()
    for thread in calls:
        thread.join(120)
    assert told == [200] * 8
    wait_until(lambda: not relay.running, "its end")
    assert relay.stop() == 0


@pytest.mark.slow
def test_control_without_the_bell_mail_of_the_other_waits(
    make_relay: Callable[..., Relay], recording: Recording
) -> None:
    several = {**SEVERAL, "settings": "workers = 2\ninline_wait = 4"}
    relay = make_relay(**several, sabotage="unrung")
    wait_for_all(relay)
    key = relay.furnish(recording.port)
    others: list[str] = []
    while len(others) < 2:  # a look at all that waits, every 15 s, may find one of them
        code, text = relay.submit(key, mail(), ["ann@example.com"])
        assert code == 250
        if accepted_by(text) == 0:  # upstream 1 is worker 1's
            others.append(text.partition(":")[0])
    assert "queued" in others


def greeted(make_relay: Callable[..., Relay], sabotage: str = "") -> int:
    """How many of twelve sessions of one address, which may have five, are let in."""
    tables = {"limits": "sessions_per_address = 5"}
    relay = make_relay(settings="workers = 2", tables=tables, sabotage=sabotage)
    wait_for_all(relay)
    greetings = []
    open_now = [socket.create_connection(("127.0.0.1", relay.submission)) for _ in range(12)]
    for client in open_now:
        client.settimeout(120)
        greetings.append(client.recv(3))
    for client in open_now:
        client.close()
    assert greetings.count(b"421") == 12 - greetings.count(b"220")
    return greetings.count(b"220")


def test_sessions_from_one_address_are_counted_over_both(
    make_relay: Callable[..., Relay],
) -> None:
    # Two that accept in the same instant may each let one in more.
    assert 5 <= greeted(make_relay) <= 6


@pytest.mark.slow
def test_control_sessions_counted_apart_are_more(make_relay: Callable[..., Relay]) -> None:
    assert max(greeted(make_relay, "uncounted") for _ in range(3)) > 6


def test_a_tls_session_of_one_is_resumed_by_the_other(make_relay: Callable[..., Relay]) -> None:
    relay = make_relay(**SEVERAL)
    wait_for_all(relay)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    session: ssl.SSLSession | None = None
    resumed = []
    for _ in range(12):  # by chance all to one worker: once in 2,048 times
        with (
            socket.create_connection(("127.0.0.1", relay.submissions), 120) as raw,
            context.wrap_socket(raw, session=session) as client,
        ):
            assert client.recv(3) == b"220"
            resumed.append(client.session_reused)
            session = session or client.session
    assert resumed == [False] + [True] * 11


def test_an_answer_is_known_to_the_other_when_it_is_given(
    make_relay: Callable[..., Relay], recording: Recording
) -> None:
    """A repeat right behind the first answer gets it again, whichever worker it comes to."""
    relay = make_relay(**AT_ONCE)
    key = relay.furnish(recording.port)
    workers = set()
    for number in range(TURNS):
        head = {"Idempotency-Key": f"call-{number}", "Connection": "close"}
        answers = [
            Client(relay.http, key).call(
                "POST",
                SEND,
                {"from": SENDER, "to": "ann@example.com", "text": str(number)},
                head,
            )
            for _ in range(4)
        ]
        assert [a.status for a in answers] == [202] * 4, answers
        assert [a.headers.get("idempotent-replayed") for a in answers] == [None, *3 * ("true",)]
        assert len({a.data["messageId"] for a in answers}) == 1
        workers.add(accepted_by(answers[0].data["messageId"]))
        if number >= 7 and workers == {0, 1}:
            break
    assert workers == {0, 1}


@pytest.mark.slow
def test_a_reload_reaches_all(make_relay: Callable[..., Relay], recording: Recording) -> None:
    relay = make_relay(**AT_ONCE)
    wait_for_all(relay)
    key = relay.furnish(recording.port)
    before = workers_of(relay)
    relay.write_config("workers = 2", {"limits": "rate_per_minute = 0\nmessage_bytes = 2000"})
    relay.signal(signal.SIGHUP)
    wait_until(lambda: relay.log.read_text().count("reloaded") == 2, "both to reload")
    large = mail(body="0123456789\r\n" * 200)
    for _ in range(12):
        with relay.session(key) as session:
            code, _ = submit(session, large, ["ann@example.com"])
            assert code == 550
    relay.write_config("workers = 2\nno_such_setting = 1")
    relay.signal(signal.SIGHUP)
    wait_until(lambda: "reload_refused" in relay.log.read_text(), "the complaint")
    assert relay.log.read_text().count("reload_refused") == 1
    assert workers_of(relay) == before


def test_the_end(make_relay: Callable[..., Relay], recording: Recording) -> None:
    relay = make_relay(**SEVERAL)
    wait_for_all(relay)
    key = relay.furnish(recording.port)
    workers = workers_of(relay)
    assert relay.submit(key, mail(), ["ann@example.com"])[0] == 250
    assert relay.stop() == 0
    for pid in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert not listens(relay.submission)
    assert "Traceback" not in relay.log.read_text()


def test_a_taken_port_and_a_running_relay_are_said_in_one_line(
    make_relay: Callable[..., Relay],
) -> None:
    relay = make_relay(**SEVERAL)
    done = relay.run("serve", patience_s=120)
    assert done.returncode == 1
    assert "running already" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    other = Relay(relay.folder / "other", settings="workers = 3")
    other.submission = relay.submission
    other.write_config("workers = 3")
    done = other.run("serve", patience_s=120)
    assert done.returncode == 1
    assert f"{relay.submission} is taken" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    with smtplib.SMTP("127.0.0.1", relay.submission, timeout=120) as client:
        assert client.ehlo()[0] == 250
