"""Load on a relay whose processes come and go, and what must be right afterwards.

Knows nothing of who is killed, how and why.
"""

from __future__ import annotations

import contextlib
import math
import re
import smtplib
import threading
from collections import Counter
from collections.abc import Callable

from peers.process import wait_until
from peers.recording import Recording
from peers.relay import Relay, mail, submit

CLIENTS = 6
CREDITS = 1_000_000


class Load:
    """Clients that submit as fast as they are answered, in new sessions when the old ones break.

    `acknowledged`: a token for each 250, with what `mark` said when the answer had come.
    """

    def __init__(
        self,
        relay: Relay,
        key: str,
        clients: int = CLIENTS,
        mark: Callable[[], int] = int,
        lines: int = 20,
    ) -> None:
        self.relay, self.key = relay, key
        self.acknowledged: dict[str, int] = {}
        self._mark = mark
        self._lines = lines  # of the largest body, in fiftieths
        self._ending = threading.Event()
        self._threads = [
            threading.Thread(target=self._client, args=(n,), daemon=True) for n in range(clients)
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(90)

    def more(self, count: int, patience_s: float = 300) -> None:
        """Waits until so many more were acknowledged."""
        wanted = len(self.acknowledged) + count
        wait_until(lambda: len(self.acknowledged) >= wanted, "some load", patience_s)

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
                    body = "0123456789\r\n" * (turn % 50 * self._lines)
                    code, _ = submit(session, mail(subject=token, body=body), ["ann@example.com"])
                    if code == 250:
                        self.acknowledged[token] = self._mark()
            self._ending.wait(0.02)


def tokens(recording: Recording) -> Counter[str]:
    """How often each arrived."""
    found = (re.search(rb"token-\d+-\d+-", m.octets) for m in list(recording.messages))
    return Counter(f.group().decode() for f in found if f)


def emptied(relay: Relay, patience_s: float = 120) -> None:
    """Waits until nothing is queued, as long as it gets less every so often."""
    left = math.inf
    while left:
        before = left

        def fewer(before: float = before) -> bool:
            nonlocal left
            left = len(relay.cli("log", "list", "--limit", "0", "--status", "queued"))
            return left < before

        wait_until(fewer, "an empty queue", patience_s, step_s=0.5)


def books_are_right(relay: Relay, credits: int) -> list[dict[str, object]]:
    """One credit a message, the ledger adds up, the audit finds nothing; the messages."""
    listed = relay.messages()
    assert relay.credits() == credits - len(listed)
    assert sum(line["amount"] for line in relay.ledger()) == relay.credits()
    relay.audit()
    return listed


def everything_is_right(
    relay: Relay, recording: Recording, load: Load, credits: int = CREDITS
) -> None:
    """What was acknowledged arrived, twice only where that is logged; the books are right."""
    emptied(relay)
    arrived = tokens(recording)
    assert set(load.acknowledged) - set(arrived) == set(), "acknowledged, but lost"
    listed = books_are_right(relay, credits)
    assert len(listed) >= len(load.acknowledged)
    by_subject = {m["subject"]: m["id"] for m in listed}
    for token, copies in arrived.items():
        if copies > 1:
            (person,) = relay.message(str(by_subject[token]))["recipients"]
            doubtful = [a for a in person["attempts"] if a["uncertain"]]
            assert len(doubtful) >= copies - 1, person
