"""The deeds: test an upstream, save one that works, trust the certificate it shows now.

All are blocking, as every deed is, and run a loop of their own: from an event loop, call them in a
thread. Knows nothing of SMTP itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
from msgspec import UNSET

from waypost.core.address import Address
from waypost.core.address import parse as parse_address
from waypost.core.errors import UsageError, WrongState
from waypost.core.upstream import Encryption, Login, Upstream, Validate
from waypost.desk import upstreams
from waypost.desk.connection import pace
from waypost.desk.connection.edits import Fields
from waypost.desk.connection.views import (
    StepView,
    TestFailed,
    TestView,
    TrustView,
    step_view,
    view_of,
)
from waypost.desk.office import Desk, account_of, address_of, asker, name_of, shown
from waypost.desk.views import UpstreamView
from waypost.store.read import people
from waypost.transport.check.allowed import forbidden
from waypost.transport.check.run import Result, Setup, Wanted, check, shown_pin

Told = Callable[[StepView], None]
_TOUCHING = ("preset", "region", "host", "port", "encryption", "username", "validate")


class Trial(msgspec.Struct, frozen=True):
    """How saving tries: with `setup`, telling each step; `test` False saves without trying."""

    setup: Setup
    told: Told = lambda step: None
    test: bool = True


def test(
    desk: Desk, trial: Trial, name: str, *, account: str | None = None, send_to: str | None = None
) -> TestView:
    """Tries a kept upstream with its first sender; `send_to`: with a real mail to that address.

    Raises `UsageError`, `NotFound`, `TooManyTests`.
    """
    to = None if send_to is None else address_of(send_to, "send_to")
    view = upstreams.show(desk, name, account=account)
    upstream = upstreams.load(desk, name, account=account)
    sender = parse_address(view.senders[0]) if view.senders else None
    if to is not None and sender is None:
        raise UsageError("no sender is bound to it: a test mail needs one", "send_to")
    return _tried(desk, trial, upstream, Wanted(sender, to))


def add(
    desk: Desk,
    trial: Trial,
    name: str,
    fields: Fields,
    *,
    account: str | None = None,
    for_account: str | None = None,
) -> UpstreamView:
    """`upstreams.add` of one whose test succeeds; else raises `TestFailed`, with nothing saved."""
    name_of(name, "name")
    if account is not None and for_account is not None:
        raise UsageError("say --account or --for, not both", "account")
    with desk.reading() as look:
        if for_account is not None:
            account_of(look, for_account)
        if people.upstream(look, asker(look, account), name) is not None:
            raise WrongState(
                f"there is an upstream {shown(name)} already: `upstream set` changes it"
            )
    made = upstreams.draft(desk, name, fields, account=account)
    pinned = _proved(desk, trial, made, fields, None)
    return upstreams.add(desk, name, pinned, account=account, for_account=for_account)


def change(
    desk: Desk, trial: Trial, name: str, fields: Fields, *, account: str | None = None
) -> UpstreamView:
    """`upstreams.change`; what touches the connection is tested first, as in `add`."""
    was = upstreams.show(desk, name, account=account)
    touched = any(getattr(fields.form, field) is not UNSET for field in _TOUCHING)
    said = (fields.password, fields.login, fields.sender)
    touched = touched or any(field is not UNSET for field in said)
    if touched and (trial.test or was.account is not None):
        made = upstreams.draft(desk, name, fields, account=account)
        bound = parse_address(was.senders[0]) if was.senders else None
        fields = _proved(desk, trial, made, fields, bound)
    return upstreams.change(desk, name, fields, account=account)


def rehearse(
    desk: Desk, trial: Trial, name: str, fields: Fields, *, account: str | None = None
) -> TestView:
    """Tries what `add` or `change` would save under this name (empty: a new one), saving nothing.

    Raises what they would raise for wrong arguments, and `TooManyTests`.
    """
    made = upstreams.draft(desk, name, fields, account=account)
    bound = None
    if made.id:
        kept = upstreams.show(desk, name, account=account).senders
        bound = parse_address(kept[0]) if kept else None
    sender = bound if fields.sender is UNSET else address_of(fields.sender, "sender")
    return _tried(desk, trial, made, Wanted(sender))


def trust(desk: Desk, trial: Trial, name: str, *, account: str | None = None) -> TrustView:
    """Trusts the certificate that the server shows now, without logging in; ends a pause.

    Raises `TestFailed` where none is shown that `auto` could trust, and `WrongState` where
    `validate` leaves nothing to be trusted.
    """
    was = upstreams.show(desk, name, account=account)
    if was.validate != Validate.AUTO.value or was.encryption == Encryption.NONE.value:
        why = f"validate is {was.validate}" if was.validate != "auto" else "encryption is none"
        raise WrongState(f"{why}: no certificate is kept to; `upstream resume` ends a pause")
    pin = ""
    if trial.test:
        upstream = upstreams.load(desk, name, account=account, opened=False)
        _guarded(trial, upstream)
        pace.count(desk, upstream.account_id)
        pin, result = asyncio.run(shown_pin(trial.setup, upstream))
        if not pin:
            raise TestFailed(_view(upstream, result))
    now = upstreams.trust(desk, name, pin or None, account=account)
    return TrustView(
        **{field: getattr(now, field) for field in now.__struct_fields__},
        old=was.pin or None,
        new=pin or "what the next connection shows",
    )


def _proved(
    desk: Desk, trial: Trial, made: Upstream, fields: Fields, bound: Address | None
) -> Fields:
    """The fields with what the test decided of the certificate; `TestFailed` where it failed."""
    if not trial.test:
        _guarded(trial, made)
        return fields
    sender = bound if fields.sender is UNSET else address_of(fields.sender, "sender")
    if made.login is Login.XOAUTH2 and not made.username:
        sender = None  # nobody is let in before it is connected
    view = _tried(desk, trial, made, Wanted(sender))
    if not view.ok:
        raise TestFailed(view)
    return msgspec.structs.replace(fields, pin=view.pin) if view.pin else fields


def _tried(desk: Desk, trial: Trial, upstream: Upstream, wanted: Wanted) -> TestView:
    if upstream.account_id is not None:
        refused = asyncio.run(forbidden(trial.setup, upstream))
        if refused is not None:
            trial.told(step_view(refused.steps[-1]))
            return _view(upstream, refused)
    pace.count(desk, upstream.account_id)
    told = trial.told
    result = asyncio.run(check(trial.setup, upstream, wanted, lambda step: told(step_view(step))))
    return _view(upstream, result)


def _guarded(trial: Trial, upstream: Upstream) -> None:
    """An account's upstream is never saved at a forbidden address, tested or not."""
    if upstream.account_id is not None:
        refused = asyncio.run(forbidden(trial.setup, upstream))
        if refused is not None:
            raise TestFailed(_view(upstream, refused))


def _view(upstream: Upstream, result: Result) -> TestView:
    return view_of(upstream.name, upstream.host, upstream.port, upstream.encryption.value, result)
