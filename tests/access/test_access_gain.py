"""A login that an account's owner made, and what becomes of it when it is let in to more.

The owner was given the link of its invitation: the password, the second factor and the sessions
may all be the owner's.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from access.people import HERE, PASSWORD, StandingClock, join, owned, seen, token_in
from access.test_access_factor import code
from waypost.core.errors import NotFound, Secret, UsageError, WaypostError, WrongState
from waypost.desk.access import factor, login, members, passwords, sessions
from waypost.desk.access.roles import Role
from waypost.desk.access.views import MemberView
from waypost.desk.office import Desk

EMAIL = "chief@elsewhere.test"
NEW = Secret("a password of the chief's own")

Gain = Callable[[Desk], MemberView]


def _operator(desk: Desk) -> MemberView:
    return members.add(desk, EMAIL, account=None, role=Role.OPERATOR)


def _second_account(desk: Desk) -> MemberView:
    return members.add(desk, EMAIL, account="other", role=Role.READ_ONLY)


GAINS = pytest.mark.parametrize("gain", [_operator, _second_account])


@GAINS
def test_what_an_owner_may_know_lets_nobody_in_to_more(
    desk: Desk, clock: StandingClock, gain: Gain
) -> None:
    visitor = owned(desk, EMAIL)
    session = login.by_password(desk, EMAIL, PASSWORD, HERE).token
    key = factor.offer(desk, EMAIL, "Waypost").text
    codes = factor.switch_on(desk, visitor, key, code(key, clock.ms))
    clock.ms += 60_000
    waiting = login.by_password(desk, EMAIL, PASSWORD, HERE).token
    login_link = token_in(login.make_link(desk, EMAIL).path)

    assert gain(desk).renewed is True

    with pytest.raises(UsageError):
        login.by_password(desk, EMAIL, PASSWORD, HERE)
    with pytest.raises(NotFound):
        login.by_link(desk, login_link, HERE)
    for given in (code(key, clock.ms), codes[0]):
        with pytest.raises(WaypostError):
            login.by_code(desk, waiting, given, HERE)
    assert sessions.visitor(desk, session) is None
    assert sessions.visitor(desk, waiting) is None

    link = members.invite(desk, EMAIL).link
    assert isinstance(link, str)
    entered = login.by_invite(desk, token_in(link), NEW, HERE)
    assert not entered.pending  # the second factor of before is gone
    found = seen(desk, entered.token)
    assert found.operator or {place.account for place in found.accounts} == {"acme", "other"}
    assert sessions.visitor(desk, login.by_password(desk, EMAIL, NEW, HERE).token)


@GAINS
def test_the_owner_gets_no_link_to_it_any_more(desk: Desk, gain: Gain) -> None:
    owned(desk, EMAIL)
    gain(desk)
    with pytest.raises(WrongState):
        members.invite(desk, EMAIL, account="acme", by_owner=True)


@GAINS
def test_an_invitation_that_the_owner_holds_is_void(desk: Desk, gain: Gain) -> None:
    join(desk, "boss@acme.test")
    members.add(desk, EMAIL, account="acme", role=Role.DEVELOPER, by_owner=True)
    held = members.invite(desk, EMAIL, account="acme", by_owner=True).link
    assert isinstance(held, str)
    gain(desk)
    with pytest.raises(NotFound):
        login.by_invite(desk, token_in(held), PASSWORD, HERE)


def test_removed_from_one_account_it_is_not_taken_over_by_the_other(desk: Desk) -> None:
    """Who made it, removed it and let it in again has it anew, and no more than that account."""
    owned(desk, EMAIL)
    members.remove(desk, EMAIL, account="acme", by_owner=True)
    owned(desk, EMAIL)
    assert _second_account(desk).renewed is True
    members.remove(desk, EMAIL, account="acme", by_owner=True)
    with pytest.raises(WrongState):  # it is the other account's now
        members.add(desk, EMAIL, account="acme", role=Role.OWNER, by_owner=True)


def test_who_is_let_in_to_no_more_keeps_the_login(desk: Desk) -> None:
    """The control: another role in the same account, and an operator who joins an account."""
    ann, ops = owned(desk, EMAIL), join(desk, "ops@x.test", account=None)
    session = login.by_password(desk, EMAIL, PASSWORD, HERE).token
    theirs = login.by_password(desk, ops.email, PASSWORD, HERE).token
    assert members.add(desk, ann.email, account="acme", role=Role.OWNER).renewed is not True
    assert members.add(desk, ops.email, account="acme", role=Role.OWNER).renewed is not True
    assert seen(desk, session).role is Role.OWNER and seen(desk, theirs).operator


@GAINS
def test_a_password_that_was_being_checked_lets_nobody_in(
    desk: Desk, gain: Gain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The login is let in to more while the hash of a login with the old password is made."""
    owned(desk, EMAIL)
    matches = passwords.matches

    def meanwhile(encoded: str | None, password: Secret) -> bool:
        right = matches(encoded, password)
        gain(desk)
        return right

    monkeypatch.setattr(passwords, "matches", meanwhile)
    with pytest.raises(UsageError):
        login.by_password(desk, EMAIL, PASSWORD, HERE)


@GAINS
def test_a_password_that_was_being_set_is_not_kept(
    desk: Desk, gain: Gain, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor = owned(desk, EMAIL)
    hashed = passwords.hashed

    def meanwhile(password: Secret) -> str:
        gain(desk)
        return hashed(password)

    monkeypatch.setattr(passwords, "hashed", meanwhile)
    with pytest.raises(NotFound):
        members.set_password(desk, visitor, PASSWORD, NEW)
    monkeypatch.undo()
    with pytest.raises(UsageError):
        login.by_password(desk, EMAIL, NEW, HERE)


def test_a_second_factor_of_an_ended_session_is_not_kept(desk: Desk, clock: StandingClock) -> None:
    """It would shut the chief out, or let in whoever has its codes."""
    visitor = owned(desk, EMAIL)
    key = factor.offer(desk, EMAIL, "Waypost").text
    _operator(desk)
    with pytest.raises(NotFound):
        factor.switch_on(desk, visitor, key, code(key, clock.ms))
    assert not members.list_(desk)[0].second_factor
