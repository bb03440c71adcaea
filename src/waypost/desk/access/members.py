"""Members: added, invited, given a role, removed; a member's own name and password.

Promises that an operator is left; that nobody is put into an account by an owner of another: who
has a login already is added by the operator; and that nobody brings a password to more rights than
it was set for. Knows nothing of pages.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from waypost.core.errors import NotFound, Secret, UsageError, WrongState
from waypost.desk.access import passwords
from waypost.desk.access.roles import Role
from waypost.desk.access.views import MemberView, PlaceView, Visitor
from waypost.desk.office import (
    NAME_CHARACTERS,
    Desk,
    account_of,
    address_of,
    asker,
    limit_of,
    shown,
)
from waypost.desk.views import iso, iso_or_none
from waypost.store.manage import access as rows
from waypost.store.manage.rows import insert, update
from waypost.store.read import access
from waypost.store.read.access import MemberRow
from waypost.store.read.book import Look, Value

ELSEWHERE = "this address has a login here already: ask the operator to add it to this account"
MORE = "this member is in other accounts too: ask the operator for the link"
PRESENT_MS = 15 * 60_000
PRESENT_MOST = 10  # wrong present passwords of one member in that time
NO_FACTOR: Mapping[str, Value] = MappingProxyType(
    {"factor": None, "factor_step": 0, "recovery": "[]"}
)
"""The columns of a member without a second factor."""
WRONG_PASSWORD = "the present password is wrong"


def email_key(email: str) -> str:
    """What addresses are compared by."""
    return email.strip().lower()


def checked_email(email: str) -> str:
    """The address as it is kept. Raises `UsageError`."""
    return str(address_of(email, "email"))


def member_of(look: Look, email: str) -> MemberRow:
    """The member of that address, or `NotFound`."""
    found = access.member_by_email(look, email_key(email))
    if found is None:
        raise NotFound(f"there is no member {shown(email)}: waypost member list")
    return found


def add(
    desk: Desk, email: str, *, account: str | None, role: Role, by_owner: bool = False
) -> MemberView:
    """A new member, or a new membership or role of one. `account` None: an operator.

    Whoever is let in to more than before, another account or all of them, is to set a new password
    by a link of the operator's: the owner who made that login may know the password, have scanned
    the second factor, or hold a session (`renewed` says that there was such a thing). `by_owner`:
    an owner asks, who may add nobody that has a login elsewhere. Raises `WrongState`.
    """
    address = checked_email(email)
    with desk.noting() as look:
        place = account_of(look, account) if account is not None else None
        member = access.member_by_email(look, email_key(address))
        renewed = False
        if member is None:
            columns = {"email": address, "email_key": email_key(address)}
            now_ms = desk.clock.wall_ms()
            made = insert(look, "member", {**columns, "created_at": now_ms})
            member = access.member(look, made)
            assert member is not None
        elif by_owner and place is not None and not _in(look, member, place.id):
            raise WrongState(ELSEWHERE)
        elif not member.operator and (place is None or not _in(look, member, place.id)):
            renewed = member.password is not None
            update(look, "member", member.id, {"password": None, **NO_FACTOR})
            rows.drop_sessions(look, member.id)
            rows.drop_links(look, member.id)
        if place is None:
            update(look, "member", member.id, {"operator": True})
        else:
            with _an_owner_stays(look, place.id, by_owner):
                rows.join(look, member.id, place.id, role)
        view = _shown(look, member.id)
        if renewed:
            view.renewed = True
        return view


def invite(
    desk: Desk,
    email: str,
    base: str = "",
    *,
    account: str | None = None,
    by_owner: bool = False,
) -> MemberView:
    """The link with which a member without a password sets the first one; good once, 3 days.

    `account`: only for a member of that one. `by_owner`: an owner asks, who is given no link to
    somebody that may do more than this account: it would open all of that. Raises `WrongState`.
    """
    from waypost.desk.access.login import kept_link

    with desk.noting() as look:
        member = member_of(look, email)
        owner = asker(look, account)
        if owner is not None and not _in(look, member, owner):
            raise NotFound(f"there is no member {shown(email)}")
        view = _shown(look, member.id)
        if member.password is None:
            if by_owner and (member.operator or len(view.accounts) > 1):
                raise WrongState(MORE)
            view.link = kept_link(desk, look, "invite", member, base).url
        return view


def list_(desk: Desk, *, account: str | None = None, limit: int = 100) -> list[MemberView]:
    """Newest first; of one account only that membership is told."""
    with desk.reading() as look:
        owner = asker(look, account)
        found = access.members(look, owner, limit_of(limit))
        return [_view(look, row, account) for row in found]


def show(desk: Desk, email: str) -> MemberView:
    """The member of that address. Raises `NotFound`."""
    with desk.reading() as look:
        return _view(look, member_of(look, email), None)


def remove(
    desk: Desk, email: str, *, account: str | None = None, by_owner: bool = False
) -> MemberView:
    """From one account, or (None) altogether. The view is of the member as it was.

    The last operator stays: `WrongState`; so does the last owner where an owner asks.
    """
    with desk.noting() as look:
        member = member_of(look, email)
        owner = asker(look, account)
        if owner is None:
            if member.operator and access.operators(look) == 1:
                raise WrongState("this is the last operator: add another one first")
            view = _view(look, member, None)
            rows.drop_member(look, member.id)
            return view
        if not _in(look, member, owner):
            raise NotFound(f"there is no member {shown(email)} in this account")
        view = _view(look, member, account)
        with _an_owner_stays(look, owner, by_owner):
            rows.part(look, member.id, owner)
        if not member.operator and not access.memberships(look, member.id):
            rows.drop_member(look, member.id)
        return view


def rename(desk: Desk, visitor: Visitor, name: str) -> None:
    """The name that is shown for a member."""
    if len(name) > NAME_CHARACTERS or not name.isprintable():
        raise UsageError(f"a name is up to {NAME_CHARACTERS} printable characters", "name")
    with desk.noting() as look:
        update(look, "member", visitor.member_id, {"name": name.strip()})


def set_password(desk: Desk, visitor: Visitor, present: Secret, password: Secret) -> None:
    """A new password; every other session of the member ends. `present` is not asked of one who
    has none or came by a link. Hashes: call in a thread.
    """
    passwords.checked(password, visitor.email)
    with desk.reading() as look:
        member = access.member(look, visitor.member_id)
    if member is None:
        raise NotFound("this login is gone")
    known = member.password is None or visitor.by_link
    if not known:
        proved(desk, member, present)
    encoded = passwords.hashed(password)
    with desk.noting() as look:
        unchanged(look, visitor, member)
        update(look, "member", member.id, {"password": encoded})
        update(look, "session", visitor.session_id, {"by_link": False})
        rows.drop_sessions(look, member.id, but=visitor.session_id)
        rows.drop_links(look, member.id)


def proved(desk: Desk, member: MemberRow, present: Secret) -> None:
    """Raises `UsageError` unless this is the member's password: whoever finds an open session does
    not know it. `WrongState` after too many wrong ones, before anything is hashed.
    """
    place, now_ms = f"present {member.id}", desk.clock.wall_ms()
    with desk.reading() as look:
        wrong = access.failures(look, place, now_ms - PRESENT_MS)
    if wrong >= PRESENT_MOST:
        raise WrongState("the present password was wrong too often: wait 15 minutes")
    if not passwords.matches(member.password, present):
        with desk.by(None).noting() as look:
            rows.failed(look, (place,), now_ms, PRESENT_MS)
        raise UsageError(WRONG_PASSWORD, "present")


def unchanged(look: Look, visitor: Visitor, member: MemberRow) -> None:
    """Raises `NotFound` where the session has ended or the login has become another since it was
    read: a hash takes its time, and what ends a session ends what it had begun.
    """
    fresh = access.member(look, member.id)
    open_ = access.session_is_open(look, visitor.session_id, member.id)
    if fresh is None or not open_ or same_login(fresh) != same_login(member):
        raise NotFound("this session has ended: log in again")


def same_login(member: MemberRow) -> tuple[object, ...]:
    """What is the same for as long as nobody has changed how the member logs in."""
    return member.password, member.factor


def _in(look: Look, member: MemberRow, account_id: int) -> bool:
    return any(p.account_id == account_id for p in access.memberships(look, member.id))


@contextlib.contextmanager
def _an_owner_stays(look: Look, account_id: int, by_owner: bool) -> Iterator[None]:
    """Refuses what an owner does that leaves the account without one; an operator may."""
    yield
    if by_owner and Role.OWNER not in access.roles(look, account_id):
        raise WrongState("an account has an owner: make another member owner first")


def _shown(look: Look, member_id: int) -> MemberView:
    member = access.member(look, member_id)
    assert member is not None
    return _view(look, member, None)


def _view(look: Look, row: MemberRow, account: str | None) -> MemberView:
    places = access.memberships(look, row.id)
    return MemberView(
        id=row.id,
        email=row.email,
        name=row.name,
        operator=row.operator,
        accounts=tuple(
            PlaceView(account=p.account, role=Role(p.role).word)
            for p in places
            if account in (None, p.account)
        ),
        has_password=row.password is not None,
        second_factor=row.factor is not None,
        created_at=iso(row.created_at),
        last_login_at=iso_or_none(row.last_login_at),
    )
