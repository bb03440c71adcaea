"""The days that mail over a daily cap is put off to, through what people do to the queue."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from peers.process import not_over_midnight, wait_until
from peers.recording import Recording
from peers.relay import Relay, ident_of

CAPPED = "capped@relay.test"


def submit(relay: Relay, key: str, subject: str) -> str:
    """One message to one recipient from the capped sender; its id."""
    letter = f"From: {CAPPED}\r\nTo: a@e.test\r\nSubject: {subject}\r\n\r\nx\r\n".encode()
    code, text = relay.submit(key, letter, ["a@e.test"], CAPPED)
    assert code == 250, text
    return ident_of(text)


def day(relay: Relay, ident: str) -> int:
    """In how many days it goes out."""
    due = datetime.fromisoformat(relay.message(ident)["nextAt"])
    return (due.date() - datetime.now(UTC).date()).days


def days(relay: Relay, idents: list[str]) -> list[int]:
    return [day(relay, ident) for ident in idents]


@pytest.mark.slow  # some thirty commands
def test_a_day_that_was_given_up_is_free_again(relay: Relay, recording: Recording) -> None:
    not_over_midnight(240)
    key = relay.furnish(recording.port)
    sender = ("sender", "set", CAPPED, "--daily-cap")
    relay.cli("sender", "add", CAPPED, "--upstream", "main", "--global", "--daily-cap", "1")
    submit(relay, key, "today")
    waiting = [submit(relay, key, f"w{n}") for n in range(5)]
    assert days(relay, waiting) == [1, 2, 3, 4, 5]
    relay.cli("queue", "retry", "--all")
    wait_until(lambda: days(relay, waiting) == [1, 2, 3, 4, 5], "the same days again")
    relay.cli("queue", "retry", waiting[4])
    wait_until(lambda: days(relay, waiting) == [1, 2, 3, 4, 5], "its day again")
    for ident in (waiting.pop(), waiting.pop(), waiting.pop()):
        relay.cli("queue", "cancel", ident)
    waiting.append(submit(relay, key, "in the place of one that was cancelled"))
    assert days(relay, waiting) == [1, 2, 3]
    relay.cli(*sender, "2")
    wait_until(lambda: relay.message(waiting[0])["status"] == "sent", "the first of them")
    wait_until(lambda: days(relay, waiting[1:]) == [1, 1], "the others on the first day with room")
    relay.cli("queue", "cancel", "--sender", CAPPED)
    assert day(relay, submit(relay, key, "after all of them")) == 1
    relay.audit()
