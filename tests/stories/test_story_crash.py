"""kill -9 under load, twenty times: what was answered 250 arrives; a control loses some."""

from __future__ import annotations

import contextlib
import random
import re
import smtplib
import threading
from collections import Counter
from collections.abc import Callable

import pytest

from peers.process import wait_until
from peers.recording import Recording
from peers.relay import Relay, mail, submit

KILLS = 20
CLIENTS = 6
SETTINGS = {"settings": "inline_wait = 0", "tables": {"limits": "rate_per_minute = 0"}}


class Load:
    """Clients that submit as fast as they are answered, in new sessions when the old ones break."""

    def __init__(self, relay: Relay, key: str) -> None:
        self.relay, self.key = relay, key
        self.acknowledged: list[str] = []
        self._ending = threading.Event()
        self._threads = [
            threading.Thread(target=self._client, args=(n,), daemon=True) for n in range(CLIENTS)
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(90)

    def _client(self, number: int) -> None:
        turn = 0
        while not self._ending.is_set():
            with (
                contextlib.suppress(OSError, smtplib.SMTPException),
                self.relay.session(self.key) as session,
            ):
                while not self._ending.is_set():
                    turn += 1
                    token = f"token-{number}-{turn}-"
                    body = "0123456789\r\n" * (turn % 50 * 20)
                    code, _ = submit(session, mail(subject=token, body=body), ["ann@example.com"])
                    if code == 250:
                        self.acknowledged.append(token)
            self._ending.wait(0.02)


def tokens(recording: Recording) -> Counter[str]:
    found = (re.search(rb"token-\d+-\d+-", m.octets) for m in list(recording.messages))
    return Counter(f.group().decode() for f in found if f)


def kill_under_load(relay: Relay, key: str, kills: int, seed: int) -> list[str]:
    """Kills that many times at moments of chance; every token that was answered 250."""
    chance = random.Random(seed)
    with Load(relay, key) as load:
        for _ in range(kills):
            before = len(load.acknowledged)
            wait_until(lambda b=before: len(load.acknowledged) > b + 5, "some load")  # type: ignore[misc]
            threading.Event().wait(chance.uniform(0.05, 0.5))
            relay.kill9()
            relay.start()
    return load.acknowledged


@pytest.mark.slow
def test_what_was_acknowledged_arrives(
    make_relay: Callable[..., Relay], recording: Recording
) -> None:
    relay = make_relay(**SETTINGS)
    key = relay.furnish(recording.port, credits="100000")
    acknowledged = kill_under_load(relay, key, KILLS, seed=1)
    assert len(acknowledged) > KILLS * 5

    def all_there() -> bool:
        return set(acknowledged) <= set(tokens(recording))

    wait_until(all_there, "every acknowledged message", 120, step_s=0.5)
    wait_until(lambda: not relay.messages("--status", "queued"), "an empty queue", 60, step_s=0.5)
    listed = relay.messages()
    assert len(listed) >= len(acknowledged)
    assert relay.credits() == 100000 - len(listed)
    assert sum(line["amount"] for line in relay.ledger()) == relay.credits()
    relay.audit()
    by_subject = {m["subject"]: m["id"] for m in listed}
    for token, copies in tokens(recording).items():
        if copies > 1:
            (person,) = relay.message(by_subject[token])["recipients"]
            doubtful = [a for a in person["attempts"] if a["uncertain"]]
            assert len(doubtful) >= copies - 1, person


@pytest.mark.slow
def test_control_an_early_answer_loses(
    make_relay: Callable[..., Relay], recording: Recording
) -> None:
    relay = make_relay(**SETTINGS, sabotage="early")
    key = relay.furnish(recording.port, credits="100000")
    acknowledged = kill_under_load(relay, key, 3, seed=2)
    wait_until(lambda: not relay.messages("--status", "queued"), "an empty queue", 60, step_s=0.5)
    assert set(acknowledged) - set(tokens(recording))
