"""The front half on the store that relays run on: sockets in, rows, refusals and files out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from waypost.core.lifecycle import State
from waypost.core.message import Acceptance, Attempt, Changed, Parcel, Result, SpoolPart
from waypost.store.connect import connect
from waypost.store.shared import Shared, changing

MESSAGE = (
    b"From: app@example.com\r\nTo: to@example.net\r\nSubject: hello\r\n"
    b"Message-ID: <m@example.com>\r\nDate: Sat, 21 Nov 2026 08:00:00 +0000\r\n\r\nbody\r\n"
)
LARGE = MESSAGE + (b"y" * 98 + b"\r\n") * 20_000


SECOND_UPSTREAM = (
    "INSERT INTO upstream (id, name, host, port, encryption, connections, per_connection,"
    " per_minute, recipients, created_at)"
    " VALUES (2, 'second', 'mx.example', 587, 'starttls', 20, 0, 0, 100, 0)"
)


class Deliverer:
    """Takes every fresh message and ends it as it is told."""

    def __init__(self, store: Any, state: State, code: int, text: str) -> None:
        self.store = store
        self.result = (state, code, text)
        self.parcels: list[Parcel] = []

    def wants(self, acceptance: Acceptance) -> bool:
        return True

    def take(self, parcel: Parcel) -> None:
        self.parcels.append(parcel)
        state, code, text = self.result
        results = tuple(Result(number, state, code, text) for number, _ in parcel.recipients)
        self.store.record(Attempt(parcel, parcel.accepted_ms, 1, "main", results, next_ms=10**15))

    def stirred(self) -> None: ...


@pytest.fixture
def front(make_front: Callable[..., Any]) -> Any:
    return make_front(real=1)


def delivering(front: Any, state: State, code: int, text: str) -> Deliverer:
    deliverer = Deliverer(front.store, state, code, text)
    front.run(lambda: front.store.attach(deliverer))
    return deliverer


def rows(front: Any, sql: str) -> list[Any]:
    db = connect(front.data)
    try:
        return list(db.execute(sql))
    finally:
        db.close()


def change(front: Any, sql: str) -> None:
    db, shared = connect(front.data), Shared(front.data)
    with changing(db, shared, facts=True, work=False):
        db.execute(sql)
    db.close()
    shared.close()


def handed_over(raw: Any, message: bytes = MESSAGE, *rcpts: str) -> str:
    raw.begin(*rcpts)
    raw.send(message + b".\r\n")
    answer = raw.reply()
    assert isinstance(answer, str)
    return answer


@pytest.mark.parametrize(
    ("state", "code", "text", "answer", "balance"),
    [
        (State.SENT, 250, "2.0.0 taken", "250 OK: ", 99),
        (State.QUEUED, 451, "4.7.1 later", "250 queued: ", 99),
        (State.FAILED, 550, "5.1.1 No such user", "550 5.1.1 No such user (", 100),
    ],
)
def test_the_answer_is_what_was_committed(
    front: Any, state: State, code: int, text: str, answer: str, balance: int
) -> None:
    delivering(front, state, code, text)
    line = handed_over(front.raw())
    assert line.startswith(answer)
    ((ident,),) = rows(front, "SELECT id FROM message")
    assert f"{ident:016x}" in line
    assert rows(front, "SELECT balance FROM account") == [(balance,)]
    assert rows(front, "SELECT digest FROM message") == [(hashlib.sha256(MESSAGE).digest(),)]


def test_without_delivery_the_answer_comes_when_the_wait_is_over(front: Any) -> None:
    front.door.inline_wait_s = 0.1
    assert handed_over(front.raw()).startswith("250 queued: ")


def test_a_large_message_is_a_file_that_its_parcel_names(front: Any) -> None:
    deliverer = delivering(front, State.QUEUED, 451, "later")
    assert handed_over(front.raw(), LARGE).startswith("250 queued: ")
    (parcel,) = deliverer.parcels
    assert isinstance(parcel.rest, SpoolPart)
    stored = (front.data / parcel.rest.name).read_bytes()
    assert (parcel.head + stored).endswith(LARGE)
    assert files(front) == [Path(parcel.rest.name).name]
    assert front.memory.used_octets == 0


def files(front: Any) -> list[str]:
    return [
        path.name for folder in ("incoming", "spool") for path in (front.data / folder).iterdir()
    ]


def test_a_large_message_that_is_refused_leaves_no_file(front: Any) -> None:
    raw = front.raw()
    assert handed_over(raw, LARGE.replace(b"app@", b"no@")).startswith("550 5.7.1")
    change(front, "UPDATE account SET balance = 1")
    assert handed_over(raw, LARGE, "a@example.net", "b@example.net").startswith("451 4.7.1")
    front.until(lambda: files(front) == [])
    assert rows(front, "SELECT count(*) FROM message") == [(0,)]
    wanted = [("sender_not_allowed",), ("no_credits",)]
    front.until(lambda: rows(front, "SELECT reason FROM refusal ORDER BY id") == wanted)


def test_a_large_message_survives_facts_that_change_meanwhile(front: Any) -> None:
    commit = front.store.commit
    seen: list[object] = []

    async def late(acceptance: Acceptance) -> Any:
        if not seen:
            change(front, SECOND_UPSTREAM)
            change(front, "UPDATE sender SET upstream_id = 2")
        outcome = await commit(acceptance)
        seen.append(outcome)
        return outcome

    front.store.commit = late
    delivering(front, State.SENT, 250, "ok")
    assert handed_over(front.raw(), LARGE).startswith("250 OK: ")
    assert [isinstance(outcome, Changed) for outcome in seen] == [True, False]


def test_a_client_that_repeats_after_a_lost_answer_gets_the_first_id(front: Any) -> None:
    delivering(front, State.SENT, 250, "ok")
    raw = front.raw()
    first = handed_over(raw)
    assert handed_over(raw) == first
    assert rows(front, "SELECT balance FROM account") == [(99,)]


def test_the_same_message_on_many_sessions_at_once_is_one(front: Any) -> None:
    delivering(front, State.SENT, 250, "ok")
    talks = [front.raw() for _ in range(8)]
    for raw in talks:
        raw.begin()
    for raw in talks:
        raw.send(LARGE + b".\r\n")
    assert len({raw.reply() for raw in talks}) == 1
    assert rows(front, "SELECT count(*) FROM message") == [(1,)]
    front.until(lambda: files(front) == [])


def test_a_key_disabled_by_a_command_is_dead_at_the_next_command(front: Any) -> None:
    raw = front.raw()
    change(front, "UPDATE api_key SET enabled = 0")
    assert raw.ask("NOOP").startswith("421 4.7.0")
    assert front.raw(None).ask("EHLO x").startswith("250")
    front.until(lambda: ("key_disabled",) in rows(front, "SELECT reason FROM refusal"))


def test_no_credits_is_said_at_mail(front: Any) -> None:
    change(front, "UPDATE account SET balance = 0")
    assert front.raw().ask("MAIL FROM:<app@example.com>").startswith("451 4.7.1")


def test_the_rate_is_a_sliding_window_over_what_was_accepted(front: Any) -> None:
    change(front, "UPDATE account SET rate_per_minute = 2")
    front.door.inline_wait_s = 0
    raw = front.raw()
    assert handed_over(raw).startswith("250 queued: ")
    assert handed_over(raw, MESSAGE.replace(b"<m@", b"<n@")).startswith("250 queued: ")
    assert raw.ask("MAIL FROM:<app@example.com>").startswith("421 4.7.0")
    assert raw.ended()
    front.until(lambda: rows(front, "SELECT reason FROM refusal") == [("rate_limit",)])


def test_the_use_of_a_key_is_written(front: Any) -> None:
    front.raw()
    used = "SELECT last_used_at IS NOT NULL FROM api_key WHERE id = 1"
    front.until(lambda: rows(front, used) == [(1,)])


@pytest.mark.slow
def test_fifty_large_messages_at_once_stay_below_200_mb(front: Any) -> None:
    front.door.inline_wait_s = 0
    block = (b"x" * 998 + b"\r\n") * 256
    talks = [front.raw() for _ in range(50)]
    head = MESSAGE.replace(b"\r\n\r\n", b"\r\nContent-Disposition: attachment\r\n\r\n")
    for number, raw in enumerate(talks):
        raw.begin()
        raw.send(head.replace(b"<m@", b"<%d@" % number))
    before = most = _resident_octets()
    for _ in range(25_000_000 // len(block)):
        for raw in talks:
            raw.send(block)
        most = max(most, _resident_octets())
    for raw in talks:
        raw.send(b".\r\n")
    for raw in talks:
        raw.socket.settimeout(120)
        assert raw.reply().startswith("250 queued: ")
        most = max(most, _resident_octets())
    assert most - before < 200_000_000
    assert len(files(front)) == 50


def _resident_octets() -> int:
    """Without what is mapped from files: the kernel takes that back when it wants."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no RssAnon")
