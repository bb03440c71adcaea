"""Accounts, keys, upstreams and senders, by name or id, and lists of them, newest first.

A name that is not there is None. `limit` 0 is no limit. Knows nothing of passwords (they stay
sealed).
"""

from __future__ import annotations

from waypost.core.errors import Secret
from waypost.core.upstream import (
    Encryption,
    Health,
    Limits,
    Login,
    Upstream,
    UpstreamState,
    Validate,
)
from waypost.store.read.book import Look, Value
from waypost.store.read.rows import AccountRow, KeyRow, LedgerRow, SenderRow, UpstreamRow

ACCOUNT = (
    "SELECT id, name, enabled, unlimited, balance, rate_per_minute, default_sender, notify,"
    " created_at FROM account"
)
KEY = (
    "SELECT k.id, k.account_id, a.name, k.name, k.last4, k.enabled, k.recipients, k.created_at,"
    " k.last_used_at FROM api_key k JOIN account a ON a.id = k.account_id"
    " WHERE k.deleted_at IS NULL"
)
UPSTREAM = (
    "SELECT u.id, u.account_id, a.name, u.name, u.host, u.port, u.encryption, u.username,"
    " u.password, u.validate, u.pin, u.preset, u.fallback_id, f.name, u.edition, u.connections,"
    " u.per_connection, u.per_minute, u.recipients, u.daily_cap, u.state, u.reason, u.since,"
    " u.probe_at, u.probes, u.last_success, u.created_at, u.login, u.oauth, u.last_error,"
    " f.state FROM upstream u"
    " LEFT JOIN account a ON a.id = u.account_id LEFT JOIN upstream f ON f.id = u.fallback_id"
)
SENDER = (
    "SELECT s.id, s.address, s.address_key, s.account_id, a.name, s.everyone, s.upstream_id,"
    " u.name, s.from_name, s.daily_cap, s.held, s.created_at FROM sender s"
    " JOIN upstream u ON u.id = s.upstream_id LEFT JOIN account a ON a.id = s.account_id"
)
NEWEST = 2**63 - 1  # above every number of a row
ALL = -1  # SQLite: LIMIT of a negative number is none


def limited(limit: int) -> int:
    return limit if limit > 0 else ALL


def account(look: Look, name: str) -> AccountRow | None:
    return look.row(AccountRow, f"{ACCOUNT} WHERE name = ?", (name,))


def account_by_id(look: Look, account_id: int) -> AccountRow | None:
    return look.row(AccountRow, f"{ACCOUNT} WHERE id = ?", (account_id,))


def accounts(look: Look, limit: int, below: int = NEWEST) -> list[AccountRow]:
    """Those of a lower number, newest first; so are all lists here."""
    sql = f"{ACCOUNT} WHERE id < ? ORDER BY id DESC LIMIT ?"
    return look.rows(AccountRow, sql, (below, limited(limit)))


def use(look: Look, account_id: int, least_message_id: int) -> tuple[int, int]:
    """(messages, recipients) of the account from that id on."""
    found = look.tuples(
        "SELECT count(*), ifnull(sum(recipients), 0) FROM message WHERE account_id = ? AND id >= ?",
        (account_id, least_message_id),
    )
    return found[0][0], found[0][1]


def ledger(look: Look, account_id: int, below: int, limit: int) -> list[tuple[int, LedgerRow]]:
    """(number, line) of the account, newest first."""
    found = look.tuples(
        "SELECT id, at, amount, reason, message_id, recipient, note, balance FROM ledger"
        " WHERE account_id = ? AND id < ? ORDER BY id DESC LIMIT ?",
        (account_id, below, limited(limit)),
    )
    return [(row[0], LedgerRow(*row[1:])) for row in found]


def ledger_below(
    look: Look, account_id: int, below: int | None, limit: int
) -> list[tuple[int, LedgerRow]]:
    """(id, line) of the newest lines below that id, or of all, newest first."""
    found = look.tuples(
        "SELECT id, at, amount, reason, message_id, recipient, note, balance FROM ledger"
        " WHERE account_id = ? AND id < ? ORDER BY id DESC LIMIT ?",
        (account_id, 2**62 if below is None else below, limit),
    )
    return [(row[0], LedgerRow(*row[1:])) for row in found]


def key(look: Look, key_id: int) -> KeyRow | None:
    return look.row(KeyRow, f"{KEY} AND k.id = ?", (key_id,))


def keys(look: Look, account_id: int | None, below: int, limit: int) -> list[KeyRow]:
    where = "" if account_id is None else " AND k.account_id = ?"
    values: tuple[Value, ...] = () if account_id is None else (account_id,)
    sql = f"{KEY} AND k.id < ?{where} ORDER BY k.id DESC LIMIT ?"
    return look.rows(KeyRow, sql, (below, *values, limited(limit)))


def upstream(look: Look, owner_id: int | None, name: str) -> UpstreamRow | None:
    """The upstream of that owner (None: the operator) and name."""
    return look.row(
        UpstreamRow,
        f"{UPSTREAM} WHERE ifnull(u.account_id, 0) = ? AND u.name = ?",
        (owner_id or 0, name),
    )


def upstream_by_id(look: Look, upstream_id: int) -> UpstreamRow | None:
    return look.row(UpstreamRow, f"{UPSTREAM} WHERE u.id = ?", (upstream_id,))


def upstreams(look: Look, owner_id: int | None, below: int, limit: int) -> list[UpstreamRow]:
    """Of one account, or (None) all."""
    where = "" if owner_id is None else " AND u.account_id = ?"
    values: tuple[Value, ...] = () if owner_id is None else (owner_id,)
    sql = f"{UPSTREAM} WHERE u.id < ?{where} ORDER BY u.id DESC LIMIT ?"
    return look.rows(UpstreamRow, sql, (below, *values, limited(limit)))


def upstreams_of_domain(
    look: Look, owner_id: int | None, domain: str, limit: int
) -> list[UpstreamRow]:
    """Those that senders of the domain are bound to: of one account, or (None) of anybody."""
    ending = f"@{domain}"
    mine = "" if owner_id is None else " AND u.account_id = ?"
    owner: tuple[Value, ...] = () if owner_id is None else (owner_id,)
    return look.rows(
        UpstreamRow,
        f"{UPSTREAM} WHERE u.id IN (SELECT upstream_id FROM sender"
        f" WHERE substr(address_key, -length(?)) = ?){mine} ORDER BY u.id LIMIT ?",
        (ending, ending, *owner, limit),
    )


def as_upstream(row: UpstreamRow, password: Secret | None) -> Upstream:
    """The row as delivery knows it, with its opened password."""
    return Upstream(
        id=row.id,
        name=row.name,
        account_id=row.account_id,
        host=row.host,
        port=row.port,
        encryption=Encryption(row.encryption),
        username=row.username,
        password=password,
        validate=Validate(row.validate),
        pin=row.pin,
        preset=row.preset,
        fallback_id=row.fallback_id,
        edition=row.edition,
        limits=Limits(
            connections=row.connections,
            per_connection=row.per_connection,
            per_minute=row.per_minute,
            recipients=row.recipients,
            daily_cap=row.daily_cap,
        ),
        health=Health(
            state=UpstreamState(row.state),
            reason=row.reason,
            since_ms=row.since,
            probe_at_ms=row.probe_at,
            probes=row.probes,
            last_success_ms=row.last_success,
        ),
        created_at_ms=row.created_at,
        login=Login(row.login),
    )


def sealed(look: Look) -> list[tuple[int, bytes | None, bytes | None]]:
    """(id, sealed password, sealed grant) of every upstream that has one of them."""
    return [
        (row[0], row[1], row[2])
        for row in look.tuples(
            "SELECT id, password, oauth FROM upstream"
            " WHERE password IS NOT NULL OR oauth IS NOT NULL"
        )
    ]


def grant(look: Look, upstream_id: int) -> bytes | None:
    """The sealed grant of an upstream, None where it has none."""
    found = look.tuples("SELECT oauth FROM upstream WHERE id = ?", (upstream_id,))
    return found[0][0] if found else None


def consent(look: Look, state: bytes) -> tuple[int, int, bytes] | None:
    """(upstream, when, sealed) of the consent that was asked for with this state."""
    found = look.tuples("SELECT upstream_id, at, sealed FROM consent WHERE state = ?", (state,))
    return (found[0][0], found[0][1], found[0][2]) if found else None


def key_owner(look: Look, key_id: int) -> int | None:
    """The account of a key, deleted ones included."""
    found = look.value("SELECT account_id FROM api_key WHERE id = ?", (key_id,))
    return None if found is None else int(found)


def senders_by_key(look: Look, address_key: str, account_id: int | None) -> list[int]:
    """The ids of all senders of an address, whoever owns them, but another account's."""
    mine = "" if account_id is None else " AND ifnull(account_id, ?) = ?"
    values: tuple[Value, ...] = () if account_id is None else (account_id, account_id)
    sql = f"SELECT id FROM sender WHERE address_key = ?{mine}"
    return [row[0] for row in look.tuples(sql, (address_key, *values))]


def sender_by_id(look: Look, sender_id: int) -> SenderRow | None:
    return look.row(SenderRow, f"{SENDER} WHERE s.id = ?", (sender_id,))


def senders_of_address(look: Look, owner_id: int | None, address_key: str) -> list[SenderRow]:
    """The owner's senders of this address: one for each upstream that it is bound to."""
    return look.rows(
        SenderRow,
        f"{SENDER} WHERE ifnull(s.account_id, 0) = ? AND s.address_key = ? ORDER BY s.id",
        (owner_id or 0, address_key),
    )


def senders_of_upstream(look: Look, upstream_id: int) -> list[SenderRow]:
    return look.rows(SenderRow, f"{SENDER} WHERE s.upstream_id = ? ORDER BY s.id", (upstream_id,))


def senders(look: Look, account_id: int | None, below: int, limit: int) -> list[SenderRow]:
    """All, or those that the account may use."""
    values: tuple[Value, ...] = ()
    where = ""
    if account_id is not None:
        values = (account_id, account_id)
        where = (
            " AND (s.account_id = ? OR (s.account_id IS NULL AND (s.everyone OR s.id IN"
            " (SELECT sender_id FROM sender_account WHERE account_id = ?))))"
        )
    sql = f"{SENDER} WHERE s.id < ?{where} ORDER BY s.id DESC LIMIT ?"
    return look.rows(SenderRow, sql, (below, *values, limited(limit)))


def assigned(look: Look, sender_id: int) -> list[tuple[int, str]]:
    """(id, name) of the accounts that an operator's sender is assigned to."""
    return [
        (row[0], row[1])
        for row in look.tuples(
            "SELECT a.id, a.name FROM sender_account s JOIN account a ON a.id = s.account_id"
            " WHERE s.sender_id = ? ORDER BY a.name",
            (sender_id,),
        )
    ]


def defaulting(look: Look, address_key: str) -> list[tuple[int, str]]:
    """(id, name) of the accounts whose default sender is this address."""
    return [
        (row[0], row[1])
        for row in look.tuples(
            "SELECT id, name FROM account WHERE lower(default_sender) = ? ORDER BY name",
            (address_key,),
        )
    ]


def used(look: Look, scope: str, scope_id: int, day: int) -> int:
    """Places taken on that UTC day: scope "s" a sender, "u" an upstream."""
    found = look.value(
        "SELECT used FROM place WHERE day = ? AND scope = ? AND scope_id = ?",
        (day, scope, scope_id),
    )
    return int(found or 0)
