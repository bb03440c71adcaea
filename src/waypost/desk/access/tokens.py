"""Tokens of the management API: made, listed, deleted, and known again.

A token manages every account, or one. The secret is shown once and kept as SHA-256; it is of
another table and another form than a key, so that neither opens what is the other's. Knows nothing
of what a token is used for.
"""

from __future__ import annotations

import contextlib
import hashlib

import msgspec

from waypost.core.errors import NotFound, Secret, StoreAway
from waypost.desk.keys import ALPHABET, SECRET_CHARACTERS, SHOWN_CHARACTERS
from waypost.desk.office import NEWEST, Desk, asker, limit_of, name_of, number_of
from waypost.desk.views import View, iso, iso_or_none
from waypost.store.manage import rows
from waypost.store.read import tokens
from waypost.store.read.tokens import TokenRow

PREFIX = "waypost-token-"
SECRET_OCTETS = len(PREFIX) + SECRET_CHARACTERS
USED_MS = 60_000
"""How often its last use is written at most."""


class TokenView(View):
    """`account` null: it manages every account. `token`: the secret, only when it is made."""

    id: int
    account: str | None
    name: str
    last4: str
    created_at: str
    last_used_at: str | None
    token: str | msgspec.UnsetType = msgspec.UNSET


class Holder(msgspec.Struct, frozen=True):
    """Whose call it is: of everybody's manager (`account` None), or of one account's."""

    token_id: int
    name: str
    account: str | None
    enabled: bool  # the account is


def create(desk: Desk, *, name: str = "", account: str | None = None) -> TokenView:
    """A new token; the view holds its secret, this once. Raises `NotFound`, `UsageError`."""
    if name:
        name_of(name, "name")
    secret = PREFIX + desk.clock.token(ALPHABET, SECRET_CHARACTERS)
    with desk.writing() as look:
        token_id = rows.insert(
            look,
            "token",
            {
                "account_id": asker(look, account),
                "name": name,
                "digest": _digest(Secret(secret)),
                "last4": secret[-SHOWN_CHARACTERS:],
                "created_at": desk.clock.wall_ms(),
            },
        )
        row = tokens.by_id(look, token_id)
        if row is None:
            raise NotFound(f"there is no token {token_id}")
        return msgspec.structs.replace(_view(row), token=secret)


def list_(
    desk: Desk, *, account: str | None = None, below: int = NEWEST, limit: int = 100
) -> list[TokenView]:
    """Newest first; with a number below that."""
    with desk.reading() as look:
        found = tokens.tokens(look, asker(look, account), below, limit_of(limit))
        return [_view(row) for row in found]


def delete(desk: Desk, token_id: int) -> TokenView:
    """It is refused from its next call on. The view is of the token as it was."""
    with desk.writing() as look:
        row = tokens.by_id(look, number_of(token_id, "token"))
        if row is None:
            raise NotFound(f"there is no token {token_id}")
        rows.drop_token(look, token_id)
        return _view(row)


def admit(desk: Desk, secret: Secret) -> Holder | None:
    """Who holds this secret, None where nobody does. Notes the use. Raises `StoreAway`.

    The secret is looked up by its digest: a wrong one takes as long whatever it resembles.
    """
    with desk.reading() as look:
        row = tokens.by_digest(look, _digest(secret))
    if row is None:
        return None
    now = desk.clock.wall_ms()
    if row.last_used_at is None or not now - USED_MS < row.last_used_at <= now:
        with contextlib.suppress(StoreAway), desk.noting() as look:
            rows.token_used(look, row.id, now)
    return Holder(row.id, row.name, row.account, row.enabled)


def _digest(secret: Secret) -> bytes:
    return hashlib.sha256(secret.reveal().encode("utf-8", "surrogateescape")).digest()


def _view(row: TokenRow) -> TokenView:
    return TokenView(
        id=row.id,
        account=row.account,
        name=row.name,
        last4=row.last4,
        created_at=iso(row.created_at),
        last_used_at=iso_or_none(row.last_used_at),
    )
