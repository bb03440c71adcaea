"""Sessions: opened by a login, shown by a token, closed. Kept by the SHA-256 of the token.

Promises that a session which has not been used for a week, or is a month old, is over; that one
which waits for its second factor opens nothing; and that a member who is gone has none. Knows
nothing of cookies.
"""

from __future__ import annotations

import hashlib
import string

import msgspec

from waypost.core.errors import NotFound, Secret
from waypost.desk.access.roles import Role
from waypost.desk.access.views import PlaceView, SessionView, Visitor
from waypost.desk.office import DAY_MS, Desk, account_of, number_of
from waypost.desk.views import iso
from waypost.store.manage import access as rows
from waypost.store.manage.rows import insert, update
from waypost.store.read import access, people
from waypost.store.read.access import MemberRow, MembershipRow, SessionRow
from waypost.store.read.book import Look

ALPHABET = string.ascii_letters + string.digits
TOKEN_CHARACTERS = 43  # of 62: 256 bits
IDLE_MS = 7 * DAY_MS
LIFE_MS = 30 * DAY_MS
PENDING_MS = 5 * 60_000  # for the second factor
SEEN_EVERY_MS = 60_000
AGENT_CHARACTERS = 200
ACCOUNTS_SHOWN = 100  # an operator chooses from these; more are found on the operator's screen


class Browser(msgspec.Struct, frozen=True):
    """Where somebody comes from: the address, and what the browser says of itself."""

    peer: str
    agent: str


def digest(token: Secret) -> bytes:
    return hashlib.sha256(token.reveal().encode("utf-8", "surrogateescape")).digest()


def new_token(desk: Desk) -> Secret:
    return Secret(desk.clock.token(ALPHABET, TOKEN_CHARACTERS))


def opened(
    desk: Desk, look: Look, member: MemberRow, who: Browser, *, pending: bool, by_link: bool = False
) -> Secret:
    """A new session in a transaction that the caller holds; its token. It looks at the member's
    first account, an operator's at all. `by_link`: may set a password without the present one.
    """
    now_ms = desk.clock.wall_ms()
    rows.sweep(look, now_ms)
    token = new_token(desk)
    places = access.memberships(look, member.id)
    first = None if member.operator or not places else places[0].account_id
    insert(
        look,
        "session",
        {
            "digest": digest(token),
            "member_id": member.id,
            "account_id": first,
            "pending": pending,
            "by_link": by_link,
            "peer": who.peer,
            "agent": plain(who.agent),
            "created_at": now_ms,
            "seen_at": now_ms,
            "expires_at": now_ms + (PENDING_MS if pending else LIFE_MS),
        },
    )
    if not pending:
        update(look, "member", member.id, {"last_login_at": now_ms})
    return token


def plain(text: str) -> str:
    """What a browser says of itself, bounded and printable."""
    return "".join(c if c.isprintable() else "?" for c in text)[:AGENT_CHARACTERS]


def visitor(desk: Desk, token: Secret) -> Visitor | None:
    """Who shows this token, or None. When it was last seen is written at most once a minute."""
    if len(token.reveal()) != TOKEN_CHARACTERS:
        return None
    now_ms = desk.clock.wall_ms()
    with desk.reading() as look:
        row = access.session(look, digest(token))
        if row is None or row.pending or over(row, now_ms):
            return None
        found = _visitor(look, row)
    if now_ms - row.seen_at >= SEEN_EVERY_MS:
        with unnoted(desk).noting() as look:
            update(look, "session", row.id, {"seen_at": now_ms})
    return found


def unnoted(desk: Desk) -> Desk:
    """The desk for what is no deed of somebody: nothing goes to the trail."""
    return desk if desk.hand is None else desk.by(None)


def over(row: SessionRow, now_ms: int) -> bool:
    return row.expires_at <= now_ms or row.seen_at <= now_ms - IDLE_MS


def _visitor(look: Look, row: SessionRow) -> Visitor | None:
    member = access.member(look, row.member_id)
    if member is None:
        return None
    places = access.memberships(look, member.id)
    here = next((p for p in places if p.account_id == row.account_id), None)
    if not member.operator and here is None:
        here = places[0] if places else None
        if here is None:
            return None
    return Visitor(
        member_id=member.id,
        email=member.email,
        name=member.name,
        operator=member.operator,
        session_id=row.id,
        account=row.account if member.operator else here.account if here else None,
        role=Role.OPERATOR if member.operator else Role(here.role) if here else Role.READ_ONLY,
        accounts=_places(look, member, places),
        has_password=member.password is not None,
        by_link=row.by_link,
        second_factor=member.factor is not None,
    )


def _places(look: Look, member: MemberRow, own: list[MembershipRow]) -> tuple[PlaceView, ...]:
    if not member.operator:
        return tuple(PlaceView(account=p.account, role=Role(p.role).word) for p in own)
    found = people.accounts(look, ACCOUNTS_SHOWN)
    return tuple(PlaceView(account=a.name, role=Role.OPERATOR.word) for a in found)


def close(desk: Desk, token: Secret) -> None:
    """Logs out; a token that is no session's does nothing."""
    with unnoted(desk).noting() as look:
        row = access.session(look, digest(token))
        if row is not None:
            rows.drop_session(look, row.id, row.member_id)


def choose(desk: Desk, visitor: Visitor, account: str | None) -> None:
    """Looks at another account from now on. `NotFound` for one that is not the member's."""
    with unnoted(desk).noting() as look:
        if account is None:
            if not visitor.operator:
                raise NotFound("choose an account")
            account_id = None
        else:
            account_id = account_of(look, account).id
            mine = {p.account_id for p in access.memberships(look, visitor.member_id)}
            if not visitor.operator and account_id not in mine:
                raise NotFound("there is no such account")
        update(look, "session", visitor.session_id, {"account_id": account_id})


def list_(desk: Desk, visitor: Visitor) -> list[SessionView]:
    """The member's own sessions."""
    with desk.reading() as look:
        found = access.sessions(look, visitor.member_id, desk.clock.wall_ms())
    return [
        SessionView(
            id=row.id,
            peer=row.peer,
            agent=row.agent,
            created_at=iso(row.created_at),
            seen_at=iso(row.seen_at),
            current=row.id == visitor.session_id,
        )
        for row in found
        if not over(row, desk.clock.wall_ms())
    ]


def end(desk: Desk, visitor: Visitor, session_id: int) -> None:
    """Ends one of the member's own sessions."""
    with desk.noting() as look:
        if not rows.drop_session(look, number_of(session_id, "session"), visitor.member_id):
            raise NotFound("there is no such session")


def end_others(desk: Desk, visitor: Visitor) -> None:
    """Ends all of the member's sessions but the one that asks."""
    with desk.noting() as look:
        rows.drop_sessions(look, visitor.member_id, but=visitor.session_id)
