"""The JSON that calls of the management API take.

Names are those of section 11; what is not said is UNSET, `null` is none. A password is a `Secret`
from the moment it is read. Knows nothing of what the fields mean.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from waypost.core.errors import Secret

KEY_OCTETS = 16_384  # of a service account's file, which takes 2 to 3 KB


class Shape(msgspec.Struct, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """Anything taken; a field that is not known is refused."""


class NewAccount(Shape):
    """`credits` null: unlimited. `rate_limit` null: none; not said: the configured default."""

    name: str
    credits: int | None = 0
    rate_limit: int | UnsetType | None = UNSET
    default_sender: str | None = None
    notify: str | None = None


class AccountEdit(Shape):
    """`credits` as a number sets the balance, with a line for the difference."""

    credits: int | UnsetType | None = UNSET
    rate_limit: int | UnsetType | None = UNSET
    default_sender: str | UnsetType | None = UNSET
    notify: str | UnsetType | None = UNSET


class NewCredits(Shape):
    """Bought, or (negative) corrected."""

    credits: int
    note: str = ""


class NewToken(Shape):
    """For one account: a token for all is made at the command line."""

    account: str
    name: str = ""


class NewKey(Shape):
    """`recipients`: headers or envelope."""

    account: str | None = None
    name: str = ""
    recipients: str = "headers"


class NewMember(Shape):
    """`role`: owner, developer or read-only."""

    email: str
    account: str | None = None
    role: str = "owner"


class NewLink(Shape):
    """`reset_second_factor`: it was lost too, and is taken away."""

    reset_second_factor: bool = False


class NewSender(Shape):
    """`everyone`: the operator's, for all. `default`: the account's default sender too."""

    address: str
    upstream: str
    everyone: bool = msgspec.field(name="global", default=False)
    account: str | None = None
    daily_cap: int | None = None
    from_name: str = ""
    default: bool = False


class SenderEdit(Shape):
    """`upstream`: where it is bound to from now on. `assign`, `unassign`: names of accounts."""

    upstream: str | UnsetType = UNSET
    everyone: bool | UnsetType = msgspec.field(name="global", default=UNSET)
    assign: list[str] = []
    unassign: list[str] = []
    daily_cap: int | UnsetType | None = UNSET
    from_name: str | UnsetType = UNSET
    default: bool | UnsetType = UNSET


class UpstreamEdit(Shape):
    """What is said of an upstream. `login`: password or xoauth2. `test` false: saved untried."""

    sender: str | UnsetType = UNSET
    preset: str | UnsetType = UNSET
    region: str | UnsetType = UNSET
    host: str | UnsetType = UNSET
    port: int | UnsetType = UNSET
    encryption: str | UnsetType = UNSET
    username: str | UnsetType = UNSET
    login: str | UnsetType = UNSET
    password: Secret | UnsetType | None = UNSET
    validate: str | UnsetType = UNSET
    from_name: str = ""
    daily_cap: int | UnsetType | None = UNSET
    connections: int | UnsetType = UNSET
    per_connection: int | UnsetType = UNSET
    per_minute: int | UnsetType = UNSET
    recipients: int | UnsetType = UNSET
    fallback: str | UnsetType | None = UNSET
    test: bool = True


class NewUpstream(UpstreamEdit, kw_only=True):
    """`account`: its own. `for_account`: the operator's, its sender for that account."""

    name: str
    account: str | None = None
    for_account: str | None = msgspec.field(name="for", default=None)


class Rehearsal(UpstreamEdit, kw_only=True):
    """An upstream to be tried, not saved; with the name of a kept one, an edit of it."""

    name: str = ""
    account: str | None = None


class Client(Shape):
    """The application that is registered with the provider of tokens; not said: the one before."""

    client_id: str = ""
    client_secret: Secret | None = None
    provider: str = ""
    tenant: str = ""
    authorize_url: str = ""
    token_url: str = ""
    scope: str = ""


class Consent(Client):
    """`redirect_uri`: where the browser comes back to, with `code` and `state`."""

    redirect_uri: str = ""


class Consented(Shape):
    """What came back with the browser."""

    code: str
    state: str
    account: str | None = None


class ServiceAccount(Client):
    """`key`: the text of the service account's key file."""

    key: Secret | None = None


class Received(Shape):
    """`message`: a received message as it is, in base64."""

    message: bytes


class Testing(Shape):
    """`send_to`: a real mail goes there too."""

    send_to: str | None = None


class Pausing(Shape):
    """Why, for whoever looks at the waiting mail."""

    reason: str = ""


class Trusting(Shape):
    """`test` false: what the next connection shows is trusted."""

    test: bool = True


class Retry(Shape):
    """One of the two: an upstream (of `account`, else the operator's), or all."""

    upstream: str | None = None
    everything: bool = msgspec.field(name="all", default=False)
    account: str | None = None


class Cancel(Shape):
    """One of the two: what came with a key, or from a sender."""

    key: int | None = None
    sender: str | None = None
    account: str | None = None


def hook(kind: type, value: Any) -> Any:
    """For the decoder: a password becomes a `Secret`."""
    if kind is not Secret:
        raise NotImplementedError
    if not isinstance(value, str) or "\0" in value or len(value.encode()) > KEY_OCTETS:
        raise ValueError(f"Expected a text of up to {KEY_OCTETS} octets")
    return Secret(value)


def schema_hook(_kind: type) -> dict[str, Any]:
    """For the description of that."""
    return {"type": "string", "format": "password", "maxLength": KEY_OCTETS}
