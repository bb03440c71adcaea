"""Coming in: passwords, links, how often, how long."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from access.people import HERE, MINUTE_MS, PASSWORD, StandingClock, join, seen, token_in
from waypost.core.errors import NotFound, Secret, UsageError, WaypostError, WrongState
from waypost.desk import accounts
from waypost.desk.access import factor, login, members, sessions
from waypost.desk.access.login import EMAIL_MOST, PEER_MOST, TooManyLogins
from waypost.desk.access.passwords import LEAST_CHARACTERS, NOBODY, hashed
from waypost.desk.access.roles import Role
from waypost.desk.access.sessions import IDLE_MS, LIFE_MS, Browser
from waypost.desk.office import Desk

WRONG = Secret("not the password")


def test_the_right_password_lets_in_and_a_wrong_one_does_not(desk: Desk) -> None:
    join(desk, "ann@acme.test")
    entered = login.by_password(desk, " Ann@ACME.test ", PASSWORD, HERE)
    assert seen(desk, entered.token).email == "ann@acme.test"
    with pytest.raises(UsageError):
        login.by_password(desk, "ann@acme.test", WRONG, HERE)


def test_an_unknown_address_is_answered_as_a_wrong_password(desk: Desk, real_hashes: None) -> None:
    """In words, and in time within what a machine's noise allows."""
    join(desk, "ann@acme.test")
    members.add(desk, "new@acme.test", account="acme", role=Role.DEVELOPER)  # without a password

    def fail(email: str, peer: str) -> tuple[str, float]:
        began = time.process_time()  # of a busy machine, too, this tells what was computed
        with pytest.raises(UsageError) as error:
            login.by_password(desk, email, WRONG, Browser(peer, ""))
        return error.value.public, time.process_time() - began

    people = ("ann@acme.test", "nobody@acme.test", "new@acme.test", "no address")
    told = {email: [fail(email, f"192.0.2.{n}") for n in range(4)] for email in people}
    assert {words for runs in told.values() for words, _ in runs} == {login.WRONG}
    best = {email: min(s for _, s in runs) for email, runs in told.items()}
    for email in people[1:]:
        assert best[email] > best["ann@acme.test"] / 2, best


def test_nobodys_hash_costs_what_a_real_one_costs(real_hashes: None) -> None:
    assert NOBODY.split("$")[1:4] == hashed(WRONG).split("$")[1:4]


def test_too_many_failures_of_one_network(desk: Desk, clock: StandingClock) -> None:
    join(desk, "ann@acme.test")
    six = [Browser(f"2001:db8::{n:x}", "") for n in range(1, PEER_MOST + 3)]  # one network
    for n in range(PEER_MOST):
        with pytest.raises(UsageError):
            login.by_password(desk, f"x{n}@acme.test", WRONG, six[n])
    with pytest.raises(TooManyLogins):
        login.by_password(desk, "ann@acme.test", PASSWORD, six[-1])
    login.by_password(desk, "ann@acme.test", PASSWORD, HERE)  # elsewhere nothing is wrong
    clock.ms += 15 * MINUTE_MS
    login.by_password(desk, "ann@acme.test", PASSWORD, six[-1])


def test_too_many_failures_of_one_address(desk: Desk) -> None:
    join(desk, "ann@acme.test")
    for n in range(EMAIL_MOST):
        with pytest.raises(UsageError):
            login.by_password(desk, "Ann@acme.test", WRONG, Browser(f"192.0.2.{n}", ""))
    with pytest.raises(TooManyLogins):
        login.by_password(desk, "ann@acme.test", PASSWORD, HERE)
    link = login.make_link(desk, "ann@acme.test")  # the way in that is left
    assert login.by_link(desk, token_in(link.path), HERE).pending is False


def test_a_login_link_is_good_once_and_for_a_quarter_of_an_hour(
    desk: Desk, clock: StandingClock
) -> None:
    join(desk, "ann@acme.test")
    token = token_in(login.make_link(desk, "ann@acme.test").path)
    assert login.link_is_good(desk, "login", token) == "ann@acme.test"
    visitor = seen(desk, login.by_link(desk, token, HERE).token)
    assert visitor.by_link
    with pytest.raises(NotFound):
        login.by_link(desk, token, HERE)
    late = token_in(login.make_link(desk, "ann@acme.test").path)
    clock.ms += 15 * MINUTE_MS
    with pytest.raises(NotFound):
        login.by_link(desk, late, HERE)


def test_a_newer_link_voids_the_older(desk: Desk) -> None:
    join(desk, "ann@acme.test")
    older, newer = (token_in(login.make_link(desk, "ann@acme.test").path) for _ in range(2))
    assert login.link_is_good(desk, "login", older) is None
    assert login.link_is_good(desk, "login", newer)


def test_a_link_of_one_kind_opens_no_other(desk: Desk) -> None:
    join(desk, "ann@acme.test")
    token = token_in(login.make_link(desk, "ann@acme.test").path)
    with pytest.raises(NotFound):
        login.by_invite(desk, token, PASSWORD, HERE)
    with pytest.raises(NotFound):
        login.first(desk, token, "evil@acme.test", PASSWORD, HERE)


def test_who_came_by_a_link_sets_a_password_once(desk: Desk) -> None:
    first = join(desk, "ann@acme.test")
    entered = login.by_link(desk, token_in(login.make_link(desk, first.email).path), HERE)
    visitor = seen(desk, entered.token)
    members.set_password(desk, visitor, Secret(""), Secret("another long password"))
    assert not seen(desk, entered.token).by_link
    with pytest.raises(UsageError):
        members.set_password(desk, seen(desk, entered.token), Secret(""), PASSWORD)


def test_an_invitation_sets_no_second_password(desk: Desk) -> None:
    members.add(desk, "ann@acme.test", account="acme", role=Role.OWNER)
    links = [members.invite(desk, "ann@acme.test").link for _ in range(2)]
    assert isinstance(links[0], str) and isinstance(links[1], str)
    with pytest.raises(NotFound):
        login.by_invite(desk, token_in(links[0]), PASSWORD, HERE)
    login.by_invite(desk, token_in(links[1]), PASSWORD, HERE)
    with pytest.raises(NotFound):
        login.by_invite(desk, token_in(links[1]), WRONG, HERE)
    assert not isinstance(members.invite(desk, "ann@acme.test").link, str)


def test_the_first_login(desk: Desk) -> None:
    older = login.first_link(desk, "http://x")
    link = login.first_link(desk, "http://x")
    assert older is not None and link is not None and link.url == f"http://x{link.path}"
    with pytest.raises(NotFound):
        login.first(desk, token_in(older.path), "ops@x.test", PASSWORD, HERE)
    entered = login.first(desk, token_in(link.path), "ops@x.test", PASSWORD, HERE)
    assert seen(desk, entered.token).role is Role.OPERATOR
    assert seen(desk, entered.token).account is None
    with pytest.raises(NotFound):
        login.first(desk, token_in(link.path), "evil@x.test", PASSWORD, HERE)
    assert login.first_link(desk, "http://x") is None
    assert {view.name for view in accounts.list_(desk)} == {"acme", "other"}


@pytest.mark.parametrize("text", ["", "short", "x" * LEAST_CHARACTERS, "y" * 300, "ops@x.test"])
def test_passwords_that_are_not_taken(desk: Desk, text: str) -> None:
    link = login.first_link(desk, "")
    assert link is not None
    with pytest.raises(UsageError):
        login.first(desk, token_in(link.path), "ops@x.test", Secret(text), HERE)
    assert login.link_is_good(desk, "first", token_in(link.path)) == ""


@pytest.mark.parametrize(
    ("wait_ms", "alive"), [(IDLE_MS - 1, True), (IDLE_MS, False), (LIFE_MS, False)]
)
def test_a_session_that_is_not_used_ends(
    desk: Desk, clock: StandingClock, wait_ms: int, alive: bool
) -> None:
    join(desk, "ann@acme.test")
    token = login.by_password(desk, "ann@acme.test", PASSWORD, HERE).token
    clock.ms += wait_ms
    assert (sessions.visitor(desk, token) is not None) is alive


def test_a_session_that_is_used_ends_after_a_month(desk: Desk, clock: StandingClock) -> None:
    join(desk, "ann@acme.test")
    token = login.by_password(desk, "ann@acme.test", PASSWORD, HERE).token
    end_ms = clock.ms + LIFE_MS
    while clock.ms + IDLE_MS // 2 < end_ms:
        clock.ms += IDLE_MS // 2
        assert sessions.visitor(desk, token) is not None
    clock.ms = end_ms
    assert sessions.visitor(desk, token) is None


@pytest.mark.parametrize("text", ["", "x", "a" * 43, "é" * 43, "\udcff" * 43, "'" * 43])
def test_other_tokens_open_nothing(desk: Desk, text: str) -> None:
    join(desk, "ann@acme.test")
    assert sessions.visitor(desk, Secret(text)) is None


def test_no_secret_is_kept_as_it_is(desk: Desk) -> None:
    """In the store's files: no password, no token of a session or a link."""
    join(desk, "ann@acme.test")
    token = login.by_password(desk, "ann@acme.test", PASSWORD, HERE).token
    link = token_in(login.make_link(desk, "ann@acme.test").path)
    kept = b"".join(path.read_bytes() for path in desk.data.iterdir() if path.is_file())
    for secret in (PASSWORD, token, link):
        assert secret.reveal().encode() not in kept
    assert b"ann@acme.test" in kept  # the control: the rows are in these files


def test_changing_the_password_ends_the_other_sessions(desk: Desk) -> None:
    first = join(desk, "ann@acme.test")
    other = login.by_password(desk, first.email, PASSWORD, HERE).token
    link = token_in(login.make_link(desk, first.email).path)
    members.set_password(desk, first, PASSWORD, Secret("another long password"))
    assert sessions.visitor(desk, other) is None
    assert login.link_is_good(desk, "login", link) is None
    with pytest.raises(UsageError):
        login.by_password(desk, first.email, PASSWORD, HERE)


def _leave(desk: Desk, email: str) -> None:
    members.remove(desk, email)


def _part(desk: Desk, email: str) -> None:
    members.remove(desk, email, account="acme")


@pytest.mark.parametrize("go", [_leave, _part])
def test_who_is_removed_is_out_at_once(desk: Desk, go: Callable[[Desk, str], None]) -> None:
    join(desk, "boss@acme.test")
    join(desk, "ann@acme.test", role=Role.DEVELOPER)
    token = login.by_password(desk, "ann@acme.test", PASSWORD, HERE).token
    go(desk, "ann@acme.test")
    assert sessions.visitor(desk, token) is None
    with pytest.raises(WaypostError):
        login.by_password(desk, "ann@acme.test", PASSWORD, HERE)


def test_the_last_operator_and_the_last_owner_stay(desk: Desk) -> None:
    join(desk, "ops@x.test", account=None)
    join(desk, "boss@acme.test")
    join(desk, "ann@acme.test", role=Role.DEVELOPER)
    with pytest.raises(WrongState):
        members.remove(desk, "ops@x.test")
    with pytest.raises(WrongState):
        members.remove(desk, "boss@acme.test", account="acme", by_owner=True)
    with pytest.raises(WrongState):
        members.add(desk, "boss@acme.test", account="acme", role=Role.READ_ONLY, by_owner=True)
    assert [p.role for p in members.list_(desk, account="acme")[-1].accounts] == ["owner"]


def test_an_owner_takes_nobody_of_another_account(desk: Desk) -> None:
    join(desk, "ann@other.test", account="other")
    with pytest.raises(WrongState):
        members.add(desk, "ann@other.test", account="acme", role=Role.READ_ONLY, by_owner=True)
    with pytest.raises(NotFound):
        members.invite(desk, "ann@other.test", account="acme")
    with pytest.raises(NotFound):
        members.remove(desk, "ann@other.test", account="acme")
    members.add(desk, "ann@other.test", account="acme", role=Role.READ_ONLY)  # the operator


@pytest.mark.parametrize("more", ["other", None])
def test_an_owner_gets_no_link_to_who_may_do_more(desk: Desk, more: str | None) -> None:
    """The link of an invitation opens all that its member may, elsewhere too."""
    join(desk, "ann@acme.test")
    email = "new@acme.test"
    members.add(desk, email, account="acme", role=Role.READ_ONLY, by_owner=True)
    early = members.invite(desk, email, account="acme", by_owner=True).link
    assert isinstance(early, str)
    members.add(desk, email, account=more, role=Role.OWNER)  # the operator
    with pytest.raises(NotFound):
        login.by_invite(desk, token_in(early), PASSWORD, HERE)
    with pytest.raises(WrongState):
        members.invite(desk, email, account="acme", by_owner=True)
    own = members.invite(desk, email, account="acme").link
    assert isinstance(own, str)
    login.by_invite(desk, token_in(own), PASSWORD, HERE)


def test_guessing_the_present_password_is_stopped(desk: Desk, clock: StandingClock) -> None:
    """By who found a session open: to change the password, or to switch the second factor off."""
    ann = join(desk, "ann@acme.test")
    new = Secret("another fine password")
    for _ in range(5):
        with pytest.raises(UsageError):
            members.set_password(desk, ann, Secret("wrong"), new)
        with pytest.raises(UsageError):
            factor.switch_off(desk, ann, Secret("wrong"))
    with pytest.raises(WrongState):
        members.set_password(desk, ann, PASSWORD, new)
    with pytest.raises(WrongState):
        factor.switch_off(desk, ann, PASSWORD)
    clock.ms += 15 * MINUTE_MS
    members.set_password(desk, ann, PASSWORD, new)


def test_a_member_of_two_accounts_chooses(desk: Desk) -> None:
    members.add(desk, "ann@acme.test", account="other", role=Role.READ_ONLY)
    ann = join(desk, "ann@acme.test")
    token = login.by_password(desk, ann.email, PASSWORD, HERE).token
    visitor = seen(desk, token)
    assert (visitor.account, visitor.role) == ("acme", Role.OWNER)
    sessions.choose(desk, visitor, "other")
    assert (seen(desk, token).account, seen(desk, token).role) == ("other", Role.READ_ONLY)
    for account in (None, "third"):
        with pytest.raises(NotFound):
            sessions.choose(desk, visitor, account)
    members.remove(desk, ann.email, account="other")
    assert sessions.visitor(desk, token) is None  # it looked at what is closed to it
