"""Two hundred submissions race for a hundred credits: a hundred pass, and the books are right."""

from __future__ import annotations

import contextlib
import random
import smtplib
import threading
from collections.abc import Callable

import pytest

from peers.process import wait_until
from peers.recording import Recording
from peers.relay import Relay, mail, submit

CREDITS = 100
CLIENTS = 20
EACH = 10
NO_LIMITS = {"tables": {"limits": "rate_per_minute = 0"}, "settings": "inline_wait = 0"}


def race(relay: Relay, key: str, run: int = 0) -> list[tuple[int, str]]:
    """All clients at once, each in a session of its own; every answer that was given."""
    answers: list[tuple[int, str]] = []
    barrier = threading.Barrier(CLIENTS)

    def client(number: int) -> None:
        with (
            contextlib.suppress(OSError, smtplib.SMTPException),
            relay.session(key) as session,
        ):
            barrier.wait(30)
            for turn in range(EACH):
                subject = f"{run}-{number}-{turn}"
                answers.append(submit(session, mail(subject=subject), ["ann@example.com"]))
                session.rset()

    threads = [threading.Thread(target=client, args=(n,)) for n in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return answers


def books_are_right(relay: Relay) -> None:
    ledger = relay.ledger()
    assert sum(line["amount"] for line in ledger) == relay.credits() == 0
    assert len([line for line in ledger if line["reason"] == "debit"]) == CREDITS
    assert len(relay.messages()) == CREDITS
    relay.audit()


def test_two_hundred_for_a_hundred(make_relay: Callable[..., Relay], recording: Recording) -> None:
    relay = make_relay(**NO_LIMITS)
    key = relay.furnish(recording.port, credits=str(CREDITS))
    answers = race(relay, key)
    assert len(answers) == CLIENTS * EACH
    assert len([a for a in answers if a[0] == 250]) == CREDITS
    refused = [a for a in answers if a[0] != 250]
    assert len(refused) == CREDITS
    assert all(code == 451 and text.startswith("4.7.1 ") for code, text in refused)
    wait_until(lambda: len(recording.messages) == CREDITS, "all of it upstream")
    books_are_right(relay)


@pytest.mark.slow
def test_two_hundred_for_a_hundred_with_a_kill_in_the_middle(
    make_relay: Callable[..., Relay], recording: Recording
) -> None:
    relay = make_relay(**NO_LIMITS)
    key = relay.furnish(recording.port, credits=str(CREDITS))
    killer = threading.Timer(random.Random(7).uniform(0.2, 0.5), relay.kill9)
    killer.start()
    before = race(relay, key, run=1)
    killer.join()
    relay.start()
    accepted = len([a for a in before if a[0] == 250])
    assert len(relay.messages()) >= accepted
    race(relay, key, run=2)
    wait_until(lambda: len(recording.messages) >= CREDITS, "all of it upstream", 60)
    books_are_right(relay)
