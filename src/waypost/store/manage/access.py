"""Changes of members, sessions, links and the audit trail.

Every function is part of a write transaction that the caller holds. Knows nothing of passwords and
tokens: digests come in.
"""

from __future__ import annotations

from waypost.store.read.book import Look, Value


def join(look: Look, member_id: int, account_id: int, role: int) -> None:
    """Makes a member of the account, or changes the role there."""
    look.run(
        "INSERT INTO membership (member_id, account_id, role) VALUES (?, ?, ?)"
        " ON CONFLICT DO UPDATE SET role = excluded.role",
        (member_id, account_id, role),
    )


def part(look: Look, member_id: int, account_id: int) -> None:
    """Ends a membership, and the sessions that look at that account."""
    look.run(
        "DELETE FROM membership WHERE member_id = ? AND account_id = ?", (member_id, account_id)
    )
    look.run("DELETE FROM session WHERE member_id = ? AND account_id = ?", (member_id, account_id))


def drop_member(look: Look, member_id: int) -> None:
    """With memberships, sessions and links; what was done stays in the trail."""
    look.run("DELETE FROM member WHERE id = ?", (member_id,))


def drop_sessions(look: Look, member_id: int, but: int = 0) -> None:
    """Ends all sessions of a member but one."""
    look.run("DELETE FROM session WHERE member_id = ? AND id <> ?", (member_id, but))


def drop_session(look: Look, session_id: int, member_id: int) -> int:
    """Ends one session of a member; how many there were."""
    return look.run("DELETE FROM session WHERE id = ? AND member_id = ?", (session_id, member_id))


def keep_link(look: Look, digest: bytes, kind: str, member_id: int | None, expires_ms: int) -> None:
    """A new link; an older one of the same kind and member is void."""
    look.run("DELETE FROM login_link WHERE kind = ? AND member_id IS ?", (kind, member_id))
    look.run(
        "INSERT INTO login_link (digest, kind, member_id, expires_at) VALUES (?, ?, ?, ?)",
        (digest, kind, member_id, expires_ms),
    )


def use_link(look: Look, digest: bytes) -> None:
    look.run("DELETE FROM login_link WHERE digest = ?", (digest,))


def drop_links(look: Look, member_id: int) -> None:
    look.run("DELETE FROM login_link WHERE member_id = ?", (member_id,))


def failed(look: Look, places: tuple[str, ...], now_ms: int, kept_ms: int) -> None:
    """Counts a failed login, and forgets old ones."""
    look.run("DELETE FROM login_failure WHERE at <= ?", (now_ms - kept_ms,))
    for place in places:
        look.run("INSERT INTO login_failure (place, at) VALUES (?, ?)", (place, now_ms))


def forgive(look: Look, place: str) -> None:
    look.run("DELETE FROM login_failure WHERE place = ?", (place,))


def sweep(look: Look, now_ms: int) -> None:
    """Lets go of sessions and links that are over."""
    look.run("DELETE FROM session WHERE expires_at <= ?", (now_ms,))
    look.run("DELETE FROM login_link WHERE expires_at <= ?", (now_ms,))


def note(look: Look, line: dict[str, Value]) -> None:
    """A line of the audit trail, by its columns."""
    names = ", ".join(line)
    marks = ", ".join("?" * len(line))
    look.run(f"INSERT INTO trail ({names}) VALUES ({marks})", tuple(line.values()))
