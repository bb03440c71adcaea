"""Loads what mail is judged by, whole and of one instant: accounts, keys, senders, upstreams.

Promises: one bad row (a password that the sealing key no longer opens) takes only itself away.
Knows nothing of who asks, and decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import apsw
import msgspec

from waypost.core.address import Address
from waypost.core.errors import Secret, WaypostError
from waypost.core.facts import Account, Directory, Key, RecipientsFrom, Sender
from waypost.core.upstream import (
    Encryption,
    Health,
    Limits,
    Login,
    Upstream,
    UpstreamState,
    Validate,
)

Opener = Callable[[int, bytes], Secret]

ACCOUNTS = (
    "SELECT id, name, enabled, unlimited, rate_per_minute, default_sender, notify, created_at,"
    " balance FROM account"
)
KEYS = (
    "SELECT id, account_id, name, digest, last4, enabled, recipients, created_at"
    " FROM api_key WHERE deleted_at IS NULL"
)
SENDERS = (
    "SELECT id, address, account_id, everyone, upstream_id, from_name, daily_cap, held FROM sender"
)
ASSIGNED = "SELECT sender_id, account_id FROM sender_account"
UPSTREAMS = (
    "SELECT id, name, account_id, host, port, encryption, username, password, validate, pin,"
    " preset, fallback_id, edition, connections, per_connection, per_minute, recipients, daily_cap,"
    " state, reason, since, probe_at, probes, last_success, created_at,"
    " login FROM upstream"
)
GENERATION = "SELECT value FROM meta WHERE name = 'generation'"


class Loaded(msgspec.Struct, frozen=True):
    """All facts of one instant; `balances` of every account that is not unlimited, by id."""

    directory: Directory
    upstreams: dict[int, Upstream]
    balances: dict[int, int]


def load(db: apsw.Connection, opener: Opener, global_sender: Address | None) -> Loaded:
    """Reads everything within the transaction that is open, or one of its own."""
    if db.in_transaction:
        return _load(db, opener, global_sender)
    db.execute("BEGIN")
    try:
        return _load(db, opener, global_sender)
    finally:
        db.execute("ROLLBACK")


def generation(db: apsw.Connection) -> int:
    """The store's count of changes to the facts."""
    value = db.execute(GENERATION).get
    assert isinstance(value, int)
    return value


def address_of(text: str) -> Address:
    """The address whose `str` was stored."""
    local, _, domain = text.rpartition("@")
    return Address(local, domain)


def _load(db: apsw.Connection, opener: Opener, global_sender: Address | None) -> Loaded:
    assigned: dict[int, set[int]] = {}
    for sender_id, account_id in _rows(db, ASSIGNED):
        assigned.setdefault(sender_id, set()).add(account_id)
    accounts = _rows(db, ACCOUNTS)
    directory = Directory(
        generation(db),
        tuple(_account(row) for row in accounts),
        tuple(_key(row) for row in _rows(db, KEYS)),
        tuple(_sender(row, assigned) for row in _rows(db, SENDERS)),
        global_sender,
    )
    upstreams = {row[0]: _upstream(row, opener) for row in _rows(db, UPSTREAMS)}
    balances = {row[0]: row[8] for row in accounts if not row[3]}
    return Loaded(directory, upstreams, balances)


def _rows(db: apsw.Connection, sql: str) -> list[Any]:
    return db.execute(sql).fetchall()


def _account(row: Any) -> Account:
    ident, name, enabled, unlimited, rate, default_sender, notify, created_at, _ = row
    return Account(
        id=ident,
        name=name,
        enabled=bool(enabled),
        unlimited=bool(unlimited),
        rate_per_minute=rate,
        default_sender=address_of(default_sender) if default_sender else None,
        notify=address_of(notify) if notify else None,
        created_at_ms=created_at,
    )


def _key(row: Any) -> Key:
    ident, account_id, name, digest, last4, enabled, recipients, created_at = row
    return Key(
        id=ident,
        account_id=account_id,
        name=name,
        digest=digest,
        last4=last4,
        enabled=bool(enabled),
        recipients=RecipientsFrom(recipients),
        created_at_ms=created_at,
    )


def _sender(row: Any, assigned: dict[int, set[int]]) -> Sender:
    ident, text, owner_id, everyone, upstream_id, from_name, daily_cap, held = row
    return Sender(
        id=ident,
        address=address_of(text),
        owner_id=owner_id,
        everyone=bool(everyone),
        accounts=frozenset(assigned.get(ident, ())),
        upstream_id=upstream_id,
        from_name=from_name,
        daily_cap=daily_cap,
        held=held,
    )


def _upstream(row: Any, opener: Opener) -> Upstream:
    health = Health(UpstreamState(row[18]), row[19], row[20], row[21], row[22], row[23])
    password: Secret | None = None
    if row[7] is not None:
        try:
            password = opener(row[0], row[7])
        except WaypostError as error:
            health = Health(UpstreamState.PAUSED, f"its password cannot be opened: {error}")
    return Upstream(
        id=row[0],
        name=row[1],
        account_id=row[2],
        host=row[3],
        port=row[4],
        encryption=Encryption(row[5]),
        username=row[6],
        password=password,
        validate=Validate(row[8]),
        pin=row[9],
        preset=row[10],
        fallback_id=row[11],
        edition=row[12],
        limits=Limits(row[13], row[14], row[15], row[16], row[17]),
        health=health,
        created_at_ms=row[24],
        login=Login(row[25]),
    )
