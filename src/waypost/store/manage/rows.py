"""Adding, changing and removing rows of accounts, keys, upstreams and senders, and the lines of
credit.

Every function is part of a write transaction that the caller holds. Knows nothing of names: ids
come in.
"""

from __future__ import annotations

from waypost.store.read.book import Look, Value
from waypost.store.read.rows import ClaimRow
from waypost.store.sqlite import caps


def insert(look: Look, table: str, columns: dict[str, Value]) -> int:
    """A new row; its id."""
    names = ", ".join(columns)
    marks = ", ".join("?" * len(columns))
    return look.add(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(columns.values()))


def update(look: Look, table: str, row_id: int, columns: dict[str, Value]) -> None:
    """Sets columns of one row; nothing to set is nothing done."""
    if columns:
        sets = ", ".join(f"{name} = ?" for name in columns)
        look.run(f"UPDATE {table} SET {sets} WHERE id = ?", (*columns.values(), row_id))


def credit(look: Look, account_id: int, amount: int, at_ms: int, note: str) -> None:
    """Changes a balance by `amount`, with its line in the ledger."""
    look.run("UPDATE account SET balance = balance + ? WHERE id = ?", (amount, account_id))
    look.run(
        "INSERT INTO ledger (account_id, at, amount, reason, note, balance)"
        " SELECT id, ?, ?, 'topup', ?, balance FROM account WHERE id = ?",
        (at_ms, amount, note, account_id),
    )


def stand(
    look: Look, account_id: int, word: bytes, change: bytes, at: tuple[int, int]
) -> bytes | None:
    """What this word stood for (digests both); where it stood for nothing, it stands for `change`
    from now on. `at`: now, and since when words count.
    """
    at_ms, since_ms = at
    of = (account_id, word)
    look.run(
        "DELETE FROM idempotency WHERE account_id = ? AND key = ? AND at <= ?",
        (*of, since_ms),
    )
    found = look.value("SELECT body FROM idempotency WHERE account_id = ? AND key = ?", of)
    if found is None:
        look.run(
            "INSERT INTO idempotency (account_id, key, number, body, message_id, at)"
            " VALUES (?, ?, 0, ?, 0, ?)",
            (*of, change, at_ms),
        )
        return None
    return bytes(found)


def assign(look: Look, sender_id: int, account_id: int) -> None:
    """Lets an account use an operator's sender; again is nothing."""
    look.run(
        "INSERT INTO sender_account (sender_id, account_id) VALUES (?, ?) ON CONFLICT DO NOTHING",
        (sender_id, account_id),
    )


def unassign(look: Look, sender_id: int, account_id: int) -> None:
    look.run(
        "DELETE FROM sender_account WHERE sender_id = ? AND account_id = ?", (sender_id, account_id)
    )


def release_senders(look: Look, upstream_id: int) -> None:
    """Ends the hold of every sender bound to the upstream."""
    look.run(
        "UPDATE sender SET held = '', probe_at = 0 WHERE upstream_id = ? AND held <> ''",
        (upstream_id,),
    )


def anew(look: Look, sender_id: int, now_ms: int) -> None:
    """The sender's waiting mail, tried before or not, takes its places under the caps when it is
    put on the wire.

    To be called while the sender is bound to the upstream that it was.
    """
    caps.unplan(look.connection, now_ms, "q.sender_id = ?", (sender_id,))
    caps.give_back(look.connection, now_ms, sender_id)
    look.run(
        "UPDATE queue SET day = 0, capped = 0, due = iif(capped <> 0, ?, due)"
        " WHERE claim = 0 AND sender_id = ?",
        (now_ms, sender_id),
    )
    # What a worker has claimed goes on where it is, or comes back and goes where all goes.
    look.run("UPDATE queue SET day = 0 WHERE claim <> 0 AND sender_id = ?", (sender_id,))


def try_today(look: Look, capped: int, now_ms: int) -> None:
    """What waits for a cap (an upstream's id, or minus a sender's) is looked at again now."""
    caps.unplan(look.connection, now_ms, "q.capped = ?", (capped,))
    look.run(
        "UPDATE queue SET due = ? WHERE capped = ? AND claim = 0 AND due > ?",
        (now_ms, capped, now_ms),
    )


def try_larger(look: Look, scope: str, scope_id: int, cap: int, now_ms: int) -> None:
    """What waits for a cap and is larger than this one alone is looked at now: it can only fail.

    `scope`: `id` of a sender whose cap this is, or `upstream_id`.
    """
    larger = f"s.{scope} = ? AND m.queued > ?"
    caps.unplan(look.connection, now_ms, larger, (scope_id, cap))
    look.run(
        "UPDATE queue SET due = ? WHERE capped <> 0 AND claim = 0 AND due > ?"
        f" AND sender_id IN (SELECT id FROM sender WHERE {scope} = ?)"
        " AND (SELECT queued FROM message WHERE id = message_id) > ?",
        (now_ms, now_ms, scope_id, cap),
    )


def drop_sender(look: Look, sender_id: int) -> None:
    look.run("DELETE FROM sender_account WHERE sender_id = ?", (sender_id,))
    look.run("DELETE FROM sender WHERE id = ?", (sender_id,))


def drop_token(look: Look, token_id: int) -> None:
    look.run("DELETE FROM token WHERE id = ?", (token_id,))


def token_used(look: Look, token_id: int, at_ms: int) -> None:
    look.run("UPDATE token SET last_used_at = ? WHERE id = ?", (at_ms, token_id))


def drop_upstream(look: Look, upstream_id: int) -> None:
    """Removes an upstream that no sender is bound to; who fell back to it no longer does."""
    look.run("UPDATE upstream SET fallback_id = NULL WHERE fallback_id = ?", (upstream_id,))
    look.run("DELETE FROM consent WHERE upstream_id = ?", (upstream_id,))
    look.run("DELETE FROM domain_check WHERE upstream_id = ?", (upstream_id,))
    look.run("DELETE FROM upstream WHERE id = ?", (upstream_id,))


def ask_consent(look: Look, columns: dict[str, Value], oldest_ms: int) -> None:
    """Keeps one that is asked for (columns of its table); lets go of those from before then."""
    look.run("DELETE FROM consent WHERE at < ?", (oldest_ms,))
    insert(look, "consent", columns)


def end_consent(look: Look, state: bytes) -> None:
    look.run("DELETE FROM consent WHERE state = ?", (state,))


def due_now(look: Look, sender_ids: list[int], now_ms: int) -> tuple[int, int]:
    """Unclaimed mail of these senders becomes due, but what its client wants sent later; (messages,
    recipients)."""
    marks = ",".join("?" * len(sender_ids))
    found = look.tuples(
        "SELECT count(*), ifnull(sum(m.queued), 0) FROM queue q JOIN message m"
        " ON m.id = q.message_id WHERE q.claim = 0 AND q.due > ? AND q.due <> m.hold_until"
        f" AND q.sender_id IN ({marks})",
        (now_ms, *sender_ids),
    )
    caps.unplan(look.connection, now_ms, f"q.sender_id IN ({marks})", sender_ids)
    look.run(
        "UPDATE queue SET due = ? WHERE claim = 0 AND due > ?"
        " AND due <> ifnull((SELECT hold_until FROM message WHERE id = message_id), 0)"
        f" AND sender_id IN ({marks})",
        (now_ms, now_ms, *sender_ids),
    )
    return found[0][0], found[0][1]


def message_due_now(look: Look, message_id: int, now_ms: int) -> None:
    caps.unplan(look.connection, now_ms, "q.message_id = ?", (message_id,))
    look.run(
        "UPDATE queue SET due = ? WHERE message_id = ? AND claim = 0 AND due > ?",
        (now_ms, message_id, now_ms),
    )


def unclaim(look: Look, row: ClaimRow) -> None:
    """The message is nobody's any more."""
    look.run(
        "UPDATE queue SET claim = 0 WHERE claim = ? AND sender_id = ? AND account_id = ?"
        " AND due = ? AND message_id = ?",
        (row.claim, row.sender_id, row.account_id, row.due, row.message_id),
    )


def healthy(look: Look, upstream_id: int, now_ms: int) -> None:
    """Ends a pause or a back-off at once; what is still reported of the time before it is not
    kept.
    """
    look.run(
        "UPDATE upstream SET state = 'ok', reason = '', since = ?, probe_at = 0, probes = 0,"
        " edition = edition + 1 WHERE id = ? AND (state <> 'ok' OR probe_at <> 0)",
        (now_ms, upstream_id),
    )


def tell(look: Look, event: dict[str, Value]) -> None:
    """An event (columns of its table), committed with what it tells of."""
    insert(look, "event", event)
