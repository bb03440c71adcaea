"""Tokens of the management API, by number or by the SHA-256 of their secret.

What is not there is None; lists are newest first. Knows nothing of what a token may do.
"""

from __future__ import annotations

import msgspec

from waypost.store.read.book import Look, Value
from waypost.store.read.people import limited

TOKEN = (
    "SELECT t.id, t.account_id, a.name, ifnull(a.enabled, 1), t.name, t.last4, t.created_at,"
    " t.last_used_at FROM token t LEFT JOIN account a ON a.id = t.account_id"
)


class TokenRow(msgspec.Struct, frozen=True):
    """`account` is a name; None, like its id, for every account. `enabled`: the account is."""

    id: int
    account_id: int | None
    account: str | None
    enabled: bool
    name: str
    last4: str
    created_at: int
    last_used_at: int | None


def by_id(look: Look, token_id: int) -> TokenRow | None:
    return look.row(TokenRow, f"{TOKEN} WHERE t.id = ?", (token_id,))


def by_digest(look: Look, digest: bytes) -> TokenRow | None:
    return look.row(TokenRow, f"{TOKEN} WHERE t.digest = ?", (digest,))


def tokens(look: Look, account_id: int | None, below: int, limit: int) -> list[TokenRow]:
    """All, or those of one account; with a number below that."""
    mine = "" if account_id is None else " AND t.account_id = ?"
    values: tuple[Value, ...] = () if account_id is None else (account_id,)
    sql = f"{TOKEN} WHERE t.id < ?{mine} ORDER BY t.id DESC LIMIT ?"
    return look.rows(TokenRow, sql, (below, *values, limited(limit)))
