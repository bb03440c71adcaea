"""Senders: the addresses that mail may be From, each bound to one upstream.

The operator and each account have their own, so that adding one never changes another's. An account
finds at most one sender for an address among its own, one among those assigned to it, and one
global. Knows nothing of the mail that uses them, but that it follows its sender and ends with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Required, TypedDict, Unpack

import msgspec
from msgspec import UNSET, UnsetType

from waypost.core.address import Address
from waypost.core.errors import NotFound, UsageError, WrongState
from waypost.desk import queue
from waypost.desk.office import (
    NEWEST,
    Desk,
    account_of,
    address_of,
    asker,
    limit_of,
    note_of,
    shown,
    whole,
)
from waypost.desk.views import SenderView, iso
from waypost.store.manage import rows
from waypost.store.read import people
from waypost.store.read.book import Look, Value
from waypost.store.read.rows import SenderRow, UpstreamRow
from waypost.upstream.settings import refuse_raise

CAP_MOST = 100_000_000  # recipients a day
FROM_NAME_CHARACTERS = 100  # as of a From header


class Binding(msgspec.Struct, frozen=True):
    """A sender to be: whose, bound to what, for whom."""

    address: Address
    owner_id: int | None
    upstream_id: int
    everyone: bool = False
    assign: tuple[int, ...] = ()
    from_name: str = ""
    daily_cap: int | None = None


class New(TypedDict, total=False):
    """What is said of a new sender. `everyone`: the operator's, for all. `default`: the default
    sender of its account too. `own`: on the account's own upstream or none.
    """

    upstream: Required[str]
    everyone: bool
    daily_cap: int | None
    from_name: str
    default: bool
    own: bool


class Edit(TypedDict, total=False):
    """What is said of a sender that is there; UNSET, or nothing, is what stays.

    `upstream`: where it is bound to from now on. `assign`, `unassign`: names of accounts.
    """

    upstream: str | UnsetType
    everyone: bool | UnsetType
    assign: Sequence[str]
    unassign: Sequence[str]
    daily_cap: int | UnsetType | None
    from_name: str | UnsetType
    default: bool | UnsetType


def add(desk: Desk, address: str, *, account: str | None = None, **new: Unpack[New]) -> SenderView:
    """Binds an address to an upstream.

    `account`: its own, on its own upstream of that name, else (but for `own`) the operator's sender
    on the operator's upstream, assigned to it.
    """
    parsed = address_of(address, "address")
    upstream, default = new["upstream"], new.get("default", False)
    everyone, own_only = new.get("everyone", False), new.get("own", False)
    daily_cap, from_name = new.get("daily_cap"), new.get("from_name", "")
    if everyone == (account is not None):
        raise UsageError("say either --global or --account NAME", "account")
    if default and account is None:
        raise UsageError(
            "the global default sender is `global_sender` in the configuration", "default"
        )
    checked_cap(daily_cap)
    checked_from_name(from_name)
    with desk.writing() as look:
        account_id = asker(look, account)
        own = people.upstream(look, account_id, upstream) if account_id is not None else None
        found = own if own or own_only else people.upstream(look, None, upstream)
        if found is None:
            raise NotFound(f"there is no upstream {shown(upstream)}")
        assign = (account_id,) if account_id is not None and own is None else ()
        sender_id = bind(
            look,
            desk.clock.wall_ms(),
            Binding(parsed, found.account_id, found.id, everyone, assign, from_name, daily_cap),
        )
        if default and account_id is not None:
            rows.update(look, "account", account_id, {"default_sender": str(parsed)})
        return view(look, desk, sender_id)


def change(
    desk: Desk,
    address: str,
    *,
    account: str | None = None,
    on: str | None = None,
    **edit: Unpack[Edit],
) -> SenderView:
    """Changes what is said, and ends a hold. Queued mail follows the sender to a new upstream.

    `account`: the owner, None the operator. `on`: the upstream it is bound to, where there are
    several.
    """
    _check(edit, account)
    with desk.writing() as look:
        row = one(look, address, asker(look, account), on)
        users = people.assigned(look, row.id)
        _apply(look, row, edit, desk)
        default = edit.get("default", UNSET)
        if default is not UNSET:
            _default(look, row, default, people.assigned(look, row.id) if default else users)
        return view(look, desk, row.id)


def remove(
    desk: Desk,
    address: str,
    *,
    account: str | None = None,
    on: str | None = None,
    fail: bool = False,
) -> SenderView:
    """Takes a sender away; the view is as it was.

    Raises `WrongState` while mail of it is queued, unless `fail`, which fails and refunds that
    first.
    """
    with desk.reading() as look:
        row = one(look, address, asker(look, account), on)
        was = view(look, desk, row.id)
    reason = f"the sender {row.address} was removed"
    if fail:
        with desk.writing() as look:
            rows.update(look, "sender", row.id, {"held": reason})  # nothing new goes on the wire
        queue.emptied(desk, [row.id], reason)
    with desk.writing() as look:
        gone = queue.last_of(look, desk, [row.id], reason, fail=fail)
        rows.drop_sender(look, row.id)
    desk.unlink(gone)
    return was


def show(
    desk: Desk, address: str, *, account: str | None = None, on: str | None = None
) -> SenderView:
    """The sender of that owner; `on`: the upstream it is bound to, where there are several."""
    with desk.reading() as look:
        return _view(look, desk, one(look, address, asker(look, account), on))


def list_(
    desk: Desk, *, account: str | None = None, below: int = NEWEST, limit: int = 100
) -> list[SenderView]:
    """All, or those that the account may use; newest first, with a number below that."""
    with desk.reading() as look:
        found = people.senders(look, asker(look, account), below, limit_of(limit))
        return [_view(look, desk, row) for row in found]


def bind(look: Look, at_ms: int, binding: Binding) -> int:
    """A new sender, or more users for the operator's that is there; its id. `WrongState` if
    nothing is new.
    """
    same: SenderRow | None = None
    for other in people.senders_of_address(look, binding.owner_id, binding.address.key):
        if other.upstream_id == binding.upstream_id:
            same = other
    _refuse_rivals(look, binding, None if same is None else same.id)
    if same is None:
        sender_id = rows.insert(
            look,
            "sender",
            {
                "address": str(binding.address),
                "address_key": binding.address.key,
                "account_id": binding.owner_id,
                "everyone": binding.everyone,
                "upstream_id": binding.upstream_id,
                "from_name": binding.from_name,
                "daily_cap": binding.daily_cap,
                "created_at": at_ms,
            },
        )
    else:
        sender_id = same.id
        users = {found[0] for found in people.assigned(look, same.id)}
        if not (binding.everyone and not same.everyone) and users.issuperset(binding.assign):
            raise WrongState(f"{same.address} is a sender of {shown(same.upstream)} already")
        more: dict[str, Value] = {"everyone": True} if binding.everyone else {}
        if binding.daily_cap is not None:
            more["daily_cap"] = binding.daily_cap
        if binding.from_name:
            more["from_name"] = binding.from_name
        rows.update(look, "sender", same.id, more)
    for account_id in binding.assign:
        rows.assign(look, sender_id, account_id)
    return sender_id


def one(look: Look, address: str, owner_id: int | None, on: str | None) -> SenderRow:
    """The owner's sender of this address; `UsageError` where several are and `on` says none."""
    parsed = address_of(address, "address")
    found = people.senders_of_address(look, owner_id, parsed.key)
    if on is not None:
        found = [row for row in found if row.upstream == on]
    if not found:
        raise NotFound(f"there is no sender {parsed}")
    if len(found) > 1:
        names = ", ".join(row.upstream for row in found)
        raise UsageError(f"{parsed} is bound to several upstreams ({names}): say which", "on")
    return found[0]


def view(look: Look, desk: Desk, sender_id: int) -> SenderView:
    """The sender of that id as shown."""
    row = people.sender_by_id(look, sender_id)
    if row is None:
        raise NotFound("there is no such sender")
    return _view(look, desk, row)


def checked_cap(cap: int | None) -> None:
    if cap is not None:
        whole(cap, 1, CAP_MOST, "daily_cap")


def cap_changed(
    look: Look, scope: str, scope_id: int, caps: tuple[int | None, int | None], now_ms: int
) -> None:
    """What waits for a daily cap is looked at again: all of it where there is more room now, else
    what alone is larger. `scope`: `id` of a sender, or `upstream_id`; `caps`: old and new.
    """
    old, new = caps
    if old is not None and (new is None or new > old):
        rows.try_today(look, -scope_id if scope == "id" else scope_id, now_ms)
    elif new is not None:
        rows.try_larger(look, scope, scope_id, new, now_ms)


def checked_from_name(name: str) -> None:
    if len(note_of(name, "from_name")) > FROM_NAME_CHARACTERS:
        raise UsageError(f"a name is at most {FROM_NAME_CHARACTERS} characters", "from_name")


def _check(edit: Edit, account: str | None) -> None:
    """`UsageError` for what could not be in any state of the store."""
    cap, name = edit.get("daily_cap", UNSET), edit.get("from_name", UNSET)
    if cap is not UNSET:
        checked_cap(cap)
    if name is not UNSET:
        checked_from_name(name)
    if account is not None and (edit.get("everyone", UNSET) is True or edit.get("assign")):
        raise UsageError("an account's own sender is for that account alone", "account")


def _apply(look: Look, row: SenderRow, edit: Edit, desk: Desk) -> None:
    now_ms = desk.clock.wall_ms()
    columns: dict[str, Value] = {"held": "", "probe_at": 0}
    everyone, cap = edit.get("everyone", UNSET), edit.get("daily_cap", UNSET)
    name, upstream = edit.get("from_name", UNSET), edit.get("upstream", UNSET)
    if everyone is UNSET:
        everyone = row.everyone
    columns["everyone"] = everyone
    if cap is not UNSET:
        if desk.bound:
            refuse_raise(row.daily_cap, cap)
        columns["daily_cap"] = cap
    if name is not UNSET:
        columns["from_name"] = name
    target = row.upstream_id
    if upstream is not UNSET:
        target = _upstream(look, row.account_id, upstream).id
        columns["upstream_id"] = target
    users = {found[0] for found in people.assigned(look, row.id)}
    users |= {account_of(look, name).id for name in edit.get("assign", ())}
    leaving = {account_of(look, name).id for name in edit.get("unassign", ())}
    parsed = address_of(row.address, "address")
    _refuse_rivals(
        look, Binding(parsed, row.account_id, target, everyone, tuple(users - leaving)), row.id
    )
    if target != row.upstream_id:
        rows.anew(look, row.id, now_ms)
    rows.update(look, "sender", row.id, columns)
    for account_id in users - leaving:
        rows.assign(look, row.id, account_id)
    for account_id in leaving:
        rows.unassign(look, row.id, account_id)
    if target == row.upstream_id and cap is not UNSET:
        cap_changed(look, "id", row.id, (row.daily_cap, cap), now_ms)


def _refuse_rivals(look: Look, binding: Binding, itself: int | None) -> None:
    """`WrongState` where one account would find the address twice on the same level."""
    for other in people.senders_of_address(look, binding.owner_id, binding.address.key):
        if other.id == itself:
            continue
        taken = f"{other.address} is bound to the upstream {shown(other.upstream)} already"
        if other.upstream_id == binding.upstream_id or binding.owner_id is not None:
            raise WrongState(f"{taken}: `sender set` can move it")
        if binding.everyone and other.everyone:
            raise WrongState(f"{taken}, for everyone: `sender set` can move it")
        for account_id, name in people.assigned(look, other.id):
            if account_id in binding.assign:
                raise WrongState(f"{taken}, for {shown(name)}: `sender set` can move it")


def _default(look: Look, row: SenderRow, default: bool, users: list[tuple[int, str]]) -> None:
    """Makes it the default sender of its account (or of all it is assigned to), or no longer."""
    ids = [row.account_id] if row.account_id is not None else [found[0] for found in users]
    if not ids:
        raise UsageError(
            "the global default sender is `global_sender` in the configuration", "default"
        )
    current = {found[0] for found in people.defaulting(look, row.address_key)}
    for account_id in ids:
        if default:
            rows.update(look, "account", account_id, {"default_sender": row.address})
        elif account_id in current:
            rows.update(look, "account", account_id, {"default_sender": None})


def _upstream(look: Look, owner_id: int | None, name: str) -> UpstreamRow:
    found = people.upstream(look, owner_id, name)
    if found is None:
        raise NotFound(f"there is no upstream {shown(name)}")
    return found


def _view(look: Look, desk: Desk, row: SenderRow) -> SenderView:
    users = people.assigned(look, row.id)
    if row.account_id is not None and row.account is not None:
        users = [(row.account_id, row.account)]
    defaulting = people.defaulting(look, row.address_key)
    return SenderView(
        id=row.id,
        address=row.address,
        upstream=row.upstream,
        account=row.account,
        everyone=row.everyone,
        accounts=tuple(name for _, name in users),
        from_name=row.from_name,
        daily_cap=row.daily_cap,
        used_today=people.used(look, "s", row.id, desk.today()),
        held=row.held or None,
        default=tuple(pair[1] for pair in defaulting if row.everyone or pair in users),
        created_at=iso(row.created_at),
    )
