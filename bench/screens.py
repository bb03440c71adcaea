"""Times the dashboard's questions on a log of a million messages: median and worst of 50, in ms.

    PYTHONPATH=src python bench/screens.py [MESSAGES]

The log is written straight into a store of a temporary directory, with every tenth message waiting
and one in 5,000 failed. How many rows each question touches is the tests' matter
(tests/desk/test_desk_view.py).
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from waypost.clock import SystemClock
from waypost.desk.office import Desk
from waypost.desk.secrets import FileSealer
from waypost.desk.view import message, overview, search, waiting
from waypost.desk.view.terms import read
from waypost.store.keep import seen
from waypost.store.migrate import open_migrated
from waypost.store.read.book import Look

ROUNDS = 50
MONTH_MS = 30 * 86_400_000

FILL = """
INSERT INTO account (id, name, created_at, balance) VALUES (1, 'acme', 0, 500);
INSERT INTO upstream (id, name, host, port, encryption, connections, per_connection, per_minute,
 recipients, created_at) VALUES (1, 'main', 'h', 587, 'starttls', 1, 0, 0, 100, 0);
INSERT INTO sender (id, address, address_key, everyone, upstream_id, created_at)
 VALUES (1, 's@x.example', 's@x.example', 1, 1, 0);
WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < :count - 1)
INSERT INTO message (id, account_id, key_id, sender_id, channel, peer, from_address, subject,
 smtp_message_id, digest, octets, eight_bit, null_sender, status, recipients, queued, sent, failed,
 charged, refunded, ended_at)
SELECT ((:start + i * :step) << 20) + i % 1000, 1, i % 3, 1, 'smtp', '192.0.2.1',
 iif(i % 50000 = 9, 'rare', 's') || '@x.example', 'Order ' || i, '<m@x.example>', zeroblob(32),
 9000, 0, 0, iif(i % 5000 = 1, 'failed', iif(i % 10 = 3, 'queued', 'sent')), 1, i % 10 = 3,
 i % 5000 <> 1 AND i % 10 <> 3, i % 5000 = 1, 1, i % 5000 = 1, 5 FROM n;
INSERT INTO recipient (message_id, number, address, state)
 SELECT id, 1, 'p' || (id >> 20) % 99991 || '@example.net', 1 FROM message;
INSERT INTO ledger (account_id, at, amount, reason, message_id, balance)
 SELECT account_id, id >> 20, -1, 'debit', id, 0 FROM message ORDER BY id;
INSERT INTO queue (claim, sender_id, account_id, due, message_id)
 SELECT 0, sender_id, account_id, id >> 20, id FROM message WHERE queued;
"""


def filled(data: Path, count: int) -> Desk:
    """A desk on a store with so many messages, spread over the last month."""
    clock = SystemClock()
    db = open_migrated(data, create=True)
    start = clock.wall_ms() - MONTH_MS
    values = {"count": count, "start": start, "step": max(1, MONTH_MS // count)}
    db.execute("BEGIN")
    for statement in FILL.split(";\n"):
        if statement.strip():
            db.execute(statement, values if ":count" in statement else ())
    look = Look(db)
    while seen.note(look, clock.wall_ms()):
        pass
    db.execute("COMMIT")
    db.close()
    key_file = data / "sealing.keys"
    return Desk(data=data, clock=clock, sealer=FileSealer(key_file, clock), key_file=key_file)


def timed(question: Callable[[], object]) -> tuple[float, float]:
    """Median and worst, in milliseconds."""
    took = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        question()
        took.append((time.perf_counter() - began) * 1_000)
    return statistics.median(took), max(took)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        desk = filled(Path(folder) / "data", count)
        failed = search.page(desk, read("status:failed"), account="acme").lines[-1].id
        questions: dict[str, Callable[[], object]] = {
            "overview": lambda: overview.show(desk, account="acme"),
            "logs": lambda: search.page(desk, read(""), account="acme"),
            "logs, all accounts": lambda: search.page(desk, read(""), account=None),
            "to:": lambda: search.page(desk, read("to:p77@example.net"), account="acme"),
            "status:failed": lambda: search.page(desk, read("status:failed"), account="acme"),
            "from: a rare one": lambda: search.page(
                desk, read("from:rare@x.example"), account="acme"
            ),
            "a message": lambda: message.show(desk, failed, account="acme"),
            "queue": lambda: waiting.show(desk, account="acme"),
        }
        for name, question in questions.items():
            median, worst = timed(question)
            print(f"| {name} | {median:.1f} | {worst:.1f} |", flush=True)


if __name__ == "__main__":
    main()
