"""Who needs help, and which caps there are: upstreams that do not go, held senders, places taken.

Settings are few; still every list has a limit. An account sees its own, and the operator's senders
that it may use. Knows nothing of what to do about them.
"""

from __future__ import annotations

import msgspec

from waypost.store.read.book import Look, Value

_MINE = "(s.account_id = :a OR (s.account_id IS NULL AND (s.everyone OR EXISTS (SELECT 1 FROM"
_MINE += " sender_account x WHERE x.sender_id = s.id AND x.account_id = :a))))"


class SickUpstream(msgspec.Struct, frozen=True):
    name: str
    account: str | None
    state: str
    reason: str
    since: int
    probe_at: int


class HeldSender(msgspec.Struct, frozen=True):
    address: str
    account: str | None
    held: str
    probe_at: int


class Lane(msgspec.Struct, frozen=True):
    """What waits of one sender, of one account or all. `more`: it was not counted to the end."""

    upstream_id: int
    upstream: str
    owner: str | None
    state: str
    reason: str
    probe_at: int
    held: str
    queued: int
    more: bool
    oldest: int | None
    due: int | None
    words: str


def upstreams(look: Look, account_id: int | None, limit: int) -> list[SickUpstream]:
    """Those that are not ok: of all, or of the account (the operator's are the operator's)."""
    mine = "" if account_id is None else " AND u.account_id = ?"
    values: tuple[Value, ...] = () if account_id is None else (account_id,)
    return look.rows(
        SickUpstream,
        "SELECT u.name, a.name, u.state, u.reason, u.since, u.probe_at FROM upstream u"
        f" LEFT JOIN account a ON a.id = u.account_id WHERE u.state <> 'ok'{mine}"
        " ORDER BY u.state = 'failing', u.since LIMIT ?",
        (*values, limit),
    )


def held(look: Look, account_id: int | None, limit: int) -> list[HeldSender]:
    """Senders whose mail waits."""
    mine = "" if account_id is None else " AND s.account_id = ?"
    values: tuple[Value, ...] = () if account_id is None else (account_id,)
    return look.rows(
        HeldSender,
        "SELECT s.address, a.name, s.held, s.probe_at FROM sender s"
        f" LEFT JOIN account a ON a.id = s.account_id WHERE s.held <> ''{mine} LIMIT ?",
        (*values, limit),
    )


def caps(
    look: Look, account_id: int | None, day: int, limit: int
) -> list[tuple[str, str, int, int]]:
    """(sender or upstream, name, cap, places taken today), the fullest first."""
    values: list[Value] = [day, limit] if account_id is None else [account_id, day, limit]
    mine = "1" if account_id is None else _MINE.replace(":a", "?1")
    own = "1" if account_id is None else "u.account_id = ?1"
    at, most = ("?1", "?2") if account_id is None else ("?2", "?3")
    taken = (
        "ifnull((SELECT used FROM place WHERE scope = '{}' AND scope_id = {}.id AND day = {}), 0)"
    )
    found = look.tuples(
        "SELECT what, name, cap, used FROM ("
        f"SELECT 'sender' AS what, s.address AS name, s.daily_cap AS cap,"
        f" {taken.format('s', 's', at)} AS used FROM sender s"
        f" WHERE s.daily_cap IS NOT NULL AND {mine} UNION ALL"
        f" SELECT 'upstream', u.name, u.daily_cap, {taken.format('u', 'u', at)} FROM upstream u"
        f" WHERE u.daily_cap IS NOT NULL AND {own}) ORDER BY 1.0 * used / cap DESC LIMIT {most}",
        values,
    )
    return [(row[0], row[1], row[2], row[3]) for row in found]


def any_upstream(look: Look, account_id: int | None) -> bool:
    """Whether there is a sender that the account may use, or any upstream."""
    if account_id is None:
        return look.value("SELECT 1 FROM upstream LIMIT 1") is not None
    sql = f"SELECT 1 FROM sender s WHERE {_MINE.replace(':a', '?1')} LIMIT 1"
    return look.value(sql, (account_id,)) is not None


def any_key(look: Look, account_id: int | None) -> bool:
    mine = "" if account_id is None else " AND account_id = ?"
    values: tuple[Value, ...] = () if account_id is None else (account_id,)
    sql = f"SELECT 1 FROM api_key WHERE deleted_at IS NULL{mine} LIMIT 1"
    return look.value(sql, values) is not None


def lanes(look: Look, account_id: int | None, limit: int, count_most: int) -> list[Lane]:
    """What waits, by sender, up to `limit` senders, together counted up to `count_most` messages
    and a few more."""
    made: list[Lane] = []
    senders = _waiting_senders(look, account_id, limit)
    count_most //= max(len(senders), 1)
    for sender_id in senders:
        mine = "" if account_id is None else " AND account_id = ?2"
        values: tuple[Value, ...] = (sender_id,) if account_id is None else (sender_id, account_id)
        counted = look.tuples(
            "SELECT count(*), min(message_id), min(due) FROM (SELECT message_id, due FROM queue"
            f" WHERE claim = 0 AND sender_id = ?1{mine} LIMIT {count_most + 1})",
            values,
        )[0]
        words = look.value(
            f"SELECT reason FROM queue WHERE claim = 0 AND sender_id = ?1{mine}"
            " ORDER BY account_id, due LIMIT 1",
            values,
        )
        of = look.tuples(
            "SELECT u.id, u.name, a.name, u.state, u.reason, u.probe_at, s.held FROM sender s"
            " JOIN upstream u ON u.id = s.upstream_id LEFT JOIN account a ON a.id = u.account_id"
            " WHERE s.id = ?",
            (sender_id,),
        )
        if of:
            upstream_id, upstream, owner, state, reason, probe_at, hold = of[0]
            count, oldest, due = counted
            made.append(
                Lane(
                    upstream_id=upstream_id,
                    upstream=upstream,
                    owner=owner,
                    state=state,
                    reason=reason,
                    probe_at=probe_at,
                    held=hold,
                    queued=min(count, count_most),
                    more=count > count_most,
                    oldest=oldest,
                    due=due,
                    words=str(words or ""),
                )
            )
    return made


def _waiting_senders(look: Look, account_id: int | None, limit: int) -> list[int]:
    """The ids of senders with unclaimed mail: a look-up a sender, whatever waits, until enough are
    found. Not along the queue: there an account may be behind any number of others."""
    mine = "" if account_id is None else " AND q.account_id = ?"
    values: tuple[Value, ...] = () if account_id is None else (account_id,)
    found = look.tuples(
        "SELECT s.id FROM sender s WHERE EXISTS (SELECT 1 FROM queue q WHERE q.claim = 0"
        f" AND q.sender_id = s.id{mine}) ORDER BY s.id LIMIT ?",
        (*values, limit),
    )
    return [row[0] for row in found]
