"""What is known of an upstream: settings (what somebody wrote) and health (what was seen)."""

from __future__ import annotations

import enum

import msgspec

from waypost.core.errors import Secret


class Encryption(enum.StrEnum):
    """How the connection is protected; `NONE` only for trusted networks."""

    STARTTLS = "starttls"
    TLS = "tls"
    NONE = "none"


class Validate(enum.StrEnum):
    """How the certificate is checked; `AUTO`: what held when it was saved must hold on."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


class Login(enum.StrEnum):
    """What the login is made with."""

    PASSWORD = "password"
    XOAUTH2 = "xoauth2"


class UpstreamState(enum.StrEnum):
    """`FAILING` for a time, `PAUSED` until somebody acts."""

    OK = "ok"
    FAILING = "failing"
    PAUSED = "paused"


class Limits(msgspec.Struct, frozen=True):
    """What the upstream bears; 0 is none. Counts are of connections, messages, messages and
    recipients."""

    connections: int = 20
    per_connection: int = 0
    per_minute: int = 0
    recipients: int = 100
    daily_cap: int | None = None


class Health(msgspec.Struct, frozen=True):
    """What was seen last. `probe_at_ms`: not before then is anything tried; 0 is at once."""

    state: UpstreamState = UpstreamState.OK
    reason: str = ""
    since_ms: int = 0
    probe_at_ms: int = 0
    probes: int = 0
    last_success_ms: int = 0


class Upstream(msgspec.Struct, frozen=True):
    """An SMTP server with the credentials for it. `account_id` None: the operator's. Where `login`
    is by token there is no password, and the token is got when it is needed.

    `edition` rises with every edit: connections of an older edition are closed. `pin` is empty
    (not decided), `verified`, `name:HOST` (a chain that held for another name) or `key:HEX`
    (SHA-256 of the public key of a self-signed certificate).
    """

    id: int
    name: str
    account_id: int | None
    host: str
    port: int
    encryption: Encryption
    username: str
    password: Secret | None
    validate: Validate
    pin: str
    preset: str
    fallback_id: int | None
    edition: int
    limits: Limits
    health: Health
    created_at_ms: int
    login: Login = Login.PASSWORD
