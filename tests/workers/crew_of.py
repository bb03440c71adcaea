"""What the tests of several workers share: a relay's workers, and load from many clients."""

from __future__ import annotations

import contextlib
import os
import signal
import smtplib
import threading
from collections.abc import Callable
from pathlib import Path

from peers.process import wait_until
from peers.relay import Relay, ident_of, mail, submit

SEVERAL = {"settings": "workers = 2\ninline_wait = 30", "tables": {"limits": "rate_per_minute = 0"}}
AT_ONCE = {
    "settings": "workers = 2\ninline_wait = 0",
    "tables": {"limits": "rate_per_minute = 0"},
}

TURNS = 64  # connections: that chance gives all of them to one worker never happens

Answer = tuple[int, str]


def workers_of(relay: Relay) -> list[int]:
    """The process ids of the workers that live now."""
    try:
        told = Path(f"/proc/{relay.pid}/task/{relay.pid}/children").read_text()
    except FileNotFoundError:
        return []
    return [int(pid) for pid in told.split()]


def wait_for_all(relay: Relay, workers: int = 2) -> None:
    """`ready` is said when all are."""
    wait_until(lambda: "ready" in relay.said.splitlines(), "all to be ready")
    assert len(workers_of(relay)) == workers


def kill(pid: int) -> None:
    """Returns when it is dead: until then its sockets may take a connection into the grave."""
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not lives(pid), "its death")


def lives(pid: int) -> bool:
    """Whether it runs; what waits for its parent to look does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def accepted_by(answer: str) -> int:
    """The number of the worker that took the message."""
    return int(ident_of(answer), 16) >> 12 & 0xFF


def at_once(clients: int, each: int, relay: Relay, key: str, meet: bool = False) -> list[Answer]:
    """So many clients at the same time, each with so many messages in one session of its own.
    `meet`: nobody sends a second before all have sent their first."""
    answers: list[Answer] = []
    barrier = threading.Barrier(clients)

    def client(number: int) -> None:
        with (
            contextlib.suppress(OSError, smtplib.SMTPException),
            relay.session(key) as session,
        ):
            barrier.wait(120)
            for turn in range(each):
                letter = mail(subject=f"token-{number}-{turn}-")
                answers.append(submit(session, letter, ["ann@example.com"]))
                if meet and turn == 0:
                    barrier.wait(120)

    run_all([lambda n=n: client(n) for n in range(clients)])  # type: ignore[misc]
    return answers


def run_all(deeds: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=deed) for deed in deeds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
