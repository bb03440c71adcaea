"""Coming in: by password and second factor, or by a link that is good once.

Promises that the answer for an unknown address is that for a wrong password, in words and in time;
that failures are counted in the store, by the peer's network and by address; and that a second
factor is asked for however one comes in. Passwords are hashed here: call in a thread. Knows nothing
of cookies.
"""

from __future__ import annotations

import ipaddress

import msgspec

from waypost.core.errors import NotFound, Secret, UsageError, WaypostError, WrongState
from waypost.desk import accounts
from waypost.desk.access import factor, passwords
from waypost.desk.access.members import checked_email, email_key, member_of, same_login
from waypost.desk.access.sessions import (
    PENDING_MS,
    Browser,
    digest,
    new_token,
    opened,
    over,
    unnoted,
)
from waypost.desk.access.views import LinkView
from waypost.desk.office import DAY_MS, Desk, Hand
from waypost.desk.views import iso
from waypost.store.manage import access as rows
from waypost.store.manage.rows import insert, update
from waypost.store.read import access, people
from waypost.store.read.access import MemberRow
from waypost.store.read.book import Look, Value

WINDOW_MS = 15 * 60_000
PEER_MOST = 10  # failed logins of one network in the window
EMAIL_MOST = 30  # of one address, from anywhere: more than a person needs, too few to guess by
LINK_MS = 15 * 60_000  # behaviour, section 11
FIRST_MS = DAY_MS
INVITE_MS = 3 * DAY_MS
IPV6_PREFIX_BITS = 64
FIRST_ACCOUNT = "main"
WRONG = "The e-mail address or the password is wrong"
WRONG_CODE = "This code is wrong or was used before"
DEAD_LINK = "This link has been used or is too old: ask for a new one"


class TooManyLogins(WaypostError):
    """Logins failed too often; nothing was looked at (HTTP 429)."""


class Entered(msgspec.Struct, frozen=True):
    """Somebody came in. `pending`: the second factor is still to come."""

    token: Secret
    pending: bool


def by_password(desk: Desk, email: str, password: Secret, who: Browser) -> Entered:
    """Raises `TooManyLogins`, or `UsageError` with the same words whatever is wrong."""
    places = (f"peer {_network(who.peer)}", f"email {email_key(email)[:320]}")
    _not_too_often(desk, places)
    with desk.reading() as look:
        member = access.member_by_email(look, email_key(email))
    right = passwords.matches(member.password if member else None, password)
    with unnoted(desk).noting() as look:
        if member is not None:
            # A hash takes its time: this may be the password of before by now.
            fresh = access.member(look, member.id)
            right = right and fresh is not None and same_login(fresh) == same_login(member)
        if not right or member is None:
            rows.failed(look, places, desk.clock.wall_ms(), WINDOW_MS)
            token = None
        else:
            pending = member.factor is not None
            if not pending:
                rows.forgive(look, places[1])
            token = opened(desk, look, member, who, pending=pending)
    if token is None or member is None:
        raise UsageError(WRONG, "password")
    return Entered(token, member.factor is not None)


def by_code(desk: Desk, waiting: Secret, code: str, who: Browser) -> Entered:
    """The second factor, or a recovery code, of a session that waits for it: a new session."""
    now_ms = desk.clock.wall_ms()
    with desk.reading() as look:
        row = access.session(look, digest(waiting))
        member = access.member(look, row.member_id) if row and row.pending else None
    if row is None or member is None or over(row, now_ms):
        raise NotFound(f"Log in again: a code is taken for {PENDING_MS // 60_000} minutes")
    places = (f"peer {_network(who.peer)}", f"code {member.id}")
    _not_too_often(desk, places)
    with unnoted(desk).noting() as look:
        fresh = access.member(look, member.id)
        used = fresh is not None and factor.use(desk, look, fresh, code)
        if used:
            rows.drop_session(look, row.id, member.id)
            rows.forgive(look, f"email {email_key(member.email)}")
            token = opened(desk, look, member, who, pending=False, by_link=row.by_link)
        else:
            rows.failed(look, places, now_ms, WINDOW_MS)
    if not used:
        raise UsageError(WRONG_CODE, "code")
    return Entered(token, False)


def make_link(desk: Desk, email: str, base: str = "", *, reset_factor: bool = False) -> LinkView:
    """A link for one who lost the way in: good once, for 15 minutes. It does not stand for the
    second factor, which `reset_factor` takes away. `base`: where pages are served.
    """
    with desk.noting() as look:
        member = member_of(look, email)
        if reset_factor:
            factor.reset(look, member)
        return kept_link(desk, look, "login", member, base)


def first_link(desk: Desk, base: str) -> LinkView | None:
    """The link that makes the operator's login; None where there is one. An older link is void."""
    with desk.reading() as look:
        if access.operators(look):
            return None
    with unnoted(desk).noting() as look:
        return None if access.operators(look) else kept_link(desk, look, "first", None, base)


def kept_link(desk: Desk, look: Look, kind: str, member: MemberRow | None, base: str) -> LinkView:
    """A new link of that kind, in a transaction that the caller holds."""
    lives_ms = {"first": FIRST_MS, "invite": INVITE_MS, "login": LINK_MS}[kind]
    token = new_token(desk)
    expires_ms = desk.clock.wall_ms() + lives_ms
    rows.keep_link(look, digest(token), kind, member.id if member else None, expires_ms)
    path = f"/login/{kind}/{token.reveal()}"
    return LinkView(
        email=member.email if member else None,
        kind=kind,
        path=path,
        url=base + path,
        expires_at=iso(expires_ms),
    )


def link_is_good(desk: Desk, kind: str, token: Secret) -> str | None:
    """Whose link that is (an e-mail address, nothing for the first); None: it is dead."""
    with desk.reading() as look:
        try:
            member = _linked(desk, look, kind, token)
        except NotFound:
            return None
    return member.email if member else ""


def by_link(desk: Desk, token: Secret, who: Browser) -> Entered:
    """Uses up a login link. The second factor is still asked for."""
    with desk.noting() as look:
        member = _linked(desk, look, "login", token)
        if member is None:
            raise NotFound(DEAD_LINK)
        rows.use_link(look, digest(token))
        pending = member.factor is not None
        return Entered(opened(desk, look, member, who, pending=pending, by_link=True), pending)


def by_invite(desk: Desk, token: Secret, password: Secret, who: Browser) -> Entered:
    """Uses up an invitation: the member's first password is set."""
    if link_is_good(desk, "invite", token) is None:
        raise NotFound(DEAD_LINK)  # before a hash is made for anybody who asks
    encoded = passwords.hashed(passwords.checked(password, ""))
    with desk.noting() as look:
        member = _linked(desk, look, "invite", token)
        if member is None or member.password is not None:
            raise NotFound(DEAD_LINK)
        rows.use_link(look, digest(token))
        update(look, "member", member.id, {"password": encoded})
        pending = member.factor is not None
        return Entered(opened(desk, look, member, who, pending=pending), pending)


def first(desk: Desk, token: Secret, email: str, password: Secret, who: Browser) -> Entered:
    """Uses up the first link: makes the operator's login, and an account where there is none."""
    if link_is_good(desk, "first", token) is None:
        raise NotFound(DEAD_LINK)
    address = checked_email(email)
    encoded = passwords.hashed(passwords.checked(password, address))
    hand = Hand(actor=address, deed="first login", subject=address, peer=who.peer)
    with desk.by(hand).noting() as look:
        _linked(desk, look, "first", token)
        if access.operators(look):
            raise NotFound(DEAD_LINK)
        rows.use_link(look, digest(token))
        known = access.member_by_email(look, email_key(address))
        if known is not None:
            raise WrongState("this address has a login already: take another for the operator")
        columns: dict[str, Value] = {"email": address, "email_key": email_key(address)}
        columns |= {"operator": True, "password": encoded, "created_at": desk.clock.wall_ms()}
        made = insert(look, "member", columns)
        member = access.member(look, made)
        assert member is not None
        session = opened(desk, look, member, who, pending=False)
        empty = not people.accounts(look, 1)
    if empty:
        made_account = msgspec.structs.replace(
            hand, deed="account create", subject=FIRST_ACCOUNT, account=FIRST_ACCOUNT
        )
        accounts.create(desk.by(made_account), FIRST_ACCOUNT, credits=None)
    return Entered(session, False)


def _linked(desk: Desk, look: Look, kind: str, token: Secret) -> MemberRow | None:
    """Whose link it is, None for the first. Raises `NotFound`."""
    row = access.link(look, digest(token))
    if row is None or row.kind != kind or row.expires_at <= desk.clock.wall_ms():
        raise NotFound(DEAD_LINK)
    return access.member(look, row.member_id) if row.member_id is not None else None


def _not_too_often(desk: Desk, places: tuple[str, str]) -> None:
    since_ms = desk.clock.wall_ms() - WINDOW_MS
    with desk.reading() as look:
        peer, other = (access.failures(look, place, since_ms) for place in places)
    if peer >= PEER_MOST or other >= EMAIL_MOST:
        raise TooManyLogins(
            f"Too many failed logins: wait {WINDOW_MS // 60_000} minutes, or ask for a login link"
        )


def _network(peer: str) -> str:
    """The address, of IPv6 the network that one customer has."""
    try:
        read = ipaddress.ip_address(peer)
    except ValueError:
        return peer
    if isinstance(read, ipaddress.IPv6Address) and read.ipv4_mapped is None:
        return str(ipaddress.ip_network((read, IPV6_PREFIX_BITS), strict=False))
    return str(read)
