"""What the screens ask of a log of 1,000,000 messages with a deep queue: each page touches some two
hundred rows at most. And what they say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest

from desk.conftest import NOW_MS, PlainSealer, StandingClock
from waypost.core import ident
from waypost.core.errors import NotFound, UsageError
from waypost.desk import accounts, keys, logs, senders, statement, upstreams
from waypost.desk.access import members, trail
from waypost.desk.office import Desk
from waypost.desk.view import message, overview, refused, search, waiting
from waypost.desk.view.terms import RefusalTerms, Terms, read, read_refusals, time_ms
from waypost.store.connect import connect
from waypost.store.migrate import open_migrated
from waypost.store.read.screens.tally import Sums

pytestmark = pytest.mark.slow  # so many messages take seconds to make

MESSAGES = 1_000_000
STEP_MS = 5
ROWS = 200
STEPS_A_ROW = 60  # instructions of SQLite's machine, for a row of sixteen columns
START_MS = NOW_MS - MESSAGES * STEP_MS

FILL = """
INSERT INTO account (id, name, created_at, balance, accepted, sent, failed, counted_day)
 VALUES (1, 'acme', 0, 500, 180000, 170000, 36, 20000), (2, 'other', 0, 5, 20000, 19000, 4, 20000);
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40)
INSERT INTO upstream (id, name, host, port, encryption, connections, per_connection, per_minute,
 recipients, created_at, state, reason, daily_cap)
 SELECT i, 'up' || i, 'h', 587, 'starttls', 1, 0, 0, 100, 0, iif(i % 2, 'ok', 'failing'),
 'login refused (auth: 535 5.7.8 no)', 100 FROM n;
INSERT INTO sender (id, address, address_key, everyone, upstream_id, created_at, daily_cap)
 SELECT id, 's' || id || '@x.example', 's' || id || '@x.example', 1, id, 0, 50 FROM upstream;
WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < :count - 1)
INSERT INTO message (id, account_id, key_id, sender_id, channel, peer, from_address, subject,
 smtp_message_id, digest, octets, eight_bit, null_sender, status, recipients, queued, sent, failed,
 charged, refunded, ended_at)
SELECT ((:start + i * :step) << 20) + i % 1000, 1 + (i % 10 = 0), i % 3, 1 + i % 37, 'smtp', 'p',
 's@x.example', 'Order', '<m>', x'00', 9, 0, 0,
 iif(i % 5000 = 1, 'failed', iif(i % 10 = 3, 'queued', 'sent')), 1, i % 10 = 3,
 i % 5000 <> 1 AND i % 10 <> 3, i % 5000 = 1, 1, i % 5000 = 1, 5 FROM n;
INSERT INTO recipient (message_id, number, address, state)
 SELECT id, 1, 'p' || (id % 7) || '@example.net', 1 FROM message;
INSERT INTO attempt (message_id, number, at, upstream_id, upstream, results, transcript)
 SELECT id, 1, id >> 20, 1, 'up1', '[[1,2,550,"5.1.1 no"]]', 'C: x' FROM message WHERE failed;
INSERT INTO ledger (account_id, at, amount, reason, message_id, balance)
 SELECT account_id, id >> 20, -1, 'debit', id, 0 FROM message ORDER BY id;
INSERT INTO ledger (account_id, at, amount, reason, message_id, recipient, balance)
 SELECT account_id, id >> 20, 1, 'refund', id, 1, 0 FROM message WHERE refunded;
INSERT INTO queue (claim, sender_id, account_id, due, message_id)
 SELECT 0, sender_id, account_id, id >> 20, id FROM message WHERE queued;
WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 30000)
INSERT INTO refusal (at, channel, peer, account_id, reason, answer)
 SELECT i, 'smtp', 'p', 1 + i % 2, 'sender', '550 no' FROM n;
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400)
INSERT INTO tally SELECT a.id, n.i + 19000, n.i, n.i, 0, 0 FROM n,
 (SELECT 0 AS id UNION SELECT 1) a;
"""


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    data = tmp_path_factory.mktemp("deep") / "data"
    db = open_migrated(data, create=True)
    values = {"count": MESSAGES, "start": START_MS, "step": STEP_MS}
    db.execute("BEGIN")
    for step in FILL.split(";\n"):
        if step.strip():
            db.execute(step, values if ":count" in step else ())
    db.execute("COMMIT")
    db.close()
    key_file = data / "sealing.keys"
    return Desk(data=data, clock=StandingClock(), sealer=PlainSealer(), key_file=key_file)


@contextmanager
def counted() -> Iterator[list[int]]:
    """Counts the steps of every statement of connections opened within: [steps, scanned]."""
    spent = [0, 0]

    def ran(event: dict[str, Any]) -> None:
        status = event["stmt_status"]
        spent[0] += status["SQLITE_STMTSTATUS_VM_STEP"]
        spent[1] += status["SQLITE_STMTSTATUS_FULLSCAN_STEP"]

    def watch(db: apsw.Connection) -> None:
        db.trace_v2(apsw.SQLITE_TRACE_PROFILE, ran)

    apsw.connection_hooks.append(watch)
    try:
        yield spent
    finally:
        apsw.connection_hooks.remove(watch)


Page = Callable[[Desk, str | None], Any]


def _one(desk: Desk, status: str) -> str:
    found = search.page(desk, Terms(status=status), account="acme")
    return found.lines[-1].id


PAGES: dict[str, Page] = {
    "overview": lambda desk, account: overview.show(desk, account=account),
    "chart": lambda desk, account: overview.series(desk, account=account),
    "queue": lambda desk, account: waiting.show(desk, account=account),
    "refusals": lambda desk, account: refused.page(desk, RefusalTerms(), account=account),
    "logs": lambda desk, account: search.page(desk, Terms(), account=account),
    "live": lambda desk, account: search.newer(
        desk, search.newest(desk, account=account), account=account
    ),
    "senders": lambda desk, account: senders.list_(desk, account=account, limit=20),
    "integrations": lambda desk, account: upstreams.list_(desk, account=account, limit=20),
    "keys": lambda desk, account: keys.list_(desk, account=account, limit=100),
    "credits": lambda desk, account: statement.show(desk, account or "acme", limit=50),
    "older credits": lambda desk, account: statement.show(desk, account or "acme", cursor=90_000),
    "account": lambda desk, account: statement.recipients_today(desk, account or "acme"),
    "members": lambda desk, account: members.list_(desk, account=account, limit=100),
    "trail": lambda desk, account: trail.list_(desk, account=account, limit=101),
    "accounts": lambda desk, account: accounts.list_(desk, 100),
    "first message": lambda desk, account: logs.list_(desk, account=account, limit=1),
}
SEARCHES = (
    "status:failed", "status:queued", "status:sent", "status:cancelled", "to:p3@example.net",
    "to:p3@example.net status:failed", "from:nobody@x.example", "key:nobody", "upstream:up7",
    "after:1h", "before:2026-01-01", "status:failed upstream:up2", "to:nobody@example.net",
)  # fmt: skip


@pytest.mark.parametrize("account", [None, "acme", "other"])
@pytest.mark.parametrize("text", SEARCHES)
def test_a_search_touches_few_rows(deep: Desk, text: str, account: str | None) -> None:
    with counted() as spent:
        search.page(deep, read(text), account=account)
    assert spent[0] <= ROWS * STEPS_A_ROW, spent
    assert spent[1] <= ROWS, spent


@pytest.mark.parametrize("account", [None, "acme", "other"])
@pytest.mark.parametrize(
    "text",
    ["code:550", "code:451", "from:nobody@x.example", "after:1h", "before:1970-01-01T00:00:09"],
)
def test_a_search_in_refusals_touches_few_rows(deep: Desk, text: str, account: str | None) -> None:
    with counted() as spent:
        refused.page(deep, read_refusals(text), account=account)
    assert spent[0] <= ROWS * STEPS_A_ROW, spent
    assert spent[1] <= ROWS, spent


@pytest.mark.parametrize("account", [None, "acme", "other"])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_touches_few_rows(deep: Desk, name: str, account: str | None) -> None:
    with counted() as spent:
        PAGES[name](deep, account)
    assert spent[0] <= ROWS * STEPS_A_ROW, spent
    assert spent[1] <= ROWS, spent


@pytest.mark.parametrize("status", ["failed", "queued", "sent"])
def test_a_message_touches_few_rows(deep: Desk, status: str) -> None:
    ident_ = _one(deep, status)
    with counted() as spent:
        view = message.show(deep, ident_, account="acme")
    assert spent[0] <= ROWS * STEPS_A_ROW, spent
    assert [line.reason for line in view.ledger][:1] == ["debit"]
    with pytest.raises(NotFound):
        message.show(deep, ident_, account="other")


def test_the_whole_log_would_be_found_out(deep: Desk) -> None:
    """The control of the bound."""
    with counted() as spent:
        connect(deep.data, readonly=True).execute("SELECT sum(octets) FROM message").fetchall()
    assert spent[1] > ROWS or spent[0] > ROWS * STEPS_A_ROW


def test_the_queue_says_how_far_it_counted(deep: Desk) -> None:
    view = waiting.show(deep, account=None)
    assert view.more
    assert view.lines[0].more
    assert view.lines[0].queued > 0
    assert view.oldest_at is not None
    assert view.recipients == 200_000 - 170_000 - 36 - 19_000 - 4
    failing = next(line for line in view.lines if line.state == "failing")
    assert failing.says == "The upstream did not accept the login."


def test_needs_and_caps(deep: Desk) -> None:
    view = overview.show(deep, account="acme")
    assert view.care == ()  # the operator's servers are the operator's
    assert {cap.what for cap in view.caps} == {"sender"}
    whole = overview.show(deep, account=None)
    assert len(whole.care) == overview.SHOWN_MOST
    assert whole.upstreams and not whole.keys


@pytest.mark.parametrize(
    ("counts", "balance", "burn", "lasts"),
    [
        ([0] * 8, 100, 0, None),
        ([10, 10, 10, 10, 10, 10, 10, 3], 100, 10, 10),
        ([0, 0, 0, 0, 0, 0, 20, 0], 100, 20, 5),
        ([0, 0, 0, 0, 0, 0, 0, 8], 4, 8, 0),
        ([10] * 8, None, 10, None),
        ([10] * 8, -5, 10, 0),
    ],
)
def test_how_long_credits_last(
    counts: list[int], balance: int | None, burn: float, lasts: int | None
) -> None:
    found = overview.burnt([Sums(day, count, count, 0, 0) for day, count in enumerate(counts)])
    assert found == burn
    assert overview.lasting(balance, found) == lasts


def test_terms_are_read_and_written() -> None:
    text = 'to:a@b.example from:c@d.example status:failed key:7 upstream:"My SMTP" after:2d'
    terms = read(text)
    assert terms == Terms(
        to="a@b.example", sender="c@d.example", status="failed", key="7", upstream="My SMTP",
        after="2d",
    )  # fmt: skip
    assert read(terms.text()) == terms
    assert read("") == Terms()
    assert read("  ann@example.net ") == Terms(to="ann@example.net")
    assert read("1a1fe80e6d700000") == Terms(id="1a1fe80e6d700000")
    assert read("TO:x@y.example") == Terms(to="x@y.example")
    assert terms.but(status="").text() == text.replace(" status:failed", "")


@pytest.mark.parametrize(
    "text",
    [
        "to:",
        "x",
        "a:b",
        "to:a to:b",
        'to:"a',
        'to:"a"b',
        "status:x",
        "id:x",
        "to:x@y.example " * 99,
    ],
)
def test_terms_that_cannot_be_read(text: str) -> None:
    with pytest.raises(UsageError):
        read(text)


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2h", NOW_MS - 7_200_000),
        ("1w", NOW_MS - 604_800_000),
        ("1970-01-02", 86_400_000),
        ("1970-01-01T01:00+01:00", 0),
        ("1970-01-01T00:00:01Z", 1_000),
    ],
)
def test_times(text: str, ms: int) -> None:
    assert time_ms(text, "after", NOW_MS) == ms


@pytest.mark.parametrize("text", ["x", "2y", "", "99999-01-01", "-1h", "0001-01-01T00:00x"])
def test_times_that_are_none(text: str) -> None:
    with pytest.raises(UsageError):
        time_ms(text, "after", NOW_MS)


def test_an_export_goes_on_over_windows(deep: Desk) -> None:
    found = list(search.export(deep, read("status:failed"), account="other"))
    assert found == []
    found = list(search.export(deep, read("status:failed"), account="acme"))
    assert len(found) == MESSAGES // 5_000
    assert [line.id for line in found] == sorted((line.id for line in found), reverse=True)
    some = read(f"from:nobody@x.example before:{2}h")
    assert list(search.export(deep, some, account="acme")) == []
    assert ident.read(found[0].id) is not None


def test_kept_files_are_read(desk: Desk, mail: Any, tmp_path: Path) -> None:
    number = mail.accept("acme", "noreply@example.com", spool=b"octets of the body")
    found = message.source(desk, ident.show(number), account="acme", most=10)
    assert (found.data, found.octets, found.whole) == (b"\0octets of", 19, False)
    whole = message.source(desk, ident.show(number), account=None, most=1_000)
    assert whole.data == b"\0octets of the body"
    (desk.data / "spool" / ident.show(number)).unlink()
    with pytest.raises(message.BodyGone):
        message.source(desk, ident.show(number), account="acme", most=10)
