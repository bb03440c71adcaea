"""What a person wrote about an upstream, made whole and checked: section 9 of the contract.

`complete` makes the settings of a new upstream from a form, a preset and the defaults; `change`
edits those of an existing one. Port and encryption follow each other. Anything wrong is a
`UsageError` that names the field. Never sees a password, and does not know who owns the upstream or
where it is kept.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from types import MappingProxyType

import msgspec
from msgspec import UNSET, UnsetType

from waypost.core.address import Address, a_labels
from waypost.core.errors import AddressError, Forbidden, UsageError
from waypost.core.upstream import Encryption, Limits, Upstream, Validate
from waypost.upstream import presets
from waypost.upstream.presets import Preset

PORTS = MappingProxyType(
    {Encryption.STARTTLS: 587, Encryption.TLS: 465, Encryption.NONE: 25}  # RFC 8314 3.3, RFC 6409
)
_TOLD_BY_PORT = MappingProxyType(
    {
        25: Encryption.NONE,
        465: Encryption.TLS,
        587: Encryption.STARTTLS,
        2465: Encryption.TLS,
        2587: Encryption.STARTTLS,
    }
)
HOST_OCTETS = 253  # RFC 1035 2.3.4, without the root
USERNAME_CHARACTERS = 255  # RFC 4616 allows longer ones; no provider does

_BOUNDS = MappingProxyType(
    {
        "connections": (1, 1000),
        "per_connection": (0, 1_000_000),
        "per_minute": (0, 1_000_000),
        "recipients": (1, 1000),  # more than a message may have
        "daily_cap": (1, 1_000_000_000),
    }
)


class Form(msgspec.Struct, frozen=True):
    """What was said; UNSET was not. `daily_cap` None is none; `region` picks a preset's host."""

    host: str | UnsetType = UNSET
    port: int | UnsetType = UNSET
    encryption: str | UnsetType = UNSET
    username: str | UnsetType = UNSET
    validate: str | UnsetType = UNSET
    preset: str | UnsetType = UNSET
    region: str | UnsetType = UNSET
    connections: int | UnsetType = UNSET
    per_connection: int | UnsetType = UNSET
    per_minute: int | UnsetType = UNSET
    recipients: int | UnsetType = UNSET
    daily_cap: int | UnsetType | None = UNSET


class Settings(msgspec.Struct, frozen=True):
    """Whole and checked, as `core.upstream.Upstream` keeps them. `warnings`: sentences to show."""

    host: str
    port: int
    encryption: Encryption
    username: str
    validate: Validate
    preset: str
    limits: Limits
    warnings: tuple[str, ...] = ()


def complete(form: Form, sender: Address) -> Settings:
    """The settings of a new upstream. The user name defaults to the sender. Raises `UsageError`."""
    named = presets.get(form.preset) if form.preset is not UNSET else None
    if form.host is not UNSET:
        where = host(form.host)
        preset = named or presets.for_host(where, sender.domain) or presets.PRESETS["custom"]
    elif named is not None and named.host:
        preset = named
        region = form.region if form.region is not UNSET else ""
        where = host(named.host_for(sender.domain, region))
    else:
        raise UsageError("name the upstream's server, or a preset that knows it", "host")
    port, encryption = _paired(form, preset.port, preset.encryption)
    return _settled(
        form,
        Settings(
            host=where,
            port=port,
            encryption=encryption,
            username=_username(form, preset.login_as or str(sender)),
            validate=_validate(form, Validate.AUTO),
            preset=preset.name,
            limits=_limits(form, preset.limits),
        ),
    )


def change(old: Upstream, form: Form) -> Settings:
    """The settings after an edit: what the form does not say stays. Raises `UsageError`.

    A new preset brings its own host (unless one is said), port, encryption and limits.
    """
    preset: Preset | None = presets.get(form.preset) if form.preset is not UNSET else None
    domain = old.username.rpartition("@")[2]
    where, port, encryption, limits = old.host, old.port, old.encryption, old.limits
    if preset is not None:
        region = form.region if form.region is not UNSET else ""
        if preset.host:
            where = host(preset.host_for(domain, region))
            port, encryption = preset.port, preset.encryption
        limits = preset.limits
    if form.host is not UNSET:
        where = host(form.host)
    port, encryption = _paired(form, port, encryption)
    return _settled(
        form,
        Settings(
            host=where,
            port=port,
            encryption=encryption,
            username=_username(form, (preset and preset.login_as) or old.username),
            validate=_validate(form, old.validate),
            preset=preset.name if preset else old.preset,
            limits=_limits(form, limits),
        ),
    )


def refuse_raise(old: int | None, new: int | None) -> None:
    """`Forbidden` where a daily cap would grow or go; None is none."""
    if old is not None and (new is None or new > old):
        raise Forbidden(f"the daily cap is {old}: the operator alone raises it", "daily_cap")


def asks_password(old: Upstream, new: Settings) -> bool:
    """The edit points the kept password at another door, so that it must be said again."""
    return (old.host, old.port, old.username) != (new.host, new.port, new.username)


def host(text: str) -> str:
    """A host name in A-labels or an IP address, lower case. Raises `UsageError`."""
    name = text.strip().rstrip(".").lower()
    shown = re.sub(r"[^\x20-\x7e]", "?", name)[:60]
    if "://" in name or "/" in name:
        raise UsageError(f"{shown!r} is a URL: give the server's name alone", "host")
    if "@" in name:
        raise UsageError(f"{shown!r} is an email address: give the server's name", "host")
    if not name:
        raise UsageError("give the server's name, such as smtp.example.com", "host")
    bare, zoned, zone = name.removeprefix("[").removesuffix("]").partition("%")
    if zoned and not re.fullmatch(
        r"[a-z0-9_.-]{1,15}", zone
    ):  # a name of an interface, RFC 4007 11
        raise UsageError(f"{shown!r} is not a server's name", "host")
    try:
        return str(ipaddress.ip_address(bare + zoned + zone))
    except ValueError:
        pass
    if re.fullmatch(r"[^:]+:\d+", name):
        raise UsageError(f"{shown!r} holds a port: give the port by itself", "host")
    if not name.isascii():
        try:
            name = a_labels(name)
        except AddressError:
            raise UsageError(f"{shown!r} is not a server's name", "host") from None
    labels = name.split(".")
    fits = all(re.fullmatch(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", label) for label in labels)
    if not fits or len(name) > HOST_OCTETS or re.fullmatch(r"\d+|0x[0-9a-f]*", labels[-1]):
        # A last label of digits would be read as an address by some resolvers (RFC 3696 2).
        raise UsageError(f"{shown!r} is not a server's name: one is like smtp.example.com", "host")
    return name


def _paired(form: Form, port: int, encryption: Encryption) -> tuple[int, Encryption]:
    """Port and encryption as said; where one alone is said, the other follows it."""
    said = _encryption(form)
    if form.port is UNSET:
        if said is None:
            return port, encryption
        # A port that belongs to the encryption it had moves along; an odd one was chosen.
        belongs = _TOLD_BY_PORT.get(port) == encryption
        return (PORTS[said] if belongs and said != encryption else port), said
    if isinstance(form.port, bool) or not 1 <= form.port <= 65535:
        raise UsageError(f"port {form.port} is not from 1 to 65535", "port")
    return form.port, said or _TOLD_BY_PORT.get(form.port, encryption)


def _encryption(form: Form) -> Encryption | None:
    if form.encryption is UNSET:
        return None
    word = {"ssl": "tls", "ssl/tls": "tls", "tls/ssl": "tls"}.get(
        form.encryption.lower(), form.encryption.lower()
    )
    if word not in {member.value for member in Encryption}:
        raise UsageError("encryption is starttls, tls or none", "encryption")
    return Encryption(word)


def _username(form: Form, otherwise: str) -> str:
    name = otherwise if form.username is UNSET else form.username
    if len(name) > USERNAME_CHARACTERS or re.search(r"[\x00-\x1f\x7f]", name):
        raise UsageError(
            f"a user name has up to {USERNAME_CHARACTERS} characters and no control characters",
            "username",
        )
    return name


def _validate(form: Form, otherwise: Validate) -> Validate:
    if form.validate is UNSET:
        return otherwise
    if form.validate not in {member.value for member in Validate}:
        raise UsageError("validate is auto, on or off", "validate")
    return Validate(form.validate)


def _limits(form: Form, base: Limits) -> Limits:
    said: dict[str, int | None] = {}
    for name, (low, high) in _BOUNDS.items():
        value = getattr(form, name)
        if value is UNSET:
            continue
        none = value is None and name == "daily_cap"
        if not none and (isinstance(value, bool) or not low <= value <= high):
            raise UsageError(f"{name.replace('_', ' ')} is a number from {low} to {high}", name)
        said[name] = value
    return msgspec.structs.replace(base, **said)


def cautions(encryption: Encryption, validate: Validate) -> tuple[str, ...]:
    """What a person should know of such a connection, in sentences."""
    if encryption is Encryption.NONE:
        return (
            "without encryption the password and the mail can be read on the way: "
            "only for trusted networks",
        )
    if validate is Validate.OFF:
        return ("without certificate validation anybody on the way can pose as the server",)
    return ()


def caution_of_name(preset: str, username: str, senders: Collection[str]) -> tuple[str, ...]:
    """That a provider whose user names are no addresses was given one; none else."""
    known = presets.PRESETS.get(preset)
    if known is None or known.username == presets.ADDRESS or username not in senders:
        return ()
    return (f"at {known.title} the user name is {known.username}: set it with --username",)


def _settled(form: Form, settings: Settings) -> Settings:
    """The rules that need all fields, and what to warn of."""
    validate = settings.validate
    extra: tuple[str, ...] = ()
    if presets.for_host(settings.host) is not None and validate is not Validate.ON:
        if form.validate is not UNSET:
            extra = (f"{settings.host} has a certificate that verifies: validate stays on",)
        validate = Validate.ON
    warnings = extra + cautions(settings.encryption, validate)
    return msgspec.structs.replace(settings, validate=validate, warnings=warnings)
