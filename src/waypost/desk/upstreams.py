"""Upstreams: the SMTP servers that mail goes out through, with sealed passwords.

An edit is a new edition: kept connections are closed, a pause or back-off ends at once. Pointing a
kept password at another host, port or user name asks for it again. Knows nothing of connections;
the test of one is its caller's, with `draft`.
"""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from waypost.core.errors import NotFound, Secret, UsageError, WrongState
from waypost.core.event import Kind
from waypost.core.upstream import Login, Upstream, UpstreamState
from waypost.desk import queue, senders
from waypost.desk.connection import edits, kept
from waypost.desk.connection.edits import Fields
from waypost.desk.office import NEWEST, Desk, account_of, asker, limit_of, name_of, note_of, shown
from waypost.desk.views import UpstreamView
from waypost.store.manage import rows
from waypost.store.read import people
from waypost.store.read.book import Look, Value
from waypost.store.read.rows import UpstreamRow
from waypost.upstream.oauth import Grant

PAUSED_BY_HAND = "paused by its owner"


def draft(desk: Desk, name: str, fields: Fields, *, account: str | None = None) -> Upstream:
    """The upstream as `add` or `change` would save it, unsaved, for the connection test.

    Raises what they would raise for wrong arguments.
    """
    with desk.reading() as look:
        owner = asker(look, account)
        row = people.upstream(look, owner, name)
        if row is None:
            new = edits.made(fields, owner)
            return kept.unsaved(name, owner, new, desk.clock.wall_ms())
        old = kept.opened(desk, row) if fields.password is UNSET else kept.closed(row)
        new = edits.edited(old, fields, bound=desk.bound)
        made = kept.unsaved(name, owner, new, old.created_at_ms)
        pin = edits.pin_of(old, new.settings, fields)
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
    sender = edits.sender_of(fields)
    now = desk.clock.wall_ms()
    with desk.writing() as look:
        owner = asker(look, account)
        user = None if for_account is None else account_of(look, for_account).id
        if people.upstream(look, owner, name) is not None:
            raise WrongState(
                f"there is an upstream {shown(name)} already: `upstream set` changes it"
            )
        new = edits.made(fields, owner)
        columns = kept.columns(new)
        columns |= {
            "account_id": owner,
            "name": name,
            "pin": "" if fields.pin is UNSET else fields.pin,
            "fallback_id": _fallback(look, owner, name, fields.fallback),
            "created_at": now,
        }
        if new.login is Login.XOAUTH2:
            columns |= _waiting(name, now)
        upstream_id = rows.insert(look, "upstream", columns)
        if new.password is not None:
            blob = kept.sealed(desk.sealer, upstream_id, new.password)
            rows.update(look, "upstream", upstream_id, blob)
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
        return kept.view(look, desk, _row(look, owner, name))


def change(desk: Desk, name: str, fields: Fields, *, account: str | None = None) -> UpstreamView:
    """Changes what is said: a new edition, tried at once.

    A `sender` said here is bound to it as well. Raises `UsageError` (field `password`) where a new
    host, port or user name asks for the password again.
    """
    senders.checked_from_name(fields.from_name)
    with desk.writing() as look:
        owner = asker(look, account)
        row = _row(look, owner, name)
        old = kept.closed(row)
        new = edits.edited(old, fields, bound=desk.bound)
        columns = kept.columns(new)
        columns |= {"edition": row.edition + 1, "pin": edits.pin_of(old, new.settings, fields)}
        if isinstance(fields.password, Secret):
            columns |= kept.sealed(desk.sealer, row.id, fields.password)
        elif new.password is None:
            columns["password"] = None
        if new.moved:
            columns["oauth"] = None
        if fields.fallback is not UNSET:
            columns["fallback_id"] = _fallback(look, owner, name, fields.fallback)
        rows.update(look, "upstream", row.id, columns)
        queue.free(look, row.id, desk.clock.wall_ms())
        if new.login is Login.XOAUTH2 and new.moved:
            rows.update(look, "upstream", row.id, _waiting(name, desk.clock.wall_ms()))
        caps = (row.daily_cap, new.settings.limits.daily_cap)
        senders.cap_changed(look, "upstream_id", row.id, caps, desk.clock.wall_ms())
        if fields.sender is not UNSET:
            _bind_also(look, desk, row, fields)
        return kept.view(look, desk, _row(look, owner, name))


def connected(desk: Desk, name: str, grant: Grant, *, account: str | None = None) -> UpstreamView:
    """Logs in by the tokens of this grant from now on: a new edition, tried at once."""
    with desk.writing() as look:
        row = _row(look, asker(look, account), name)
        bound = people.senders_of_upstream(look, row.id)
        username = row.username or (bound[0].address if bound else "")
        if not username:
            raise WrongState("a login by token needs a user name: bind a sender to it first")
        columns: dict[str, Value] = {
            "login": Login.XOAUTH2.value,
            "username": username,
            "password": None,
            "edition": row.edition + 1,
        }
        columns |= kept.sealed_grant(desk.sealer, row.id, grant)
        rows.update(look, "upstream", row.id, columns)
        queue.free(look, row.id, desk.clock.wall_ms())
        return kept.view(look, desk, _row(look, row.account_id, name))


def pause(
    desk: Desk, name: str, *, account: str | None = None, reason: str = PAUSED_BY_HAND
) -> UpstreamView:
    """Nothing new goes on the wire until `resume` or an edit."""
    note_of(reason, "reason")
    now = desk.clock.wall_ms()
    with desk.writing() as look:
        row = _row(look, asker(look, account), name)
        _paused(look, row, reason, now)
        return kept.view(look, desk, _row(look, row.account_id, name))


def resume(desk: Desk, name: str, *, account: str | None = None) -> UpstreamView:
    """Ends a pause, a back-off, and the holds of its senders, at once."""
    with desk.writing() as look:
        row = _row(look, asker(look, account), name)
        queue.free(look, row.id, desk.clock.wall_ms())
        return kept.view(look, desk, _row(look, row.account_id, name))


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
        queue.free(look, row.id, desk.clock.wall_ms())
        return kept.view(look, desk, _row(look, row.account_id, name))


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
        was = kept.view(look, desk, row)
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
        return kept.view(look, desk, _row(look, asker(look, account), name))


def list_(
    desk: Desk, *, account: str | None = None, below: int = NEWEST, limit: int = 100
) -> list[UpstreamView]:
    """All, or one account's own; newest first, with a number below that."""
    with desk.reading() as look:
        found = people.upstreams(look, asker(look, account), below, limit_of(limit))
        return [kept.view(look, desk, row) for row in found]


def load(desk: Desk, name: str, *, account: str | None = None, opened: bool = True) -> Upstream:
    """The upstream for a connection test; `opened`: with its password."""
    with desk.reading() as look:
        row = _row(look, asker(look, account), name)
        return kept.opened(desk, row) if opened else kept.closed(row)


def _row(look: Look, owner: int | None, name: str) -> UpstreamRow:
    found = people.upstream(look, owner, name)
    if found is None:
        raise NotFound(f"there is no upstream {shown(name)}")
    return found


def _bind_also(look: Look, desk: Desk, row: UpstreamRow, fields: Fields) -> None:
    """The sender named in an edit; one that is bound here already gets its name set."""
    address = edits.sender_of(fields)
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


def _waiting(name: str, now_ms: int) -> dict[str, Value]:
    """The state until its tokens are got."""
    word = name if name.isalnum() else f'"{name}"'
    return {
        "state": UpstreamState.PAUSED.value,
        "reason": f"not connected yet: waypost upstream connect {word}",
        "since": now_ms,
        "probe_at": 0,
    }


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
