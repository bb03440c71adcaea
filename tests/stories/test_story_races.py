"""Two hundred submissions race for a hundred credits: a hundred pass, and the books are right."""

from __future__ import annotations

import contextlib
import itertools
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


class Race:
    """All clients at once, each in a session of its own; `answers` is every one that was given.
    Who is given the answer number `kill_at` kills the relay, while the others wait for theirs."""

    def __init__(self, relay: Relay, key: str, run: int = 0, kill_at: int = 0) -> None:
        self.relay, self.key, self.run = relay, key, run
        self._answered = itertools.count(1)
        self._kill_at = kill_at
        self.answers: list[tuple[int, str]] = []
        self._barrier = threading.Barrier(CLIENTS)
        self._threads = [threading.Thread(target=self._client, args=(n,)) for n in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def finish(self) -> list[tuple[int, str]]:
        for thread in self._threads:
            thread.join(300)
        return self.answers

    def _client(self, number: int) -> None:
        with (
            contextlib.suppress(OSError, smtplib.SMTPException),
            self.relay.session(self.key) as session,
        ):
            self._barrier.wait(120)
            for turn in range(EACH):
                letter = mail(subject=f"{self.run}-{number}-{turn}")
                answer = submit(session, letter, ["ann@example.com"])
                if next(self._answered) == self._kill_at:
                    self.relay.kill9()
                self.answers.append(answer)
                session.rset()


def books_are_right(relay: Relay) -> None:
    ledger = relay.ledger()
    assert sum(line["amount"] for line in ledger) == relay.credits() == 0
    assert len([line for line in ledger if line["reason"] == "debit"]) == CREDITS
    assert len(relay.messages()) == CREDITS
    relay.audit()


def test_two_hundred_for_a_hundred(make_relay: Callable[..., Relay], recording: Recording) -> None:
    relay = make_relay(**NO_LIMITS)
    key = relay.furnish(recording.port, credits=str(CREDITS))
    answers = Race(relay, key).finish()
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
    before = Race(relay, key, run=1, kill_at=CREDITS // 3).finish()
    relay.start()
    accepted = len([a for a in before if a[0] == 250])
    assert accepted < CREDITS, "the kill came in the middle"
    assert len(relay.messages()) >= accepted
    Race(relay, key, run=2).finish()
    wait_until(lambda: len(recording.messages) >= CREDITS, "all of it upstream", 60)
    books_are_right(relay)
