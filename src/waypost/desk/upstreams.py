"""Upstreams: the SMTP servers that mail goes out through, with sealed passwords.

An edit is a new edition: kept connections are closed, a pause or back-off ends at once. Pointing a
kept password at another host, port or user name asks for it again. Knows nothing of connections;
the test of one is its caller's, with `draft`.
"""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from waypost.core.address import Address
from waypost.core.errors import NotFound, Secret, UsageError, WrongState
from waypost.core.event import Kind
from waypost.core.upstream import Health, Upstream, UpstreamState
from waypost.desk import queue, senders
from waypost.desk.office import (
    Desk,
    Sealer,
    account_of,
    address_of,
    asker,
    limit_of,
    name_of,
    note_of,
    shown,
)
from waypost.desk.views import UpstreamView, iso, iso_or_none
from waypost.store.manage import rows
from waypost.store.read import people
from waypost.store.read.book import Look, Value
from waypost.store.read.rows import UpstreamRow
from waypost.upstream import settings
from waypost.upstream.settings import Form, Settings

_UNREAD = "stands for a sealed password"
PAUSED_BY_HAND = "paused by its owner"


class Fields(msgspec.Struct, frozen=True, kw_only=True):
    """What was said of an upstream; UNSET was not.

    `password` None takes it away. `pin`: what the connection test decided. `fallback`: the name of
    another upstream of the same owner, None for none. `sender` and `from_name` are for a new one.
    """

    form: Form = Form()
    password: Secret | UnsetType | None = UNSET
    pin: str | UnsetType = UNSET
    fallback: str | UnsetType | None = UNSET
    sender: str | UnsetType = UNSET
    from_name: str = ""


def draft(desk: Desk, name: str, fields: Fields, *, account: str | None = None) -> Upstream:
    """The upstream as `add` or `change` would save it, unsaved, for the connection test.

    Raises what they would raise for wrong arguments.
    """
    with desk.reading() as look:
        owner = asker(look, account)
        row = people.upstream(look, owner, name)
        if row is None:
            new = settings.complete(fields.form, _sender_of(fields))
            password = fields.password if isinstance(fields.password, Secret) else None
            new = _login(new, fields, password, owner)
            return _upstream(name, owner, new, password, desk.clock.wall_ms())
        old = _opened(desk, row) if fields.password is UNSET else _closed(row)
        new, password = _edited(old, fields)
        made = _upstream(name, owner, new, password, old.created_at_ms)
        pin = _pin(old, new, fields)
        return msgspec.structs.replace(made, id=old.id, edition=old.edition + 1, pin=pin)


def add(
    desk: Desk,
    name: str,
    fields: Fields,
    *,
    account: str | None = None,
    for_account: str | None = None,
) -> UpstreamView:
    """A new upstream with its sender.

    `account`: the account's own, its sender too. `for_account`: the operator's, its sender
    assigned to that account. Neither: the operator's, its sender global. Raises `UsageError`, or
    `WrongState` where the name is taken or the sender is bound elsewhere.
    """
    name_of(name, "name")
    senders.checked_from_name(fields.from_name)
    if account is not None and for_account is not None:
        raise UsageError("say --account or --for, not both", "account")
    sender = _sender_of(fields)
    new = settings.complete(fields.form, sender)
    now = desk.clock.wall_ms()
    with desk.writing() as look:
        owner = asker(look, account)
        user = None if for_account is None else account_of(look, for_account).id
        if people.upstream(look, owner, name) is not None:
            raise WrongState(
                f"there is an upstream {shown(name)} already: `upstream set` changes it"
            )
        password = fields.password if isinstance(fields.password, Secret) else None
        columns = _columns(_login(new, fields, password, owner))
        columns |= {
            "account_id": owner,
            "name": name,
            "pin": "" if fields.pin is UNSET else fields.pin,
            "fallback_id": _fallback(look, owner, name, fields.fallback),
            "created_at": now,
        }
        upstream_id = rows.insert(look, "upstream", columns)
        if password is not None:
            rows.update(look, "upstream", upstream_id, _sealed(desk.sealer, upstream_id, password))
        senders.bind(
            look,
            now,
            senders.Binding(
                address=sender,
                owner_id=owner,
                upstream_id=upstream_id,
                everyone=owner is None and user is None,
                assign=() if user is None else (user,),
                from_name=fields.from_name,
            ),
        )
        return _view(look, desk, _row(look, owner, name))


def change(desk: Desk, name: str, fields: Fields, *, account: str | None = None) -> UpstreamView:
    """Changes what is said: a new edition, tried at once.

    A `sender` said here is bound to it as well. Raises `UsageError` (field `password`) where a new
    host, port or user name asks for the password again.
    """
    senders.checked_from_name(fields.from_name)
    with desk.writing() as look:
        owner = asker(look, account)
        row = _row(look, owner, name)
        old = _closed(row)
        new, password = _edited(old, fields)
        columns = _columns(new)
        columns |= {"edition": row.edition + 1, "pin": _pin(old, new, fields)}
        if isinstance(fields.password, Secret):
            columns |= _sealed(desk.sealer, row.id, fields.password)
        elif password is None:
            columns["password"] = None
        if fields.fallback is not UNSET:
            columns["fallback_id"] = _fallback(look, owner, name, fields.fallback)
        rows.update(look, "upstream", row.id, columns)
        _free(look, row.id, desk.clock.wall_ms())
        caps = (row.daily_cap, new.limits.daily_cap)
        senders.cap_changed(look, "upstream_id", row.id, caps, desk.clock.wall_ms())
        if fields.sender is not UNSET:
            _bind_also(look, desk, row, fields)
        return _view(look, desk, _row(look, owner, name))


def pause(
    desk: Desk, name: str, *, account: str | None = None, reason: str = PAUSED_BY_HAND
) -> UpstreamView:
    """Nothing new goes on the wire until `resume` or an edit."""
    note_of(reason, "reason")
    now = desk.clock.wall_ms()
    with desk.writing() as look:
        row = _row(look, asker(look, account), name)
        _paused(look, row, reason, now)
        return _view(look, desk, _row(look, row.account_id, name))


def resume(desk: Desk, name: str, *, account: str | None = None) -> UpstreamView:
    """Ends a pause, a back-off, and the holds of its senders, at once."""
    with desk.writing() as look:
        row = _row(look, asker(look, account), name)
        _free(look, row.id, desk.clock.wall_ms())
        return _view(look, desk, _row(look, row.account_id, name))


def trust(
    desk: Desk, name: str, pin: str | None = None, *, account: str | None = None
) -> UpstreamView:
    """Accepts what `pin` names; None: what the next connection shows. Ends a pause."""
    if pin is not None and not (
        pin == "verified" or (pin.startswith(("name:", "key:")) and pin.isprintable())
    ):
        raise UsageError("a pin is verified, name:HOST or key:HEX", "pin")
    with desk.writing() as look:
        row = _row(look, asker(look, account), name)
        rows.update(look, "upstream", row.id, {"pin": pin or "", "edition": row.edition + 1})
        _free(look, row.id, desk.clock.wall_ms())
        return _view(look, desk, _row(look, row.account_id, name))


def remove(
    desk: Desk, name: str, *, account: str | None = None, fail: bool = False
) -> UpstreamView:
    """Takes an upstream and its senders away; the view is as it was.

    Raises `WrongState` while mail is queued for it, unless `fail`, which fails and refunds that
    first.
    """
    reason = f"the upstream {name} was removed"
    with desk.reading() as look:
        row = _row(look, asker(look, account), name)
        was = _view(look, desk, row)
        bound = [sender.id for sender in people.senders_of_upstream(look, row.id)]
    if fail:
        with desk.writing() as look:  # nothing new goes on the wire
            _paused(look, _row(look, row.account_id, name), "it is being removed", row.since)
        queue.emptied(desk, bound, reason)
    with desk.writing() as look:
        bound = [sender.id for sender in people.senders_of_upstream(look, row.id)]
        gone = queue.last_of(look, desk, bound, reason, fail=fail)
        for sender_id in bound:
            rows.drop_sender(look, sender_id)
        rows.drop_upstream(look, row.id)
    desk.unlink(gone)
    return was


def show(desk: Desk, name: str, *, account: str | None = None) -> UpstreamView:
    with desk.reading() as look:
        return _view(look, desk, _row(look, asker(look, account), name))


def list_(desk: Desk, *, account: str | None = None, limit: int = 100) -> list[UpstreamView]:
    """All, or one account's own; newest first."""
    with desk.reading() as look:
        found = people.upstreams(look, asker(look, account), limit_of(limit))
        return [_view(look, desk, row) for row in found]


def load(desk: Desk, name: str, *, account: str | None = None, opened: bool = True) -> Upstream:
    """The upstream for a connection test; `opened`: with its password."""
    with desk.reading() as look:
        row = _row(look, asker(look, account), name)
        return _opened(desk, row) if opened else _closed(row)


def reseal(desk: Desk, sealer: Sealer) -> int:
    """Seals every password anew that an older sealing key sealed, in one transaction; how many."""
    with desk.writing() as look:
        done = 0
        for upstream_id, blob in people.sealed(look):
            if sealer.stale(blob):
                secret = sealer.open(blob, _bound_to(upstream_id))
                rows.update(look, "upstream", upstream_id, _sealed(sealer, upstream_id, secret))
                done += 1
        return done


def _row(look: Look, owner: int | None, name: str) -> UpstreamRow:
    found = people.upstream(look, owner, name)
    if found is None:
        raise NotFound(f"there is no upstream {shown(name)}")
    return found


def _edited(old: Upstream, fields: Fields) -> tuple[Settings, Secret | None]:
    """The settings and the password after an edit."""
    new = settings.change(old, fields.form)
    asks = old.password is not None and settings.asks_password(old, new)
    if asks and fields.password is UNSET:
        raise UsageError(
            "the kept password is for another host, port or user name: give it again",
            "password",
        )
    password = old.password if fields.password is UNSET else fields.password
    return _login(new, fields, password, old.account_id), password


def _login(new: Settings, fields: Fields, password: Secret | None, owner: int | None) -> Settings:
    """A login is a user name and a password; only the operator's upstream may do without."""
    if password is not None:
        if not password.reveal() or not new.username:
            raise UsageError("a login is a user name and a password, neither empty", "password")
        return new
    if owner is not None:
        raise UsageError("an account's upstream needs a password", "password")
    if fields.form.username is not UNSET and fields.form.username:
        raise UsageError("a user name needs a password", "password")
    return msgspec.structs.replace(new, username="")


def _pin(old: Upstream, new: Settings, fields: Fields) -> str:
    """What was pinned is for the server that it was seen at."""
    if fields.pin is not UNSET:
        return fields.pin
    same = (old.host, old.port, old.encryption, old.validate) == (
        new.host,
        new.port,
        new.encryption,
        new.validate,
    )
    return old.pin if same else ""


def _sender_of(fields: Fields) -> Address:
    if fields.sender is UNSET:
        raise UsageError("name the sender that the upstream is for", "sender")
    return address_of(fields.sender, "sender")


def _bind_also(look: Look, desk: Desk, row: UpstreamRow, fields: Fields) -> None:
    """The sender named in an edit; one that is bound here already gets its name set."""
    address = _sender_of(fields)
    for sender in people.senders_of_address(look, row.account_id, address.key):
        if sender.upstream_id == row.id:
            if fields.from_name:
                rows.update(look, "sender", sender.id, {"from_name": fields.from_name})
            return
    binding = senders.Binding(
        address=address,
        owner_id=row.account_id,
        upstream_id=row.id,
        everyone=row.account_id is None,
        from_name=fields.from_name,
    )
    senders.bind(look, desk.clock.wall_ms(), binding)


def _fallback(
    look: Look, owner: int | None, name: str, fallback: str | UnsetType | None
) -> int | None:
    if fallback is UNSET or fallback is None:
        return None
    if fallback == name:
        raise UsageError("an upstream cannot fall back to itself", "fallback")
    return _row(look, owner, fallback).id


def _paused(look: Look, row: UpstreamRow, reason: str, now_ms: int) -> None:
    # A new edition, so that what a relay still reports of the time before cannot end the pause.
    rows.update(
        look,
        "upstream",
        row.id,
        {
            "state": UpstreamState.PAUSED.value,
            "reason": reason,
            "since": now_ms,
            "probe_at": 0,
            "edition": row.edition + 1,
        },
    )
    if row.state != UpstreamState.PAUSED:
        event: dict[str, Value] = {
            "at": now_ms,
            "kind": Kind.UPSTREAM_PAUSED.value,
            "text": f"upstream {row.name}: {reason}",
            "account_id": row.account_id,
            "upstream_id": row.id,
        }
        rows.tell(look, event)


def _free(look: Look, upstream_id: int, now_ms: int) -> None:
    rows.healthy(look, upstream_id, now_ms)
    rows.release_senders(look, upstream_id)


def _bound_to(upstream_id: int) -> bytes:
    return f"upstream:{upstream_id}:password".encode()


def _sealed(sealer: Sealer, upstream_id: int, password: Secret) -> dict[str, Value]:
    return {"password": sealer.seal(password, _bound_to(upstream_id))}


def _columns(new: Settings) -> dict[str, Value]:
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
    }


def _upstream(
    name: str, owner: int | None, new: Settings, password: Secret | None, created_at_ms: int
) -> Upstream:
    return Upstream(
        id=0,
        name=name,
        account_id=owner,
        host=new.host,
        port=new.port,
        encryption=new.encryption,
        username=new.username,
        password=password,
        validate=new.validate,
        pin="",
        preset=new.preset,
        fallback_id=None,
        edition=1,
        limits=new.limits,
        health=Health(),
        created_at_ms=created_at_ms,
    )


def _opened(desk: Desk, row: UpstreamRow) -> Upstream:
    blob = row.password
    secret = None if blob is None else desk.sealer.open(blob, _bound_to(row.id))
    return people.as_upstream(row, secret)


def _closed(row: UpstreamRow) -> Upstream:
    """The row, its password unopened: an edit needs no sealing key to leave or replace it."""
    return people.as_upstream(row, None if row.password is None else Secret(_UNREAD))


def _view(look: Look, desk: Desk, row: UpstreamRow) -> UpstreamView:
    bound = people.senders_of_upstream(look, row.id)
    return UpstreamView(
        id=row.id,
        name=row.name,
        account=row.account,
        host=row.host,
        port=row.port,
        encryption=row.encryption,
        username=row.username,
        has_password=row.password is not None,
        validate=row.validate,
        pin=row.pin,
        preset=row.preset,
        fallback=row.fallback,
        connections=row.connections,
        per_connection=row.per_connection,
        per_minute=row.per_minute,
        recipients=row.recipients,
        daily_cap=row.daily_cap,
        used_today=people.used(look, "u", row.id, desk.today()),
        state=row.state,
        reason=row.reason,
        since=iso_or_none(row.since),
        next_probe_at=iso_or_none(row.probe_at),
        last_success_at=iso_or_none(row.last_success),
        senders=tuple(sender.address for sender in bound),
        created_at=iso(row.created_at),
    )
