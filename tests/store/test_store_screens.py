"""What the dashboard asks of a log of 200,000 messages: right answers in a bounded number of
steps, and counters by day that add up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from waypost.core import ident
from waypost.store import migrate as migrating
from waypost.store.connect import connect
from waypost.store.keep import seen
from waypost.store.keep.upkeep import Keep, Upkeep
from waypost.store.migrate import open_migrated
from waypost.store.read.book import Look
from waypost.store.read.screens import search, tally
from waypost.store.read.screens.search import Found, Wanted
from waypost.store.sqlite.batch import ACCEPTED, Batch

pytestmark = pytest.mark.slow  # so many messages take half a minute to make

MESSAGES = 200_000
START_MS = 1_790_000_000_000
STEP_MS = 1_000
DAY_MS = 86_400_000
ROWS = 200
STEPS_A_ROW = 60  # instructions of SQLite's machine, for a row of sixteen columns
RARE = "rare@x.example"

START_ID = ident.floor(START_MS + 60_000 * STEP_MS)

FILL = """
WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < :count - 1)
INSERT INTO message (id, account_id, key_id, sender_id, channel, peer, from_address, subject,
 smtp_message_id, digest, octets, eight_bit, null_sender, status, recipients, queued, sent, failed,
 charged, refunded, ended_at)
SELECT ((:start + i * :step) << 20) + i % 1000, 1 + (i % 10 = 0), i % 3, i % 7, 'smtp', '192.0.2.1',
 'shop@example.org', 'Order ' || i, '<m>', x'00', 9, 0, 0,
 iif(i % 5000 = 1, 'failed', iif(i % 20000 = 3, 'queued', 'sent')), 1, i % 20000 = 3,
 i % 5000 <> 1 AND i % 20000 <> 3, i % 5000 = 1, 1, i % 5000 = 1, 5 FROM n;
INSERT INTO recipient (message_id, number, address, state)
 SELECT id, 1, iif(failed, 'rare@x.example', 'p' || (id % 97) || '@example.net'), 1 FROM message;
INSERT INTO queue (claim, sender_id, account_id, due, message_id)
 SELECT 0, sender_id, account_id, id >> 20, id FROM message WHERE queued;
INSERT INTO account (id, name, created_at) VALUES (1, 'acme', 0), (2, 'other', 0);
UPDATE message SET from_address = 'Odd@example.org', sender_id = 99, key_id = 77 WHERE id IN
 (SELECT id FROM message WHERE account_id = 1 AND status = 'sent' AND id % 1000 = 111 LIMIT 120);
UPDATE message SET sender_id = 98 WHERE subject IN ('Order 199999', 'Order 7');
"""


class Counted:
    """A store with every statement's work counted."""

    def __init__(self, data: Path) -> None:
        self.db = connect(data, readonly=True)
        self.look = Look(self.db)
        self.steps = self.scanned = 0
        self.db.trace_v2(apsw.SQLITE_TRACE_PROFILE, self._ran)

    def _ran(self, event: dict[str, Any]) -> None:
        status = event["stmt_status"]
        self.steps += status["SQLITE_STMTSTATUS_VM_STEP"]
        self.scanned += status["SQLITE_STMTSTATUS_FULLSCAN_STEP"]

    def ask(self, question: Callable[[Look], Any]) -> Any:
        """The answer, after a look at what it cost."""
        self.steps = self.scanned = 0
        answer = question(self.look)
        assert self.steps <= ROWS * STEPS_A_ROW, self.steps
        assert self.scanned <= ROWS
        return answer


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("store") / "data"
    db = open_migrated(data, create=True)
    values = {"count": MESSAGES, "start": START_MS, "step": STEP_MS}
    db.execute("BEGIN")
    for statement in FILL.split(";\n"):
        if statement.strip():
            db.execute(statement, values if ":count" in statement else ())
    db.execute("COMMIT")
    look = Look(db)
    while seen.note(look, START_MS + (MESSAGES - 500) * STEP_MS + seen.SETTLED_MS):
        pass  # all but the newest 500: those are looked through
    db.close()
    return data


@pytest.fixture
def store(filled: Path) -> Iterator[Counted]:
    counted = Counted(filled)
    yield counted
    counted.db.close()


def walked(store: Counted, wanted: Wanted, most: int = 50, pages: int = 10_000) -> list[int]:
    """All ids, page by page; each page within its bound."""
    got: list[int] = []
    for _ in range(pages):
        found: Found = store.ask(partial(search.messages, wanted=wanted, most=most))
        got += [row.id for row in found.rows]
        if found.below is None:
            return got
        assert found.below < wanted.below
        wanted = Wanted(
            **{f: getattr(wanted, f) for f in wanted.__struct_fields__} | {"below": found.below}
        )
    return got


def expected(store: Counted, where: str, limit: int = -1) -> list[int]:
    sql = f"SELECT id FROM message WHERE {where} ORDER BY id DESC LIMIT ?"
    return [row[0] for row in store.look.tuples(sql, (limit,))]


@pytest.mark.parametrize(
    ("wanted", "where"),
    [
        (Wanted(status="failed"), "status = 'failed'"),
        (Wanted(account_id=1, status="failed"), "account_id = 1 AND status = 'failed'"),
        (Wanted(status="partial"), "status = 'partial'"),
        (Wanted(status="queued"), "status = 'queued'"),
        (Wanted(account_id=2, status="queued"), "account_id = 2 AND status = 'queued'"),
        (Wanted(to=RARE), "status = 'failed'"),
        (Wanted(to=RARE, account_id=2), "status = 'failed' AND account_id = 2"),
        (Wanted(to="nobody@example.net"), "0"),
        (Wanted(account_id=3), "0"),
        (
            Wanted(account_id=1, key_id=2, least=ident.floor(START_MS + 199_000 * STEP_MS)),
            f"account_id = 1 AND key_id = 2 AND id >= {ident.floor(START_MS + 199_000_000)}",
        ),
        (Wanted(sender="odd@example.org"), "from_address = 'Odd@example.org'"),
        (Wanted(sender="odd@example.org", account_id=1), "from_address = 'Odd@example.org'"),
        (Wanted(sender="odd@example.org", account_id=2), "0"),
        (Wanted(sender="odd@example.org", status="sent"), "from_address = 'Odd@example.org'"),
        (Wanted(key_id=77), "key_id = 77"),
        (Wanted(key_id=77, account_id=1, least=START_ID), f"key_id = 77 AND id >= {START_ID}"),
        (Wanted(senders=frozenset({99, 98}), account_id=1), "sender_id IN (98, 99)"),
        (
            Wanted(senders=frozenset({3, 4}), below=ident.floor(START_MS + 500 * STEP_MS)),
            f"sender_id IN (3, 4) AND id < {ident.floor(START_MS + 500_000)}",
        ),
    ],
)
def test_everything_is_found_once(store: Counted, wanted: Wanted, where: str) -> None:
    for most in (7, 50):
        assert walked(store, wanted, most) == expected(store, where)


def test_the_first_page_of_everything(store: Counted) -> None:
    assert walked(store, Wanted(account_id=1), 50, pages=3)[:100] == expected(
        store, "account_id = 1", 100
    )
    newest = store.ask(lambda look: search.newest(look, 2))
    assert [newest] == expected(store, "account_id = 2", 1)
    later = store.ask(lambda look: search.newer(look, 2, newest - (50 * STEP_MS << 20), 3))
    assert [row.id for row in later] == expected(store, "account_id = 2", 5)[::-1][:3]
    some = [row.id for row in later]
    assert set(store.ask(lambda look: search.first_recipients(look, some))) == set(some)


def test_a_search_says_how_far_it_came(store: Counted) -> None:
    wanted = Wanted(account_id=1, sender="nobody@example.org")
    found = store.ask(lambda look: search.messages(look, wanted, 50))
    assert found.rows == []
    assert found.below == found.searched == expected(store, "account_id = 1", search.WINDOW)[-1]


def test_a_rare_sender_is_found_in_a_few_pages(store: Counted) -> None:
    """Not in as many as the log has windows."""
    pages, wanted = 0, Wanted(account_id=1, sender="odd@example.org")
    got: list[int] = []
    while True:
        pages += 1
        found: Found = store.ask(partial(search.messages, wanted=wanted, most=50))
        got += [row.id for row in found.rows]
        if found.below is None:
            break
        wanted = msgspec.structs.replace(wanted, below=found.below)
    assert len(got) == 120
    assert pages < 800  # a stretch of 300 messages for each of 120, not 200,000 in windows of 70


def test_notes_go_with_the_log(tmp_path: Path) -> None:
    db = open_migrated(tmp_path, create=True)
    look = Look(db)
    stretch = START_MS // seen.STRETCH_MS
    for at in (0, 5):
        look.run("INSERT INTO seen VALUES (1, 's', 1, ?)", (stretch + at,))
    after = START_MS + seen.STRETCH_MS + DAY_MS * (30 + seen.MOST_DAYS)
    assert seen.forget(look, after, 30 * DAY_MS) == 1
    assert look.value("SELECT stretch FROM seen") == stretch + 5
    assert seen.noted(look) == 0
    db.close()


def test_a_question_without_its_index_is_found_out(store: Counted) -> None:
    """The control of the bound."""
    with pytest.raises(AssertionError):
        store.ask(lambda look: look.tuples("SELECT 1 FROM message WHERE status = 'failed' LIMIT 9"))


def test_days_add_up(tmp_path: Path) -> None:
    db = open_migrated(tmp_path, create=True)
    db.execute("INSERT INTO account (id, name, created_at) VALUES (1, 'acme', 0), (2, 'b', 0)")
    upkeep = Upkeep(tmp_path, Keep(log_ms=DAY_MS * 30, refusals_ms=DAY_MS * 30))

    def happens(day: int, account_id: int, *counts: int) -> None:
        batch = Batch(db, day * DAY_MS + 5)
        for what, count in enumerate(counts, ACCEPTED):
            batch.count(account_id, what, count)
        batch.flush()
        upkeep.step(day * DAY_MS + 6)

    happens(100, 1, 5, 3, 1, 0)
    happens(100, 1, 2, 0)
    happens(103, 1, 4, 4, 0, 1)
    happens(102, 1, 1)  # a clock that went back counts for the later day
    happens(103, 2, 10, 10)
    look = Look(db)

    def shape(account_id: int | None, today: int, count: int = 5) -> list[tuple[int, ...]]:
        found = tally.days(look, account_id, today, count)
        return [(d.day, d.accepted, d.sent, d.failed, d.cancelled) for d in found]

    assert shape(1, 103) == [
        (99, 0, 0, 0, 0), (100, 7, 3, 1, 0), (101, 0, 0, 0, 0), (102, 0, 0, 0, 0), (103, 5, 4, 0, 1)
    ]  # fmt: skip
    assert shape(1, 104, 3) == [(102, 0, 0, 0, 0), (103, 5, 4, 0, 1), (104, 0, 0, 0, 0)]
    assert shape(1, 150, 2) == [(149, 0, 0, 0, 0), (150, 0, 0, 0, 0)]
    assert shape(2, 103, 2) == [(102, 0, 0, 0, 0), (103, 10, 10, 0, 0)]
    assert shape(None, 103)[1] == (100, 7, 3, 1, 0)
    assert shape(None, 103)[-1] == (103, 15, 14, 0, 1)
    assert sum(day[1] for day in shape(None, 104)) == 22
    assert tally.now(look, 1, 104).queued == 12 - 7 - 1 - 1
    assert tally.now(look, None, 104).queued == 3
    assert tally.now(look, 9, 104) == tally.Sums(0, 0, 0, 0, 0)
    assert tally.oldest(look, None) is None
    db.close()


def test_more_accounts_than_are_added_up_at_once(tmp_path: Path) -> None:
    db = open_migrated(tmp_path, create=True)
    many = tally.ACCOUNTS_MOST + 10
    db.executemany(
        "INSERT INTO account (id, name, created_at, accepted, counted_day) VALUES (?, ?, 0, 1, 90)",
        [(number, str(number)) for number in range(1, many + 1)],
    )
    look = Look(db)
    assert tally.now(look, None, 100).accepted == 0
    Upkeep(tmp_path, Keep(log_ms=DAY_MS, refusals_ms=DAY_MS)).step(100 * DAY_MS)
    assert tally.now(look, None, 100).accepted == many
    db.close()


def test_an_older_store_is_counted_when_it_is_migrated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = [step for step in migrating.steps() if step[0] < 8]
    with monkeypatch.context() as older:
        older.setattr(migrating, "steps", lambda: plan)
        db = open_migrated(tmp_path, create=True)
        db.execute(
            "INSERT INTO account (id, name, created_at, gone_charged, gone_refunded)"
            " VALUES (1, 'acme', 0, 10, 4), (2, 'new', 0, 0, 0)"
        )
        db.execute(
            "INSERT INTO message (id, account_id, sender_id, channel, peer, from_address, subject,"
            " smtp_message_id, digest, octets, eight_bit, null_sender, status, recipients, queued,"
            " sent, failed, cancelled, charged, refunded) VALUES (1 << 40, 1, 1, 'smtp', '', 'a@b',"
            " '', '', x'00', 1, 0, 0, 'queued', 7, 1, 3, 2, 1, 7, 3)"
        )
        db.close()
    db = open_migrated(tmp_path)
    look = Look(db)
    assert tally.now(look, 1, 20_000) == tally.Sums(0, 17, 6 + 3, 4 + 2, 1)
    assert tally.now(look, 1, 20_000).queued == 1
    assert tally.now(look, 2, 20_000) == tally.Sums(0, 0, 0, 0, 0)
    db.close()
