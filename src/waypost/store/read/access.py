"""Members, their sessions, links and the audit trail.

What is not there is None. Knows nothing of passwords and tokens: digests come in.
"""

from __future__ import annotations

import msgspec

from waypost.store.read.book import Look
from waypost.store.read.people import limited

MEMBER = (
    "SELECT id, email, name, operator, password, factor, factor_step, recovery, created_at,"
    " last_login_at FROM member"
)
MEMBERSHIP = (
    "SELECT ms.member_id, ms.account_id, a.name, ms.role FROM membership ms"
    " JOIN account a ON a.id = ms.account_id"
)
SESSION = (
    "SELECT s.id, s.member_id, s.account_id, a.name, s.pending, s.by_link, s.peer, s.agent,"
    " s.created_at, s.seen_at, s.expires_at FROM session s"
    " LEFT JOIN account a ON a.id = s.account_id"
)
TRAIL = (
    "SELECT t.id, t.at, a.name, t.actor, t.deed, t.subject, t.peer FROM trail t"
    " LEFT JOIN account a ON a.id = t.account_id"
)


class MemberRow(msgspec.Struct, frozen=True):
    """`password` is an Argon2id hash, `factor` sealed, `recovery` JSON of digests."""

    id: int
    email: str
    name: str
    operator: bool
    password: str | None
    factor: bytes | None
    factor_step: int
    recovery: str
    created_at: int
    last_login_at: int | None


class MembershipRow(msgspec.Struct, frozen=True):
    """`account` is a name."""

    member_id: int
    account_id: int
    account: str
    role: int


class SessionRow(msgspec.Struct, frozen=True):
    """`account`: the name of the one looked at, None for all."""

    id: int
    member_id: int
    account_id: int | None
    account: str | None
    pending: bool
    by_link: bool
    peer: str
    agent: str
    created_at: int
    seen_at: int
    expires_at: int


class LinkRow(msgspec.Struct, frozen=True):
    """`kind`: first, invite or login."""

    kind: str
    member_id: int | None
    expires_at: int


class TrailRow(msgspec.Struct, frozen=True):
    id: int
    at: int
    account: str | None
    actor: str
    deed: str
    subject: str
    peer: str


def member(look: Look, member_id: int) -> MemberRow | None:
    return look.row(MemberRow, f"{MEMBER} WHERE id = ?", (member_id,))


def member_by_email(look: Look, email_key: str) -> MemberRow | None:
    return look.row(MemberRow, f"{MEMBER} WHERE email_key = ?", (email_key,))


def members(look: Look, account_id: int | None, limit: int) -> list[MemberRow]:
    """Those of one account, or (None) all."""
    if account_id is None:
        return look.rows(MemberRow, f"{MEMBER} ORDER BY id DESC LIMIT ?", (limited(limit),))
    return look.rows(
        MemberRow,
        f"{MEMBER} WHERE id IN (SELECT member_id FROM membership WHERE account_id = ?)"
        " ORDER BY id DESC LIMIT ?",
        (account_id, limited(limit)),
    )


def memberships(look: Look, member_id: int) -> list[MembershipRow]:
    """The accounts of a member, by name."""
    return look.rows(MembershipRow, f"{MEMBERSHIP} WHERE ms.member_id = ? ORDER BY 3", (member_id,))


def roles(look: Look, account_id: int) -> list[int]:
    """The roles that members have in an account, each once."""
    found = look.tuples("SELECT DISTINCT role FROM membership WHERE account_id = ?", (account_id,))
    return [row[0] for row in found]


def operators(look: Look) -> int:
    """How many members are operators."""
    return int(look.value("SELECT count(*) FROM member WHERE operator"))


def session(look: Look, digest: bytes) -> SessionRow | None:
    return look.row(SessionRow, f"{SESSION} WHERE s.digest = ?", (digest,))


def session_is_open(look: Look, session_id: int, member_id: int) -> bool:
    """Whether a session is that member's and waits for nothing."""
    found = look.value(
        "SELECT count(*) FROM session WHERE id = ? AND member_id = ? AND NOT pending",
        (session_id, member_id),
    )
    return bool(found)


def sessions(look: Look, member_id: int, now_ms: int) -> list[SessionRow]:
    """Those of a member that are open, latest seen first."""
    return look.rows(
        SessionRow,
        f"{SESSION} WHERE s.member_id = ? AND s.expires_at > ? AND NOT s.pending"
        " ORDER BY s.seen_at DESC LIMIT 100",
        (member_id, now_ms),
    )


def link(look: Look, digest: bytes) -> LinkRow | None:
    return look.row(
        LinkRow, "SELECT kind, member_id, expires_at FROM login_link WHERE digest = ?", (digest,)
    )


def failures(look: Look, place: str, since_ms: int) -> int:
    """Failed logins of one place since then."""
    return int(
        look.value(
            "SELECT count(*) FROM login_failure WHERE place = ? AND at > ?", (place, since_ms)
        )
    )


def trail(look: Look, account_id: int | None, below_id: int | None, limit: int) -> list[TrailRow]:
    """What was changed, newest first: of one account, or (None) everywhere."""
    below = below_id if below_id is not None else 2**62
    if account_id is None:
        return look.rows(
            TrailRow, f"{TRAIL} WHERE t.id < ? ORDER BY t.id DESC LIMIT ?", (below, limited(limit))
        )
    return look.rows(
        TrailRow,
        f"{TRAIL} WHERE t.account_id = ? AND t.id < ? ORDER BY t.id DESC LIMIT ?",
        (account_id, below, limited(limit)),
    )


def with_factor(look: Look) -> list[MemberRow]:
    """Members that have a second factor."""
    return look.rows(MemberRow, f"{MEMBER} WHERE factor IS NOT NULL")
