"""What was said of an upstream, and what an edit makes of its login and its pin.

Promises that a kept password or token is never pointed at another host, port or user name. Knows
nothing of the store.
"""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from waypost.core.address import Address
from waypost.core.errors import Secret, UsageError
from waypost.core.upstream import Login, Upstream
from waypost.desk.office import address_of
from waypost.upstream import presets, settings
from waypost.upstream.settings import Form, Settings

ONLY_TOKENS = ("xoauth2",)


class Fields(msgspec.Struct, frozen=True, kw_only=True):
    """What was said of an upstream; UNSET was not.

    `login`: password or xoauth2. `password` None takes it away. `pin`: what the connection test
    decided. `fallback`: the name of another upstream of the same owner, None for none. `sender` and
    `from_name` are for a new one.
    """

    form: Form = Form()
    login: str | UnsetType = UNSET
    password: Secret | UnsetType | None = UNSET
    pin: str | UnsetType = UNSET
    fallback: str | UnsetType | None = UNSET
    sender: str | UnsetType = UNSET
    from_name: str = ""


class Edited(msgspec.Struct, frozen=True):
    """The settings, the password and the kind of login; `moved`: what was kept of a login by token
    is not for it any more."""

    settings: Settings
    password: Secret | None
    login: Login
    moved: bool = False


def made(fields: Fields, owner: int | None) -> Edited:
    """The login of a new upstream. Raises `UsageError`."""
    new = settings.complete(fields.form, sender_of(fields))
    password = fields.password if isinstance(fields.password, Secret) else None
    way = _way(fields, _usual(new, password))
    return Edited(login_of(new, fields, password, way, owner), password, way, moved=True)


def edited(old: Upstream, fields: Fields, *, bound: bool) -> Edited:
    """The login after an edit. `bound`: the daily cap may be lowered only.

    Raises `UsageError`, `Forbidden`.
    """
    new = settings.change(old, fields.form)
    if bound:
        settings.refuse_raise(old.limits.daily_cap, new.limits.daily_cap)
    way = _way(fields, Login.PASSWORD if isinstance(fields.password, Secret) else old.login)
    moved = settings.asks_password(old, new)
    if way is Login.XOAUTH2:
        if moved and old.login is way and fields.login is UNSET:
            raise UsageError(
                "the kept token is for another host, port or user name: say --login xoauth2 as "
                "well, and connect it again",
                "login",
            )
        new = login_of(new, fields, None, way, old.account_id)
        return Edited(new, None, way, moved or old.login is not way)
    if old.login is not way and fields.password is UNSET:
        raise UsageError("a login by password needs the password", "password")
    if moved and old.password is not None and fields.password is UNSET:
        raise UsageError(
            "the kept password is for another host, port or user name: give it again",
            "password",
        )
    password = old.password if fields.password is UNSET else fields.password
    return Edited(login_of(new, fields, password, way, old.account_id), password, way, moved=True)


def login_of(
    new: Settings, fields: Fields, password: Secret | None, way: Login, owner: int | None
) -> Settings:
    """A login is a user name and a password or token; only the operator's may do without."""
    if way is Login.XOAUTH2:
        if isinstance(fields.password, Secret):
            raise UsageError("a login by token has no password: leave one of them out", "password")
        if not new.username:
            raise UsageError("a login by token needs a user name", "username")
        return new
    if password is not None:
        if not password.reveal() or not new.username:
            raise UsageError("a login is a user name and a password, neither empty", "password")
        return new
    if owner is not None:
        raise UsageError("an account's upstream needs a password", "password")
    if fields.form.username is not UNSET and fields.form.username:
        raise UsageError("a user name needs a password", "password")
    return msgspec.structs.replace(new, username="")


def pin_of(old: Upstream, new: Settings, fields: Fields) -> str:
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


def sender_of(fields: Fields) -> Address:
    """The sender that was named. Raises `UsageError`."""
    if fields.sender is UNSET:
        raise UsageError("name the sender that the upstream is for", "sender")
    return address_of(fields.sender, "sender")


def _way(fields: Fields, otherwise: Login) -> Login:
    if fields.login is UNSET:
        return otherwise
    if fields.login not in {member.value for member in Login}:
        raise UsageError("login is password or xoauth2", "login")
    return Login(fields.login)


def _usual(new: Settings, password: Secret | None) -> Login:
    """By token where the provider takes nothing else."""
    only = presets.get(new.preset).logins == ONLY_TOKENS
    return Login.XOAUTH2 if only and password is None else Login.PASSWORD
