"""Logins by token (XOAUTH2): the providers as data, what a token server is asked, what it answers.

Promises: a `Grant` never shows its secrets in a `repr`; an answer is tokens, a refusal that only a
person can mend, or trouble that passes. Time and chance are arguments; nothing is sent from here.
RFC 6749, 7636 (PKCE), 7523 (service accounts), 8252 (redirects to loopback).
"""

from __future__ import annotations

import base64
import enum
import hashlib
import re
from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from waypost.core.errors import Secret, UsageError, WaypostError
from waypost.core.reply import printable

VERIFIER_CHARACTERS = 64  # RFC 7636 4.1: 43 to 128
STATE_CHARACTERS = 43  # 256 bits in base64url
UNRESERVED = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
ASSERTION_S = 3600  # Google takes at most an hour
EARLY_MS = 120_000  # before its end a token is renewed, a short one at half its life
LIFE_DEFAULT_S = 3600  # RFC 6749 5.1: expires_in may be left out
LIFE_MOST_S = 7 * 86_400
TOKEN_CHARACTERS = 8_192  # as base64, with its frame, it must fit the 12,288 of an AUTH line


class Kind(enum.StrEnum):
    """How tokens are got: a person's consent, the application's own right, a service account."""

    CONSENT = "authorization_code"
    CLIENT = "client_credentials"
    SERVICE = "service_account"


class Provider(msgspec.Struct, frozen=True):
    """Where a provider's consents and tokens are. URLs may hold {tenant}. `loopback`: the host of a
    redirect to this machine, as the provider wants it. `extra` goes with the authorization URL.
    `client_scope` empty: it gives no tokens to an application without a person's consent."""

    name: str
    title: str
    authorize_url: str
    token_url: str
    scope: str
    client_scope: str
    loopback: str
    extra: tuple[tuple[str, str], ...]
    tenant: str
    presets: tuple[str, ...]
    source: str


PROVIDERS = MappingProxyType(
    {
        "google": Provider(
            name="google",
            title="Google",
            authorize_url="https://accounts.google.com/o/oauth2/v2/auth",
            token_url="https://oauth2.googleapis.com/token",
            scope="https://mail.google.com/",
            client_scope="https://mail.google.com/",
            loopback="127.0.0.1",
            # Without both a second consent brings no refresh token.
            extra=(("access_type", "offline"), ("prompt", "consent")),
            tenant="",
            presets=("gmail", "google-workspace"),
            source="https://developers.google.com/identity/protocols/oauth2/native-app"
            " https://developers.google.com/workspace/gmail/imap/xoauth2-protocol",
        ),
        "microsoft": Provider(
            name="microsoft",
            title="Microsoft",
            authorize_url="https://login.microsoftonline.com/{tenant}/oauth2/v2.0/authorize",
            token_url="https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token",
            scope="https://outlook.office.com/SMTP.Send offline_access",
            client_scope="https://outlook.office365.com/.default",
            loopback="localhost",
            extra=(("prompt", "select_account"),),
            tenant="common",
            presets=("microsoft365", "outlook"),
            source="https://learn.microsoft.com/exchange/client-developer/legacy-protocols/"
            "how-to-authenticate-an-imap-pop-smtp-application-by-using-oauth",
        ),
        # The URLs are Yahoo's; the scope, which its guide leaves to those whose application it has
        # let send mail, is the one that mail programs ask for.
        "yahoo": Provider(
            name="yahoo",
            title="Yahoo",
            authorize_url="https://api.login.yahoo.com/oauth2/request_auth",
            token_url="https://api.login.yahoo.com/oauth2/get_token",
            scope="mail-w",
            client_scope="",
            loopback="localhost",
            extra=(),
            tenant="",
            presets=("yahoo",),
            source="https://developer.yahoo.com/oauth2/guide/flows_authcode/",
        ),
    }
)


CUSTOM = Provider(
    name="custom",
    title="the token server",
    authorize_url="",
    token_url="",
    scope="",
    client_scope="",
    loopback="127.0.0.1",
    extra=(),
    tenant="",
    presets=(),
    source="https://www.rfc-editor.org/rfc/rfc6749",
)
"""Any other: then both URLs and the scope have to be said."""


class Grant(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What tokens are asked for with, and the tokens that were got. Kept sealed, as JSON.

    `user`: the mailbox, of a service account. `renew_ms`: from then on another access token is got
    before one is used; 0: there is none yet.
    """

    provider: str
    kind: Kind
    client_id: str
    token_url: str
    scope: str
    authorize_url: str = ""
    client_secret: str = ""
    user: str = ""
    private_key: str = ""
    key_id: str = ""
    refresh_token: str = ""
    access_token: str = ""
    renew_ms: int = 0

    def __repr__(self) -> str:
        return f"Grant({self.provider}, {self.kind.value})"

    def secrets(self) -> tuple[Secret, ...]:
        """All that must not be shown."""
        found = (self.client_secret, self.private_key, self.refresh_token, self.access_token)
        return tuple(Secret(text) for text in found if text)

    def fresh(self, now_ms: int) -> bool:
        """Its access token holds for long enough to be used now."""
        return bool(self.access_token) and now_ms < self.renew_ms


class TokenRefused(WaypostError):
    """The token server said no for good: only a person can mend it."""


class TokenAway(WaypostError):
    """The token server cannot be asked now, or does not know what to say: it passes."""


def provider_for(preset: str, named: str = "") -> Provider:
    """By name, or the preset's own. Raises `UsageError`."""
    known = ", ".join(PROVIDERS)
    if named:
        found = PROVIDERS.get(named.lower())
        if found is None:
            raise UsageError(f"the providers of tokens are {known}", "provider")
        return found
    for provider in PROVIDERS.values():
        if preset in provider.presets:
            return provider
    raise UsageError(f"its preset tells no provider of tokens: say which of {known}", "provider")


def endpoints(provider: Provider, tenant: str) -> tuple[str, str]:
    """The URLs for consent and for tokens. Raises `UsageError` for a tenant that cannot be."""
    if tenant and not provider.tenant:
        raise UsageError(f"{provider.title} has no tenants", "tenant")
    if tenant and not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,253}[A-Za-z0-9])?", tenant):
        raise UsageError("a tenant is a domain name or an id", "tenant")
    tenant = tenant or provider.tenant
    return provider.authorize_url.format(tenant=tenant), provider.token_url.format(tenant=tenant)


def challenge(verifier: str) -> str:
    """RFC 7636 4.2, S256."""
    digest = hashlib.sha256(verifier.encode("ascii")).digest()
    return _base64url(digest)


def consent_query(
    grant: Grant, redirect_uri: str, state: str, verifier: str, login_hint: str
) -> dict[str, str]:
    """The query of the URL at which a person consents (RFC 6749 4.1.1)."""
    provider = PROVIDERS.get(grant.provider)
    asked = {
        "response_type": "code",
        "client_id": grant.client_id,
        "redirect_uri": redirect_uri,
        "scope": grant.scope,
        "state": state,
        "code_challenge": challenge(verifier),
        "code_challenge_method": "S256",
    }
    if "@" in login_hint:
        asked["login_hint"] = login_hint
    return asked | dict(provider.extra if provider is not None else ())


def code_form(grant: Grant, code: str, redirect_uri: str, verifier: str) -> dict[str, str]:
    """What is posted for the first tokens (RFC 6749 4.1.3, RFC 7636 4.5)."""
    return _with_client(
        grant,
        {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        },
    )


def renewal_form(grant: Grant, now_ms: int) -> dict[str, str]:
    """What is posted for the next access token. Raises `TokenRefused` where none can be asked."""
    match grant.kind:
        case Kind.CLIENT:
            return _with_client(grant, {"grant_type": "client_credentials", "scope": grant.scope})
        case Kind.SERVICE:
            return {
                "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",  # RFC 7523 2.1
                "assertion": _assertion(grant, now_ms // 1000),
            }
    if not grant.refresh_token:
        raise TokenRefused("there is no refresh token: the consent was not for offline access")
    return _with_client(
        grant, {"grant_type": "refresh_token", "refresh_token": grant.refresh_token}
    )


def _with_client(grant: Grant, form: dict[str, str]) -> dict[str, str]:
    form["client_id"] = grant.client_id
    if grant.client_secret:
        form["client_secret"] = grant.client_secret
    return form


_PASSING = frozenset(
    {"temporarily_unavailable", "server_error", "slow_down", "rate_limit_exceeded"}
)
_FOR_GOOD = frozenset(
    {
        *("invalid_grant", "invalid_client", "unauthorized_client", "unsupported_grant_type"),
        *("invalid_scope", "invalid_request", "access_denied", "interaction_required"),
        *("consent_required", "login_required", "invalid_resource", "admin_policy_enforced"),
        *("org_internal", "deleted_client", "disabled_client"),
    }
)


def renewed(grant: Grant, status: int, body: bytes, now_ms: int) -> Grant:
    """The grant with the tokens of an answer. Raises `TokenRefused` or `TokenAway`.

    A refresh token that comes with it takes the place of the old one (RFC 6749 6).
    """
    try:
        said = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise TokenAway(f"the token server answers {status} without JSON")
    if status != 200:
        raise _refusal(status, said)
    token, kind = said.get("access_token"), said.get("token_type", "Bearer")
    if not isinstance(token, str) or not _fits(token) or str(kind).lower() != "bearer":
        raise TokenAway("the token server's answer holds no usable token")
    refresh = said.get("refresh_token", "")
    life = said.get("expires_in", LIFE_DEFAULT_S)
    seconds = int(life) if isinstance(life, int | float) or _digits(life) else LIFE_DEFAULT_S
    life_ms = 1000 * max(0, min(seconds, LIFE_MOST_S))
    return msgspec.structs.replace(
        grant,
        access_token=token,
        renew_ms=now_ms + max(life_ms // 2, life_ms - EARLY_MS),
        refresh_token=refresh if isinstance(refresh, str) and refresh else grant.refresh_token,
    )


def _refusal(status: int, said: Mapping[str, object]) -> WaypostError:
    error = said.get("error")
    if not isinstance(error, str):  # Google's other APIs answer {"error": {...}}
        return TokenAway(f"the token server answers {status}")
    why = said.get("error_description")
    words = error if not isinstance(why, str) else f"{error}: {why.strip()}"
    text = printable(words, 300)
    if error in _PASSING or status == 429 or status >= 500 or error not in _FOR_GOOD:
        return TokenAway(f"the token server answers {status} ({text})")
    return TokenRefused(text)


def _fits(token: str) -> bool:
    return 0 < len(token) <= TOKEN_CHARACTERS and token.isascii() and token.isprintable()


def _digits(value: object) -> bool:
    return isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10


def service_account(octets: bytes, user: str, provider: Provider) -> Grant:
    """The grant of a service account's key file, as Google's console gives it. `UsageError`."""
    try:
        said = msgspec.json.decode(octets)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        said = None
    wanted = ("client_email", "private_key", "token_uri")
    if not isinstance(said, dict) or any(not isinstance(said.get(name), str) for name in wanted):
        raise UsageError(
            "that is no service account's key: it is the JSON file that the Google Cloud console "
            f"gives, with {', '.join(wanted)}",
            "service_account",
        )
    key_id = said.get("private_key_id")
    grant = Grant(
        provider=provider.name,
        kind=Kind.SERVICE,
        client_id=said["client_email"],
        token_url=said["token_uri"],
        scope=provider.scope,
        user=user,
        private_key=said["private_key"],
        key_id=key_id if isinstance(key_id, str) else "",
    )
    _assertion(grant, 0)  # a key that cannot sign is told of now
    return grant


def _assertion(grant: Grant, now_s: int) -> str:
    """A JWT signed with RS256 (RFC 7523 3); `sub` is the mailbox that is acted for."""
    # Imported here: only relays that have service accounts need it.
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    header = {"alg": "RS256", "typ": "JWT"} | ({"kid": grant.key_id} if grant.key_id else {})
    claims = {
        "iss": grant.client_id,
        "sub": grant.user,
        "scope": grant.scope,
        "aud": grant.token_url,
        "iat": now_s,
        "exp": now_s + ASSERTION_S,
    }
    signed = ".".join(_base64url(msgspec.json.encode(part)) for part in (header, claims))
    try:
        key = serialization.load_pem_private_key(grant.private_key.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise UsageError("the service account's private key cannot be read", "service_account")
    signature = key.sign(signed.encode("ascii"), padding.PKCS1v15(), hashes.SHA256())
    return f"{signed}.{_base64url(signature)}"


def _base64url(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")
