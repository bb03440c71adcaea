"""A real store in a temporary directory for tests: accounts, keys, an upstream and senders in it,
and a clock that stands until it is moved."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import apsw
import msgspec

from waypost.clock import SystemClock
from waypost.core import ident
from waypost.core.address import Address, parse
from waypost.core.errors import Secret
from waypost.core.lifecycle import State
from waypost.core.message import Acceptance, Addressee, Attempt, Parcel, Result
from waypost.store.connect import connect
from waypost.store.read.audit import prove
from waypost.store.read.book import Look
from waypost.store.shared import Shared, changing
from waypost.store.sqlite.engine import Engine, open_store

NOW_MS = 1_790_000_000_000  # 14:13:20 UTC of some day
DAY_MS = 86_400_000
FROM = parse("shop@example.org")


class StandingClock(SystemClock):
    """Stands until it is moved."""

    def __init__(self) -> None:
        self.ms = NOW_MS

    def wall_ms(self) -> int:
        return self.ms


class Taker:
    """Delivery: wants what it is told to want and keeps what it is given."""

    def __init__(self, wanting: bool = True) -> None:
        self.wanting = wanting
        self.taken: list[Parcel] = []
        self.stirs = 0

    def wants(self, acceptance: Acceptance) -> bool:
        return self.wanting

    def take(self, parcel: Parcel) -> None:
        self.taken.append(parcel)

    def stirred(self) -> None:
        self.stirs += 1


def opener(upstream_id: int, sealed: bytes) -> Secret:
    """Passwords of tests are sealed by being written backwards."""
    return Secret(sealed[::-1].decode())


class House:
    """One data directory; `store` opens it, `sql` looks into it and `change` does what commands
    do."""

    def __init__(
        self, data: Path, credits: int = 1_000, clock: StandingClock | None = None
    ) -> None:
        self.data = data
        self.clock = clock or StandingClock()
        self.maker = ident.IdentMaker(0)
        self.stores: list[Engine] = []
        first = self.store()
        self.change(
            "INSERT INTO account (id, name, balance, created_at) VALUES (1, 'acme', ?, 0)", credits
        )
        self.change(
            "INSERT INTO ledger (account_id, at, amount, reason, balance)"
            " VALUES (1, 0, ?, 'topup', ?)",
            credits,
            credits,
        )
        self.key(1, 1)
        self.change(
            "INSERT INTO upstream (id, name, host, port, encryption, connections, per_connection,"
            " per_minute, recipients, created_at, password)"
            " VALUES (1, 'main', 'mx.example', 587, 'starttls', 20, 0, 0, 100, 0, x'746572636573')"
        )
        self.sender(1, str(FROM))
        self.first = first

    def store(self, worker: int | None = 0, taker: Taker | None = None, **keep: Any) -> Engine:
        engine = open_store(
            self.data,
            clock=self.clock,
            worker=worker,
            opener=opener,
            global_sender=None,
            create=True,
            **keep,
        )
        if taker is not None:
            engine.attach(taker)
        self.stores.append(engine)
        return engine

    async def close(self) -> None:
        for engine in self.stores:
            await engine.close()

    def key(self, key_id: int, account_id: int) -> None:
        self.change(
            "INSERT INTO api_key (id, account_id, digest, last4, created_at)"
            " VALUES (?, ?, randomblob(32), 'abcd', 0)",
            key_id,
            account_id,
        )

    def account(self, account_id: int, credits: int = 1_000) -> None:
        self.change(
            "INSERT INTO account (id, name, balance, created_at) VALUES (?, ?, ?, 0)",
            account_id,
            f"account {account_id}",
            credits,
        )
        self.change(
            "INSERT INTO ledger (account_id, at, amount, reason, balance)"
            " VALUES (?, 0, ?, 'topup', ?)",
            account_id,
            credits,
            credits,
        )
        self.key(account_id, account_id)

    def sender(self, sender_id: int, address: str, cap: int | None = None) -> None:
        self.change(
            "INSERT INTO sender (id, address, address_key, everyone, upstream_id, daily_cap,"
            " created_at) VALUES (?, ?, lower(?), 1, 1, ?, 0)",
            sender_id,
            address,
            address,
            cap,
        )

    def change(self, sql: str, *values: Any, work: bool = False) -> None:
        """As a command changes the store, seen by every process."""
        db = connect(self.data)
        shared = Shared(self.data)
        try:
            with changing(db, shared, facts=True, work=work):
                db.execute(sql, values)
        finally:
            shared.close()
            db.close()

    def sql(self, sql: str, *values: Any) -> list[Any]:
        db = connect(self.data, readonly=True)
        try:
            return db.execute(sql, values).fetchall()
        finally:
            db.close()

    def one(self, sql: str, *values: Any) -> Any:
        return self.sql(sql, *values)[0][0]

    def acceptance(
        self,
        *to: str,
        store: Engine | None = None,
        maker: ident.IdentMaker | None = None,
        sender: Address = FROM,
        **changes: Any,
    ) -> Acceptance:
        """A submission judged good by the facts of now; a hundred octets of head and rest."""
        directory = (store or self.first).directory()
        account_id = changes.get("account_id", 1)
        found = directory.sender_for(account_id, sender)
        assert found is not None
        number = (maker or self.maker).make(self.clock.wall_ms())
        basis = Acceptance(
            id=number,
            generation=directory.generation,
            channel="smtp",
            account_id=account_id,
            key_id=changes.get("key_id", account_id),
            peer="192.0.2.1",
            sender_id=found.id,
            upstream_id=found.upstream_id,
            envelope_from=found.address,
            subject="hello",
            message_id=f"{number:x}@client",
            smtp_message_id=f"{number:x}@client",
            null_sender=False,
            addressees=tuple(Addressee(parse(text), False) for text in to or ("a@example.com",)),
            head=b"Subject: hello\r\n\r\n",
            rest=b"body\r\n" * 10,
            raw_octets=78,
            digest=hashlib.sha256(b"%d" % number).digest(),
            eight_bit=False,
            rate_per_minute=0,
            repeat_window_ms=DAY_MS,
        )
        return msgspec.structs.replace(basis, **changes)

    def adds_up(self) -> None:
        """The ledger, the charges, the counts and the queue, by questions of our own and by the
        audit's.
        """
        for name, sql in AUDIT.items():
            assert self.sql(sql) == [], name
        db = connect(self.data, readonly=True)
        try:
            db.execute("BEGIN")
            assert [check for check in prove(Look(db), self.data) if not check.ok] == []
        finally:
            db.close()

    @property
    def balance(self) -> int:
        value: int = self.one("SELECT balance FROM account WHERE id = 1")
        return value


AUDIT = {
    "balance is the sum of its lines": "SELECT a.id FROM account a WHERE a.balance <>"
    " (SELECT ifnull(sum(amount), 0) FROM ledger WHERE account_id = a.id)",
    "each line tells the balance after it": "SELECT id FROM (SELECT id, balance, sum(amount) OVER"
    " (PARTITION BY account_id ORDER BY id) AS so_far FROM ledger) WHERE balance <> so_far",
    "nobody is below zero": "SELECT id FROM account WHERE balance < 0 AND NOT unlimited",
    "accepted is paid": "SELECT m.id FROM message m WHERE m.charged <>"
    " (SELECT ifnull(-sum(amount), 0) FROM ledger WHERE message_id = m.id AND reason = 'debit')"
    " OR m.charged <> (SELECT iif(m.channel = 'notice', 0, count(*)) FROM recipient"
    " WHERE message_id = m.id)",
    "failed and cancelled are refunded": "SELECT r.message_id FROM recipient r JOIN message m"
    " ON m.id = r.message_id WHERE (r.state IN (2, 3) AND m.channel <> 'notice') <>"
    " (SELECT count(*) FROM ledger WHERE message_id = r.message_id"
    " AND recipient = r.number AND reason = 'refund')",
    "counts are those of the recipients": "SELECT m.id FROM message m WHERE (queued, sent, failed,"
    " cancelled, refunded) <> (SELECT count(*) FILTER (WHERE state = 0), count(*) FILTER (WHERE"
    " state = 1), count(*) FILTER (WHERE state = 2), count(*) FILTER (WHERE state = 3),"
    " count(*) FILTER (WHERE state > 1 AND m.channel <> 'notice') FROM recipient"
    " WHERE message_id = m.id)",
    "what is queued has a queue row, and only that": "SELECT m.id FROM message m WHERE"
    " (m.queued > 0) <> (SELECT count(*) FROM queue WHERE message_id = m.id)",
    "what is queued has a body": "SELECT id FROM message WHERE queued > 0 AND NOT EXISTS"
    " (SELECT 1 FROM body WHERE message_id = message.id)",
    "a status is as the counts": "SELECT id FROM message WHERE (status = 'queued') <> (queued > 0)"
    " OR (ended_at IS NULL) <> (queued > 0)",
}


def attempt(
    parcel: Parcel, *states: State, code: int = 250, text: str = "2.0.0 ok", **changes: Any
) -> Attempt:
    """An attempt in which the recipients came to these states, the last of them for the rest."""
    ends = [*states, *states[-1:] * len(parcel.recipients)]
    results = tuple(
        Result(number, state, code, text)
        for (number, _), state in zip(parcel.recipients, ends, strict=False)
    )
    basis = Attempt(parcel, parcel.accepted_ms, 1, "main", results, next_ms=NOW_MS + 60_000)
    return msgspec.structs.replace(basis, **changes)


def plan(db: apsw.Connection, sql: str) -> list[str]:
    """The steps that SQLite takes for a statement."""
    values = (None,) * sql.count("?")
    return [str(row[3]) for row in db.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
