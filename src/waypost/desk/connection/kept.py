"""How an upstream is kept: its columns, its sealed secrets, and how it is shown.

Promises that a password and a token open for their own row alone, and are in no view. Knows nothing
of what may be changed.
"""

from __future__ import annotations

import msgspec

from waypost.core.errors import Secret, StoreAway
from waypost.core.upstream import Health, Login, Upstream, UpstreamState
from waypost.desk.connection.edits import Edited
from waypost.desk.domains.known import states
from waypost.desk.office import Desk, Sealer
from waypost.desk.views import UpstreamView, iso, iso_or_none
from waypost.store.manage import rows
from waypost.store.read import people
from waypost.store.read.book import Look, Value
from waypost.store.read.rows import UpstreamRow
from waypost.upstream.oauth import Grant
from waypost.upstream.seal import SealError

_UNREAD = "stands for a sealed password"


def sealed(sealer: Sealer, upstream_id: int, password: Secret) -> dict[str, Value]:
    """The column of its password."""
    return {"password": sealer.seal(password, _bound_to(upstream_id))}


def sealed_grant(sealer: Sealer, upstream_id: int, grant: Grant) -> dict[str, Value]:
    """The column of what its tokens are got with."""
    text = Secret(msgspec.json.encode(grant).decode())
    return {"oauth": sealer.seal(text, _grant_bound_to(upstream_id))}


def opened_grant(sealer: Sealer, upstream_id: int, blob: bytes) -> Grant:
    """What was sealed for this row. Raises `SealError`."""
    text = sealer.open(blob, _grant_bound_to(upstream_id)).reveal()
    try:
        return msgspec.json.decode(text, type=Grant)
    except msgspec.DecodeError:
        raise SealError("a sealed token is damaged: connect the upstream again") from None


def reseal(desk: Desk, sealer: Sealer) -> int:
    """Seals every password and token anew that an older sealing key sealed, in one transaction; how
    many."""
    with desk.writing() as look:
        done = 0
        for upstream_id, password, oauth in people.sealed(look):
            if password is not None and sealer.stale(password):
                secret = sealer.open(password, _bound_to(upstream_id))
                rows.update(look, "upstream", upstream_id, sealed(sealer, upstream_id, secret))
                done += 1
            if oauth is not None and sealer.stale(oauth):
                grant = opened_grant(sealer, upstream_id, oauth)
                rows.update(look, "upstream", upstream_id, sealed_grant(sealer, upstream_id, grant))
                done += 1
        return done


def columns(edited: Edited) -> dict[str, Value]:
    """Those of the settings."""
    new = edited.settings
    return {
        "host": new.host,
        "port": new.port,
        "encryption": new.encryption.value,
        "username": new.username,
        "validate": new.validate.value,
        "preset": new.preset,
        "connections": new.limits.connections,
        "per_connection": new.limits.per_connection,
        "per_minute": new.limits.per_minute,
        "recipients": new.limits.recipients,
        "daily_cap": new.limits.daily_cap,
        "login": edited.login.value,
    }


def unsaved(name: str, owner: int | None, edited: Edited, created_at_ms: int) -> Upstream:
    """The upstream as it would be saved. Where its tokens are still to be got it has no user name:
    then no login is tried."""
    new = edited.settings
    waits = edited.login is Login.XOAUTH2 and edited.moved
    return Upstream(
        id=0,
        name=name,
        account_id=owner,
        host=new.host,
        port=new.port,
        encryption=new.encryption,
        username="" if waits else new.username,
        password=edited.password,
        validate=new.validate,
        pin="",
        preset=new.preset,
        fallback_id=None,
        edition=1,
        limits=new.limits,
        health=Health(),
        created_at_ms=created_at_ms,
        login=edited.login,
    )


def opened(desk: Desk, row: UpstreamRow) -> Upstream:
    """With its password."""
    blob = row.password
    secret = None if blob is None else desk.sealer.open(blob, _bound_to(row.id))
    return people.as_upstream(row, secret)


def closed(row: UpstreamRow) -> Upstream:
    """The row, its password unopened: an edit needs no sealing key to leave or replace it."""
    return people.as_upstream(row, None if row.password is None else Secret(_UNREAD))


def view(look: Look, desk: Desk, row: UpstreamRow) -> UpstreamView:
    """As it is shown."""
    bound = people.senders_of_upstream(look, row.id)
    without = row.login == Login.PASSWORD.value and row.password is None
    shut = _unopened(desk, row)
    return UpstreamView(
        id=row.id,
        name=row.name,
        account=row.account,
        host=row.host,
        port=row.port,
        encryption=row.encryption,
        username=row.username,
        login="none" if without else row.login,
        has_password=row.password is not None,
        connected=row.oauth is not None if row.login == Login.XOAUTH2.value else None,
        validate=row.validate,
        pin=row.pin,
        preset=row.preset,
        fallback=row.fallback,
        through=row.fallback if _failed_over(row) else None,
        connections=row.connections,
        per_connection=row.per_connection,
        per_minute=row.per_minute,
        recipients=row.recipients,
        daily_cap=row.daily_cap,
        used_today=people.used(look, "u", row.id, desk.today()),
        state=UpstreamState.PAUSED.value if shut else row.state,
        reason=shut or row.reason,
        since=iso_or_none(row.since),
        next_probe_at=iso_or_none(row.probe_at),
        last_success_at=iso_or_none(row.last_success),
        last_error=row.last_error or None,
        senders=tuple(sender.address for sender in bound),
        domains=states(look, row.id),
        created_at=iso(row.created_at),
    )


def _unopened(desk: Desk, row: UpstreamRow) -> str:
    """Why its password does not open, so that the relay treats it as paused; empty: it does, or
    that cannot be seen from here."""
    try:
        opened(desk, row)
    except SealError as error:
        return f"its password cannot be opened: {error.public}"
    except StoreAway as error:
        lost = not desk.key_file.exists()
        return f"its password cannot be opened: {error.public}" if lost else ""
    return ""


def _failed_over(row: UpstreamRow) -> bool:
    return row.state != UpstreamState.OK.value and row.fallback_state == UpstreamState.OK.value


def _bound_to(upstream_id: int) -> bytes:
    return f"upstream:{upstream_id}:password".encode()


def _grant_bound_to(upstream_id: int) -> bytes:
    return f"upstream:{upstream_id}:grant".encode()
