"""Keys: made, listed, disabled, rotated, deleted. The secret is shown once and kept as SHA-256
only.

The digest is of the whole secret, prefix included. Knows nothing of sessions.
"""

from __future__ import annotations

import hashlib
import string

import msgspec

from waypost.core.errors import NotFound, UsageError
from waypost.core.facts import RecipientsFrom
from waypost.desk.office import NEWEST, Desk, account_of, asker, limit_of, name_of, number_of
from waypost.desk.views import KeyView, iso, iso_or_none
from waypost.store.manage import rows
from waypost.store.read import people
from waypost.store.read.book import Look, Value
from waypost.store.read.rows import KeyRow

ALPHABET = string.ascii_letters + string.digits
SECRET_CHARACTERS = 40  # of 62: 238 bits
SHOWN_CHARACTERS = 4


def create(desk: Desk, account: str, *, name: str = "", recipients: str = "headers") -> KeyView:
    """A new key; the view holds its secret, this once."""
    if name:
        name_of(name, "name")
    kinds = [kind.value for kind in RecipientsFrom]
    if recipients not in kinds:
        raise UsageError(f"recipients is one of {', '.join(kinds)}", "recipients")
    secret, columns = _secret(desk)
    with desk.writing() as look:
        columns |= {
            "account_id": account_of(look, account).id,
            "name": name,
            "recipients": recipients,
            "created_at": desk.clock.wall_ms(),
        }
        key_id = rows.insert(look, "api_key", columns)
        return msgspec.structs.replace(_view(_key(look, key_id, None)), key=secret)


def list_(
    desk: Desk, *, account: str | None = None, below: int = NEWEST, limit: int = 100
) -> list[KeyView]:
    """Newest first, with a number below that; deleted keys are not there."""
    with desk.reading() as look:
        found = people.keys(look, asker(look, account), below, limit_of(limit))
        return [_view(row) for row in found]


def show(desk: Desk, key_id: int, *, account: str | None = None) -> KeyView:
    with desk.reading() as look:
        return _view(_key(look, key_id, account))


def disable(desk: Desk, key_id: int, *, account: str | None = None) -> KeyView:
    """Dead at once on every session; what it submitted goes on."""
    return _changed(desk, key_id, account, {"enabled": False})


def enable(desk: Desk, key_id: int, *, account: str | None = None) -> KeyView:
    return _changed(desk, key_id, account, {"enabled": True})


def rotate(desk: Desk, key_id: int, *, account: str | None = None) -> KeyView:
    """A new secret for the same key, shown this once; the old one stops at once."""
    secret, columns = _secret(desk)
    return msgspec.structs.replace(_changed(desk, key_id, account, columns), key=secret)


def delete(desk: Desk, key_id: int, *, account: str | None = None) -> KeyView:
    """Gone for good; its name stays in the log. The view is of the key as it was, disabled."""
    with desk.writing() as look:
        row = _key(look, key_id, account)
        gone: dict[str, Value] = {"enabled": False, "deleted_at": desk.clock.wall_ms()}
        rows.update(look, "api_key", row.id, gone)
        return _view(msgspec.structs.replace(row, enabled=False))


def _changed(desk: Desk, key_id: int, account: str | None, columns: dict[str, Value]) -> KeyView:
    with desk.writing() as look:
        rows.update(look, "api_key", _key(look, key_id, account).id, columns)
        return _view(_key(look, key_id, account))


def _secret(desk: Desk) -> tuple[str, dict[str, Value]]:
    """A new secret and the columns that keep what may be kept of it."""
    secret = desk.key_prefix + desk.clock.token(ALPHABET, SECRET_CHARACTERS)
    digest = hashlib.sha256(secret.encode()).digest()
    return secret, {"digest": digest, "last4": secret[-SHOWN_CHARACTERS:]}


def _key(look: Look, key_id: int, account: str | None) -> KeyRow:
    owner = asker(look, account)
    found = people.key(look, number_of(key_id, "key"))
    if found is None or owner not in (None, found.account_id):
        raise NotFound(f"there is no key {key_id}")
    return found


def _view(row: KeyRow) -> KeyView:
    return KeyView(
        id=row.id,
        account=row.account,
        name=row.name,
        enabled=row.enabled,
        last4=row.last4,
        recipients=row.recipients,
        created_at=iso(row.created_at),
        last_used_at=iso_or_none(row.last_used_at),
    )
