"""A desk on a real store file, with a clock that stands, and mail put in as the relay would."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from waypost.clock import SystemClock
from waypost.core import ident
from waypost.core.errors import Secret, WaypostError
from waypost.desk import accounts, upstreams
from waypost.desk.connection.edits import Fields
from waypost.desk.office import Desk
from waypost.store.connect import connect, transaction
from waypost.store.several.begun import Begun
from waypost.upstream.settings import Form

NOW_MS = 1_790_000_000_000


class StandingClock(SystemClock):
    """Stands until it is moved; secrets are real."""

    def __init__(self) -> None:
        self.ms = NOW_MS

    def wall_ms(self) -> int:
        return self.ms


class PlainSealer:
    """Seals by name only: what it opens must be bound to the row it was sealed for."""

    def seal(self, secret: Secret, row: bytes) -> bytes:
        return row + b"=" + secret.reveal().encode()[::-1]

    def open(self, blob: bytes, row: bytes) -> Secret:
        bound, _, turned = blob.partition(b"=")
        if bound != row:
            raise WaypostError("sealed for another row")
        return Secret(turned[::-1].decode())

    def stale(self, blob: bytes) -> bool:
        return True


class Mail:
    """Puts messages into the store as an accepting relay does, and moves them as delivery does."""

    def __init__(self, data: Path, clock: StandingClock) -> None:
        self.data = data
        self.clock = clock
        self._made = 0
        self.wire: Begun | None = None

    def sql(self, sql: str, values: Sequence[object] = ()) -> list[tuple[object, ...]]:
        """Runs anything, in a transaction of its own."""
        db = connect(self.data)
        try:
            with transaction(db):
                return list(db.execute(sql, tuple(values)))
        finally:
            db.close()

    def accept(
        self,
        account: str,
        sender: str,
        to: Sequence[str] = ("a@example.net",),
        *,
        at_ms: int | None = None,
        key_id: int | None = None,
        spool: bytes = b"",
    ) -> int:
        """A queued message, paid for; its number."""
        at = self.clock.ms if at_ms is None else at_ms
        self._made += 1
        number = ident.floor(at) + self._made
        name = f"spool/{ident.show(number)}"
        if spool:
            (self.data / name).write_bytes(b"head" + spool)
        db = connect(self.data, wait_ms=30_000)
        try:
            with transaction(db):
                (account_id,) = (
                    db.execute("SELECT id FROM account WHERE name = ?", (account,)).get,
                )
                (sender_id,) = db.execute(
                    "SELECT id FROM sender WHERE address = ? ORDER BY id DESC", (sender,)
                ).fetchone()  # type: ignore[misc]
                count = len(to)
                left = db.execute(
                    "UPDATE account SET balance = balance - ?, accepted = accepted + ? WHERE id = ?"
                    " AND (unlimited OR balance >= ?) RETURNING balance",
                    (count, count, account_id, count),
                ).get
                if left is None:
                    raise LookupError("no credits")
                db.execute(
                    "INSERT INTO ledger (account_id, at, amount, reason, message_id, balance)"
                    " VALUES (?, ?, ?, 'debit', ?, ?)",
                    (account_id, at, -count, number, left),
                )
                db.execute(
                    "INSERT INTO message (id, account_id, key_id, sender_id, channel, peer,"
                    " from_address, subject, smtp_message_id, digest, octets, eight_bit,"
                    " null_sender, status, recipients, queued, charged)"
                    " VALUES (?,?,?,?,'smtp','192.0.2.7',?,'Hello','m@x',x'00',10,0,0,"
                    "'queued',?,?,?)",
                    (number, account_id, key_id, sender_id, sender, count, count, count),
                )
                for place, address in enumerate(to, 1):
                    db.execute(
                        "INSERT INTO recipient (message_id, number, address) VALUES (?, ?, ?)",
                        (number, place, address),
                    )
                db.execute(
                    "INSERT INTO queue (claim, sender_id, account_id, due, message_id)"
                    " VALUES (0, ?, ?, ?, ?)",
                    (sender_id, account_id, at + 60_000, number),
                )
                db.execute(
                    "INSERT INTO body (message_id, octets, spool, spool_offset, spool_octets)"
                    " VALUES (?, x'00', ?, 4, ?)",
                    (number, name if spool else None, len(spool)),
                )
        finally:
            db.close()
        return number

    def claim(self, number: int, *, begun: bool = True) -> None:
        """As a worker that lives; it is on the wire then, or (not `begun`) about to be."""
        self.sql("UPDATE queue SET claim = 1 WHERE message_id = ?", (number,))
        if self.wire is None:
            self.wire = Begun(self.data, 0, lambda: 0)
            self.wire.open_up()
        assert not begun or self.wire.begin(number, set(), lambda: True)

    def end(self, number: int, states: Sequence[int], at_ms: int | None = None) -> None:
        """Ends every recipient: 1 sent, 2 failed (refunded)."""
        at = self.clock.ms if at_ms is None else at_ms
        db = connect(self.data)
        try:
            with transaction(db):
                for place, state in enumerate(states, 1):
                    db.execute(
                        "UPDATE recipient SET state = ?, code = ?, text = 'words', ended_at = ?"
                        " WHERE message_id = ? AND number = ?",
                        (state, 250 if state == 1 else 550, at, number, place),
                    )
                    if state == 2:
                        db.execute(
                            "UPDATE account SET balance = balance + 1 WHERE id ="
                            " (SELECT account_id FROM message WHERE id = ?)",
                            (number,),
                        )
                        db.execute(
                            "INSERT INTO ledger (account_id, at, amount, reason, message_id,"
                            " recipient, balance) SELECT a.id, ?, 1, 'refund', m.id, ?, a.balance"
                            " FROM message m JOIN account a ON a.id = m.account_id WHERE m.id = ?",
                            (at, place, number),
                        )
                sent, failed = states.count(1), states.count(2)
                word = "partial" if sent and failed else "sent" if sent else "failed"
                db.execute(
                    "UPDATE message SET queued = 0, sent = ?, failed = ?, refunded = ?, status = ?,"
                    " ended_at = ? WHERE id = ?",
                    (sent, failed, failed, word, at, number),
                )
                db.execute(
                    "UPDATE account SET sent = sent + ?, failed = failed + ? WHERE id ="
                    " (SELECT account_id FROM message WHERE id = ?)",
                    (sent, failed, number),
                )
                results = [[n, s, 250 if s == 1 else 550, "words"] for n, s in enumerate(states, 1)]
                db.execute(
                    "INSERT INTO attempt (message_id, number, at, upstream_id, upstream, results,"
                    " transcript) VALUES (?, 1, ?, 1, 'main', ?, ?)",
                    (number, at, json.dumps(results), "" if failed == 0 else "S: 550 words"),
                )
                db.execute("DELETE FROM queue WHERE message_id = ?", (number,))
                db.execute(
                    "UPDATE body SET expires_at = ? WHERE message_id = ?", (at + 1000, number)
                )
        finally:
            db.close()


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture
def desk(tmp_path: Path, clock: StandingClock) -> Desk:
    """An empty store."""
    key_file = tmp_path / "data" / "sealing.keys"
    made = Desk(
        data=tmp_path / "data", clock=clock, sealer=PlainSealer(), key_file=key_file, create=True
    )
    with made.reading():
        key_file.write_text("the ring")
    return made


@pytest.fixture
def mail(desk: Desk, clock: StandingClock) -> Iterator[Mail]:
    """An account `acme` with 100 credits, and an upstream `main` with the global sender
    noreply@.
    """
    accounts.create(desk, "acme", credits=100)
    form = Form(host="smtp.example.com", username="u")
    upstreams.add(
        desk,
        "main",
        Fields(form=form, password=Secret("sesame77"), sender="noreply@example.com"),
    )
    made = Mail(desk.data, clock)
    yield made
    if made.wire is not None:
        made.wire.close()
