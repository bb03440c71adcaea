"""Members, sessions and the trail as they are shown; never a password, token or second factor.

Knows nothing of the store.
"""

from __future__ import annotations

import msgspec

from waypost.desk.access.roles import Role
from waypost.desk.views import View


class PlaceView(View):
    """A membership: `role` is owner, developer or read-only."""

    account: str
    role: str


class MemberView(View):
    """Somebody with a login. `link`: the one-time link to it, only when it was made just now.

    `renewed`: the password of before, its second factor and its sessions were taken away just now.
    """

    id: int
    email: str
    name: str
    operator: bool
    accounts: tuple[PlaceView, ...]
    has_password: bool
    second_factor: bool
    created_at: str
    last_login_at: str | None
    link: str | msgspec.UnsetType = msgspec.UNSET
    renewed: bool | msgspec.UnsetType = msgspec.UNSET


class LinkView(View):
    """A link that lets somebody in once. `path` begins with a slash; `url` is where the relay
    serves pages.
    """

    email: str | None
    kind: str  # first, invite or login
    path: str
    url: str
    expires_at: str


class SessionView(View):
    """`current`: the one that asks."""

    id: int
    peer: str
    agent: str
    created_at: str
    seen_at: str
    current: bool


class TrailView(View):
    """A line of the audit trail; `id` rises."""

    id: int
    at: str
    account: str | None
    actor: str
    deed: str
    subject: str
    peer: str


class Visitor(msgspec.Struct, frozen=True, kw_only=True):
    """Who shows a session. `account` is the name of the one looked at, None for all (an operator
    only); `role` is the one there. `by_link`: came by a link, and may set a password without the
    present one.
    """

    member_id: int
    email: str
    name: str
    operator: bool
    session_id: int
    account: str | None
    role: Role
    accounts: tuple[PlaceView, ...]
    has_password: bool
    by_link: bool
    second_factor: bool
