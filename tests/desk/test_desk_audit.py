"""The audit: it is right on a healthy store, and finds each thing that is broken, by name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from waypost.core import ident
from waypost.desk import accounts, office, queue
from waypost.desk.office import Desk

FROM = "noreply@example.com"


@pytest.fixture
def filled(desk: Desk, mail: Any) -> Any:
    """Mail in every state: queued (one spooled), sent, partial, failed, cancelled."""
    accounts.create(desk, "free", credits=None)
    mail.queued = mail.accept("acme", FROM, ["q@x.org"], spool=b"z" * 50)
    mail.accept("free", FROM, ["f@x.org"])
    mail.sent = mail.accept("acme", FROM, ["s@x.org"])
    mail.partial = mail.accept("acme", FROM, ["s@x.org", "t@x.org"])
    mail.failed = mail.accept("acme", FROM, ["u@x.org"])
    mail.cancelled = mail.accept("acme", FROM, ["v@x.org"])
    mail.end(mail.sent, [1])
    mail.end(mail.partial, [1, 2])
    mail.end(mail.failed, [2])
    queue.cancel(desk, ident.show(mail.cancelled))
    return mail


def test_all_is_well(desk: Desk, filled: Any) -> None:
    told = office.audit(desk)
    assert [(check.name, check.detail) for check in told.checks if not check.ok] == []
    assert told.ok
    assert accounts.show(desk, "free").balance == -1
    assert {check.name for check in told.checks} >= {"balance", "paid", "refunded", "queue"}


def test_an_empty_store_adds_up(desk: Desk) -> None:
    assert office.audit(desk).ok


BROKEN = [
    ("balance", "UPDATE account SET balance = balance + 1 WHERE name = 'acme'"),
    (
        "balance",
        "INSERT INTO ledger (account_id, at, amount, reason, balance) SELECT id, 1, 9, 'topup',"
        " balance + 9 FROM account WHERE name = 'acme'",
    ),
    ("ledger", "UPDATE ledger SET balance = balance + 1 WHERE id = 3"),
    ("ledger", "UPDATE ledger SET amount = amount + 1 WHERE id = 3"),
    ("accounts", "UPDATE message SET account_id = 99 WHERE id = :sent"),
    ("paid", "DELETE FROM message WHERE id = :sent"),
    ("paid", "UPDATE account SET gone_charged = 1 WHERE name = 'acme'"),
    ("paid", "UPDATE message SET charged = 7 WHERE id = :sent"),
    ("paid", "UPDATE ledger SET reason = 'topup' WHERE message_id = :sent"),
    ("refunded", "UPDATE account SET gone_refunded = 1 WHERE name = 'acme'"),
    ("refunded", "UPDATE ledger SET reason = 'topup' WHERE message_id = :failed AND amount = 1"),
    ("refund lines", "UPDATE ledger SET recipient = 9 WHERE message_id = :failed AND amount = 1"),
    ("refund lines", "UPDATE recipient SET state = 2 WHERE message_id = :sent"),
    ("refund lines", "UPDATE recipient SET state = 1 WHERE message_id = :failed"),
    ("nobody below zero", "UPDATE account SET unlimited = 0 WHERE name = 'free'"),
    ("counters", "UPDATE message SET sent = 0 WHERE id = :sent"),
    ("counters", "UPDATE message SET refunded = 0 WHERE id = :failed"),
    ("counters", "DELETE FROM recipient WHERE message_id = :sent"),
    ("counters", "UPDATE recipient SET message_id = 77 WHERE message_id = :sent"),
    ("tallies", "UPDATE account SET sent = sent + 1 WHERE name = 'acme'"),
    ("tallies", "UPDATE account SET accepted = 0 WHERE name = 'free'"),
    ("statuses", "UPDATE message SET status = 'sent' WHERE id = :partial"),
    ("statuses", "UPDATE message SET ended_at = NULL WHERE id = :sent"),
    ("statuses", "UPDATE message SET ended_at = 5 WHERE id = :queued"),
    ("queue", "DELETE FROM queue WHERE message_id = :queued"),
    ("queue", "INSERT INTO queue (claim, sender_id, account_id, due, message_id)"
     " VALUES (0, 1, 1, 5, :sent)"),
    ("queue", "INSERT INTO queue (claim, sender_id, account_id, due, message_id)"
     " VALUES (4, 1, 1, 5, :queued)"),
    ("queue", "UPDATE queue SET account_id = 2 WHERE message_id = :queued"),
    ("queue", "INSERT INTO queue (claim, sender_id, account_id, due, message_id)"
     " VALUES (0, 1, 1, 5, 12345)"),
    ("senders", "UPDATE queue SET sender_id = 44 WHERE message_id = :queued"),
    ("bodies", "DELETE FROM body WHERE message_id = :queued"),
    ("bodies", "UPDATE body SET spool_octets = 51 WHERE message_id = :queued"),
    ("bodies", "UPDATE body SET spool = 'spool/none' WHERE message_id = :queued"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "sql"), BROKEN)
def test_each_break_is_found_by_the_check_of_its_name(
    desk: Desk, filled: Any, name: str, sql: str
) -> None:
    filled.sql("DROP TRIGGER ledger_no_update")
    values = []
    for word in ("queued", "sent", "partial", "failed"):
        if f":{word}" in sql:
            sql = sql.replace(f":{word}", "?")
            values.append(getattr(filled, word))
    filled.sql(sql, values)
    told = office.audit(desk)
    assert not told.ok
    assert name in {check.name for check in told.checks if not check.ok}


def test_many_faults_are_counted_and_few_are_named(desk: Desk, filled: Any) -> None:
    for _ in range(5):
        filled.accept("acme", FROM)
    filled.sql("DELETE FROM queue")
    check = next(check for check in office.audit(desk).checks if check.name == "queue")
    assert check.detail.endswith("and 4 more")
    assert check.detail.count("message ") == 3


def test_the_ledger_is_only_added_to(desk: Desk, filled: Any) -> None:
    for sql in ("DELETE FROM ledger", "UPDATE ledger SET note = 'x'"):
        with pytest.raises(Exception, match="the store"):
            filled.sql(sql)


TOP_UPS = """
import sys
from pathlib import Path
from waypost.clock import SystemClock
from waypost.desk import accounts
from waypost.desk.office import Desk
data = Path(sys.argv[1])
desk = Desk(data=data, clock=SystemClock(), sealer=None, key_file=data / "k")
for _ in range(20):
    accounts.add_credits(desk, "racer", 2)
"""


def test_top_ups_and_debits_that_race_add_up(desk: Desk, mail: Any) -> None:
    """Two processes that top up against mail that is accepted all the while: no credit is lost
    and none is made.
    """
    accounts.create(desk, "racer", credits=5)
    source = str(Path(office.__file__).parents[2])
    command = [sys.executable, "-c", TOP_UPS, str(desk.data)]
    others = [subprocess.Popen(command, env={"PYTHONPATH": source}) for _ in range(2)]
    accepted = refused = 0
    while any(other.poll() is None for other in others):
        try:
            mail.accept("racer", FROM)
            accepted += 1
        except LookupError:
            refused += 1
    assert [other.returncode for other in others] == [0, 0]
    assert accounts.show(desk, "racer").credits == 5 + 80 - accepted
    assert refused > 0
    assert office.audit(desk).ok
