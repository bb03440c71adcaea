"""Connecting an upstream by XOAUTH2: ask for a consent, take what comes back, or use an
application's or a service account's own right.

Promises that a state is used once and within ten minutes, that PKCE guards every code (RFC 7636),
and that nothing is kept of an upstream unless the token server gave a token for it. Blocking, as
every deed, with a loop of its own: from an event loop, call them in a thread. Knows nothing of how
a person comes to the URL or back from it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from urllib.parse import urlencode

import msgspec

from waypost.core.errors import Secret, StoreAway, UsageError, WrongState
from waypost.desk import upstreams
from waypost.desk.connection import kept
from waypost.desk.office import Desk, asker, shown
from waypost.desk.views import UpstreamView, View, iso
from waypost.store.manage import rows
from waypost.store.read import people
from waypost.store.read.book import Look, Value
from waypost.store.read.rows import UpstreamRow
from waypost.transport.link.mask import hide
from waypost.transport.oauth.http import checked_url, post
from waypost.transport.oauth.tokens import Post
from waypost.upstream import oauth
from waypost.upstream.oauth import Grant, Kind, Provider, TokenAway, TokenRefused
from waypost.upstream.seal import SealError

CONSENT_MS = 600_000
CLIENT_CHARACTERS = 512


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """The application that is registered with the provider. Empty: the provider's usual.

    `provider`: google, microsoft or yahoo, where the preset does not tell. `trusted`: the operator
    says this, and may name other servers than the provider's: this machine will speak to them.
    """

    client_id: str = ""
    client_secret: Secret | None = None
    provider: str = ""
    tenant: str = ""
    authorize_url: str = ""
    token_url: str = ""
    scope: str = ""
    trusted: bool = False


class Begun(View):
    """`url`: where the person consents. `state` comes back in the redirect, with a code."""

    url: str
    state: str
    redirect_uri: str
    expires_at: str


class _Asked(msgspec.Struct, frozen=True):
    """What is kept, sealed, until the consent comes back."""

    verifier: str
    redirect_uri: str
    grant: Grant


def begin(
    desk: Desk,
    name: str,
    redirect_uri: str,
    client: Client | None = None,
    *,
    account: str | None = None,
) -> Begun:
    """Asks for a consent. Without `client` that of the last connection is used again.

    Raises `UsageError`, `NotFound`, `WrongState`.
    """
    checked_url(redirect_uri, "redirect_uri")
    with desk.reading() as look:
        row = _row(look, desk, name, account)
        grant = _grant(look, desk, row, client)
        bound = people.senders_of_upstream(look, row.id)
    hint = row.username or (bound[0].address if bound else "")
    verifier = desk.clock.token(oauth.UNRESERVED, oauth.VERIFIER_CHARACTERS)
    state = desk.clock.token(oauth.UNRESERVED, oauth.STATE_CHARACTERS)
    now = desk.clock.wall_ms()
    asked = _Asked(verifier, redirect_uri, grant)
    digest = _digest(state)
    sealed = desk.sealer.seal(Secret(msgspec.json.encode(asked).decode()), _bound_to(digest))
    columns: dict[str, Value] = {
        "state": digest,
        "upstream_id": row.id,
        "at": now,
        "sealed": sealed,
    }
    with desk.noting() as look:
        rows.ask_consent(look, columns, now - CONSENT_MS)
    query = oauth.consent_query(grant, redirect_uri, state, verifier, hint)
    joint = "&" if "?" in grant.authorize_url else "?"
    return Begun(
        url=grant.authorize_url + joint + urlencode(query),
        state=state,
        redirect_uri=redirect_uri,
        expires_at=iso(now + CONSENT_MS),
    )


def finish(
    desk: Desk, code: str, state: str, *, account: str | None = None, ask: Post = post
) -> UpstreamView:
    """Takes the code that came back with this state, once; the upstream then logs in by token.

    Raises `WrongState` for a state that was not asked for, was used, or is too old, and where the
    token server refuses or cannot be asked.
    """
    digest = _digest(state)
    now = desk.clock.wall_ms()
    with desk.noting() as look:
        found = people.consent(look, digest)
        rows.end_consent(look, digest)
        row = None if found is None else people.upstream_by_id(look, found[0])
        owner = asker(look, account)
    if (
        found is None
        or row is None
        or row.account_id != owner
        or not 0 <= now - found[1] <= (CONSENT_MS)
    ):
        raise WrongState(
            "this consent was not asked for here, was used already, or is older than 10 minutes: "
            "begin again"
        )
    text = desk.sealer.open(found[2], _bound_to(digest)).reveal()
    asked = msgspec.json.decode(text, type=_Asked)
    form = oauth.code_form(asked.grant, code, asked.redirect_uri, asked.verifier)
    grant = _answered(desk, asked.grant, lambda: form, ask, (Secret(code), Secret(asked.verifier)))
    if not grant.refresh_token:
        raise WrongState(
            "the token server gave no refresh token: the application must be allowed offline access"
        )
    return upstreams.connected(desk, row.name, grant, account=account)


def by_client(
    desk: Desk, name: str, client: Client, *, account: str | None = None, ask: Post = post
) -> UpstreamView:
    """Logs in by the application's own right (RFC 6749 4.4). Raises as `finish` does."""
    with desk.reading() as look:
        row = _row(look, desk, name, account)
        grant = _registered(row, client, Kind.CLIENT)
    if not grant.client_secret:
        raise UsageError("client credentials are an id and a secret", "client_secret")
    return _by_right(desk, name, grant, account, ask)


def by_service_account(
    desk: Desk,
    name: str,
    octets: bytes,
    client: Client,
    *,
    account: str | None = None,
    ask: Post = post,
) -> UpstreamView:
    """Logs in by a service account that may act for the mailbox (RFC 7523); `octets` of its key
    file. Raises as `finish` does."""
    with desk.reading() as look:
        row = _row(look, desk, name, account)
        bound = people.senders_of_upstream(look, row.id)
    provider = oauth.provider_for(row.preset, client.provider or "google")
    user = row.username or (bound[0].address if bound else "")
    grant = oauth.service_account(octets, user, provider)
    grant = msgspec.structs.replace(
        grant,
        token_url=checked_url(client.token_url or grant.token_url, "token_url"),
        scope=client.scope or grant.scope,
    )
    _usual(client, grant.token_url in (provider.token_url, _OLDER_GOOGLE))
    return _by_right(desk, name, grant, account, ask)


_OLDER_GOOGLE = "https://accounts.google.com/o/oauth2/token"  # in key files of earlier years


def _by_right(desk: Desk, name: str, grant: Grant, account: str | None, ask: Post) -> UpstreamView:
    now = desk.clock.wall_ms()
    with desk.reading() as look:
        before = _before(look, desk, _row(look, desk, name, account))
    secrets = () if before is None else before.secrets()
    grant = _answered(desk, grant, lambda: oauth.renewal_form(grant, now), ask, secrets)
    return upstreams.connected(desk, name, grant, account=account)


def _answered(
    desk: Desk,
    grant: Grant,
    form: Callable[[], dict[str, str]],
    ask: Post,
    secrets: tuple[Secret, ...] = (),
) -> Grant:
    mask = hide(*grant.secrets(), *secrets)
    try:
        status, body = asyncio.run(_asked(ask, grant.token_url, form()))
        return oauth.renewed(grant, status, body, desk.clock.wall_ms())
    except TokenRefused as error:
        raise WrongState(f"the token server refuses: {mask(error.public)}") from None
    except TokenAway as error:
        raise WrongState(f"no token was got: {mask(error.public)}; try again") from None


async def _asked(ask: Post, url: str, form: dict[str, str]) -> tuple[int, bytes]:
    return await ask(url, form)


def _row(look: Look, desk: Desk, name: str, account: str | None) -> UpstreamRow:
    found = people.upstream(look, asker(look, account), name)
    if found is None:
        upstreams.show(desk, name, account=account)  # raises `NotFound` in its words
        raise WrongState(f"{shown(name)} is being changed: try again")
    return found


def _grant(look: Look, desk: Desk, row: UpstreamRow, client: Client | None) -> Grant:
    """What the consent is for: of this client, or of the one that it was connected with."""
    if client is not None:
        return _registered(row, client, Kind.CONSENT)
    before = _before(look, desk, row)
    if before is None or before.kind is not Kind.CONSENT:
        raise UsageError(
            "name the application that is registered with the provider: its client id", "client_id"
        )
    return msgspec.structs.replace(before, refresh_token="", access_token="", renew_ms=0)


def _before(look: Look, desk: Desk, row: UpstreamRow) -> Grant | None:
    """What it is connected with, None where that is nothing or does not open."""
    blob = people.grant(look, row.id)
    try:
        return None if blob is None else kept.opened_grant(desk.sealer, row.id, blob)
    except (SealError, StoreAway):
        return None


def _registered(row: UpstreamRow, client: Client, kind: Kind) -> Grant:
    """The grant of a client, with no tokens yet. Raises `UsageError`."""
    provider = _provider(row, client)
    authorize_url, token_url = oauth.endpoints(provider, client.tenant)
    own = client.authorize_url or client.token_url or client.scope
    _usual(client, not own)
    if not 0 < len(client.client_id) <= CLIENT_CHARACTERS or not client.client_id.isprintable():
        raise UsageError("a client id is a line of text", "client_id")
    return Grant(
        provider=provider.name,
        kind=kind,
        client_id=client.client_id,
        client_secret="" if client.client_secret is None else client.client_secret.reveal(),
        authorize_url=checked_url(client.authorize_url or authorize_url, "authorize_url"),
        token_url=checked_url(client.token_url or token_url, "token_url"),
        scope=client.scope or _scope(provider, kind),
    )


def _provider(row: UpstreamRow, client: Client) -> Provider:
    """The one that is named or that the preset tells; where all is said, none is needed."""
    told = any(row.preset in known.presets for known in oauth.PROVIDERS.values())
    own = client.trusted and client.authorize_url and client.token_url and client.scope
    if own and not told and not client.provider:
        return oauth.CUSTOM
    return oauth.provider_for(row.preset, client.provider)


def _scope(provider: Provider, kind: Kind) -> str:
    if kind is not Kind.CLIENT:
        return provider.scope
    if not provider.client_scope and provider is not oauth.CUSTOM:
        raise UsageError(
            f"{provider.title} gives no tokens for client credentials: connect with a consent",
            "client_secret",
        )
    return provider.client_scope


def _usual(client: Client, usual: bool) -> None:
    """Nobody but the operator makes this machine speak to a server that he names."""
    if not client.trusted and not usual:
        raise UsageError("tokens come from the provider's own servers", "token_url")


def _digest(state: str) -> bytes:
    return hashlib.sha256(state.encode("utf-8", "replace")).digest()


def _bound_to(digest: bytes) -> bytes:
    return b"consent:" + digest.hex().encode()
