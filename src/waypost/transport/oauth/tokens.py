"""The access tokens of this process: kept in memory, renewed before they end or when refused.

Promises one renewal of an upstream's token at a time over all processes of the data directory; that
whoever waited for one takes what it brought; and that a refresh token that was rotated is kept
before it is needed. Failures are `TransportError`s with their trouble: what only a person can mend
pauses the upstream, everything else passes. Knows nothing of SMTP or of where grants are kept.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from waypost.clock import Clock
from waypost.core.errors import Secret, StoreAway, UsageError, WaypostError
from waypost.core.reply import Stage, printable
from waypost.core.upstream import Upstream
from waypost.store.locks import Lock
from waypost.transport.link.mask import hide
from waypost.transport.oauth.http import post
from waypost.transport.trouble import Scope, TransportError, Trouble
from waypost.upstream.oauth import (
    Grant,
    TokenAway,
    TokenRefused,
    renewal_form,
    renewed,
)

TURN_S = 0.05  # between looks whether another process has renewed it
KNOWN = 4  # tokens of an upstream that are masked in what its server says
TURNS = 800  # 40 s: a renewal takes 20 at most

Post = Callable[[str, dict[str, str]], Awaitable[tuple[int, bytes]]]


class NoToken(TransportError):
    """There is no token to log in with."""


class Vault(Protocol):
    """Where grants are kept. The first three block; call them in a thread."""

    def load(self, upstream_id: int) -> Grant | None:
        """Raises `StoreAway`, or another `WaypostError` where it does not open."""

    def keep(self, upstream_id: int, before: Grant, after: Grant) -> None:
        """Takes the place of `before`; nothing is kept where another grant is there by now."""

    def lock(self, upstream_id: int) -> Lock | None:
        """The right to renew, or None: another process is at it."""


class _Held(msgspec.Struct):
    """`edition`: of the upstream when it was got; an edit may have brought another grant."""

    edition: int
    token: Secret
    renew_ms: int


class Tokens:
    """On one event loop at a time; `ask` posts a form."""

    def __init__(self, vault: Vault, clock: Clock, ask: Post = post) -> None:
        self._vault = vault
        self._clock = clock
        self._ask = ask
        self._held: dict[int, _Held] = {}
        self._used: dict[int, deque[Secret]] = {}
        self._unkept: dict[int, tuple[Grant, Grant]] = {}  # got while the store was away

    def known(self, upstream: Upstream) -> tuple[Secret, ...]:
        """The tokens that were used last: what a server may repeat."""
        return tuple(self._used.get(upstream.id, ()))

    async def token(self, upstream: Upstream) -> tuple[Secret, bool]:
        """A token that holds, and whether it was got from the token server just now."""
        held = self._held.get(upstream.id)
        now_ms = self._clock.wall_ms()
        if held is not None and held.edition == upstream.edition and now_ms < held.renew_ms:
            return held.token, False
        return await self._renewed(upstream, None)

    async def refused(self, upstream: Upstream, token: Secret) -> None:
        """The server does not take this token: another is got. Raises as `token` does."""
        await self._renewed(upstream, token)

    async def _renewed(self, upstream: Upstream, refused: Secret | None) -> tuple[Secret, bool]:
        try:
            return await self._turn(upstream, refused)
        except TokenRefused as error:
            raise _no_token(upstream, Scope.UPSTREAM_PAUSED, error.public) from error
        except (TokenAway, StoreAway) as error:
            raise _no_token(upstream, Scope.UPSTREAM_FAILING, error.public) from error
        except UsageError as error:
            raise _no_token(upstream, Scope.UPSTREAM_PAUSED, error.public) from error

    async def _turn(self, upstream: Upstream, refused: Secret | None) -> tuple[Secret, bool]:
        """Waits for whoever renews it now, takes what that brought, or renews."""
        vault, ident = self._vault, upstream.id
        for _ in range(TURNS):
            lock = vault.lock(ident)
            if lock is not None:
                break
            await asyncio.sleep(TURN_S)
        else:
            raise TokenAway("another process has been renewing the token for too long")
        renewal = asyncio.ensure_future(self._locked(lock, upstream, refused))
        try:
            return await asyncio.shield(renewal)
        except asyncio.CancelledError:
            # At a stop, say. The server may have rotated the refresh token already: what it answers
            # is kept first, with the lock held, so that nobody asks with the old one.
            await asyncio.wait({renewal})
            if not renewal.cancelled():
                renewal.exception()
            raise

    async def _locked(
        self, lock: Lock, upstream: Upstream, refused: Secret | None
    ) -> tuple[Secret, bool]:
        ident = upstream.id
        try:
            await self._keep(ident)
            grant = await asyncio.to_thread(self._opened, upstream)
            known = grant.fresh(self._clock.wall_ms())
            if known and (refused is None or grant.access_token != refused.reveal()):
                return self._hold(upstream, grant), False
            after = await self._asked(grant)
            self._unkept[ident] = (grant, after)
            with contextlib.suppress(StoreAway):  # the token is good, and kept at the next turn
                await self._keep(ident)
            return self._hold(upstream, after), True
        finally:
            lock.close()

    async def _keep(self, ident: int) -> None:
        if ident in self._unkept:
            await asyncio.to_thread(self._vault.keep, ident, *self._unkept[ident])
            del self._unkept[ident]

    async def _asked(self, grant: Grant) -> Grant:
        mask = hide(*grant.secrets())
        try:
            form = renewal_form(grant, self._clock.wall_ms())
            status, body = await self._ask(grant.token_url, form)
            return renewed(grant, status, body, self._clock.wall_ms())
        except (TokenRefused, TokenAway) as error:
            raise type(error)(mask(error.public)) from None

    def _opened(self, upstream: Upstream) -> Grant:
        try:
            grant = self._vault.load(upstream.id)
        except StoreAway:
            raise
        except WaypostError as error:
            raise TokenRefused(f"its token cannot be opened: {error.public}") from error
        if grant is None:
            raise TokenRefused("it is not connected yet")
        return grant

    def _hold(self, upstream: Upstream, grant: Grant) -> Secret:
        token = Secret(grant.access_token)
        used = self._used.setdefault(upstream.id, deque(maxlen=KNOWN))
        if token not in used:
            used.append(token)
        self._held[upstream.id] = _Held(upstream.edition, token, grant.renew_ms)
        return token


def reconnect(upstream: Upstream) -> str:
    """The command that connects it anew, for the end of a reason."""
    name = upstream.name if upstream.name.isalnum() else f'"{upstream.name}"'
    return f"waypost upstream connect {name}"


def _no_token(upstream: Upstream, scope: Scope, why: str) -> NoToken:
    reason = f"no token for the login: {why}"
    if scope is Scope.UPSTREAM_PAUSED:
        reason = f"login refused: {why}; connect it again: {reconnect(upstream)}"
    text = printable(reason)
    known = Trouble(Stage.AUTH, scope, text, closing=True)
    return NoToken(Stage.AUTH, text, known)
