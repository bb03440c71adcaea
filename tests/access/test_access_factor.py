"""The second factor, and the audit trail of what is done."""

from __future__ import annotations

from base64 import b32decode

import pytest
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from access.people import HERE, PASSWORD, StandingClock, join, seen, token_in
from waypost.core.errors import NotFound, Secret, UsageError, WrongState
from waypost.desk import accounts, keys, secrets
from waypost.desk.access import factor, login, sessions, trail
from waypost.desk.access.login import PEER_MOST, TooManyLogins
from waypost.desk.access.views import Visitor
from waypost.desk.office import Desk, Hand

STEP_MS = 30_000


def code(key: str, at_ms: int) -> str:
    """What an app shows then: another implementation than the one that is tested."""
    return TOTP(b32decode(key), 6, SHA1(), 30).generate(at_ms / 1000).decode()


@pytest.fixture
def ann(desk: Desk) -> Visitor:
    return join(desk, "ann@acme.test")


@pytest.fixture
def key(desk: Desk, ann: Visitor, clock: StandingClock) -> str:
    """Ann's key, switched on a minute ago."""
    text = factor.offer(desk, ann.email, "Waypost").text
    factor.switch_on(desk, ann, text, code(text, clock.ms))
    clock.ms += 60_000
    return text


def test_it_is_asked_for_after_the_password(
    desk: Desk, key: str, ann: Visitor, clock: StandingClock
) -> None:
    waiting = login.by_password(desk, ann.email, PASSWORD, HERE)
    assert waiting.pending and sessions.visitor(desk, waiting.token) is None
    with pytest.raises(UsageError):
        login.by_code(desk, waiting.token, "000000", HERE)
    entered = login.by_code(desk, waiting.token, code(key, clock.ms), HERE)
    assert seen(desk, entered.token).second_factor
    assert entered.token != waiting.token and sessions.visitor(desk, waiting.token) is None
    clock.ms += STEP_MS
    with pytest.raises(NotFound):  # what waited is used up, whatever code comes with it
        login.by_code(desk, waiting.token, code(key, clock.ms), HERE)


def test_it_is_asked_for_after_a_link(desk: Desk, key: str, ann: Visitor) -> None:
    token = token_in(login.make_link(desk, ann.email).path)
    assert login.by_link(desk, token, HERE).pending
    token = token_in(login.make_link(desk, ann.email, reset_factor=True).path)
    assert not login.by_link(desk, token, HERE).pending


def test_no_code_is_good_twice(desk: Desk, key: str, ann: Visitor, clock: StandingClock) -> None:
    now = code(key, clock.ms)
    first, second = (login.by_password(desk, ann.email, PASSWORD, HERE).token for _ in range(2))
    login.by_code(desk, first, now, HERE)
    with pytest.raises(UsageError):
        login.by_code(desk, second, now, HERE)
    with pytest.raises(UsageError):  # nor is an older one, seen over a shoulder
        login.by_code(desk, second, code(key, clock.ms - STEP_MS), HERE)
    clock.ms += STEP_MS
    login.by_code(desk, second, code(key, clock.ms), HERE)


@pytest.mark.parametrize(("off_ms", "good"), [(-2, False), (-1, True), (1, True), (2, False)])
def test_a_clock_may_be_off_by_one_step(
    desk: Desk, key: str, ann: Visitor, clock: StandingClock, off_ms: int, good: bool
) -> None:
    clock.ms += 10 * STEP_MS
    waiting = login.by_password(desk, ann.email, PASSWORD, HERE).token
    given = code(key, clock.ms + off_ms * STEP_MS)
    if good:
        login.by_code(desk, waiting, given, HERE)
    else:
        with pytest.raises(UsageError):
            login.by_code(desk, waiting, given, HERE)


def test_recovery_codes_are_good_once(desk: Desk, ann: Visitor, clock: StandingClock) -> None:
    text = factor.offer(desk, ann.email, "Waypost").text
    codes = factor.switch_on(desk, ann, text, code(text, clock.ms))
    assert len(set(codes)) == factor.RECOVERY_CODES
    first, second = (login.by_password(desk, ann.email, PASSWORD, HERE).token for _ in range(2))
    entered = login.by_code(desk, first, codes[0].upper(), HERE)
    assert factor.recovery_left(desk, seen(desk, entered.token)) == factor.RECOVERY_CODES - 1
    with pytest.raises(UsageError):
        login.by_code(desk, second, codes[0], HERE)


def test_guessing_codes_is_stopped(desk: Desk, key: str, ann: Visitor) -> None:
    waiting = login.by_password(desk, ann.email, PASSWORD, HERE).token
    for guess in range(PEER_MOST):
        with pytest.raises(UsageError):
            login.by_code(desk, waiting, f"{guess:06}", HERE)
    with pytest.raises(TooManyLogins):
        login.by_code(desk, waiting, "999999", HERE)


def test_a_session_waits_five_minutes(
    desk: Desk, key: str, ann: Visitor, clock: StandingClock
) -> None:
    waiting = login.by_password(desk, ann.email, PASSWORD, HERE).token
    clock.ms += sessions.PENDING_MS
    with pytest.raises(NotFound):
        login.by_code(desk, waiting, code(key, clock.ms), HERE)
    whole = login.by_code  # a whole session is none that waits
    with pytest.raises(NotFound):
        whole(desk, Secret("a" * 43), code(key, clock.ms), HERE)


def test_it_needs_a_code_to_go_on_and_the_password_to_go_off(
    desk: Desk, ann: Visitor, clock: StandingClock
) -> None:
    text = factor.offer(desk, ann.email, "Waypost").text
    with pytest.raises(UsageError):
        factor.switch_on(desk, ann, text, "000000")
    with pytest.raises(UsageError):
        factor.switch_on(desk, ann, "not a key", "000000")
    factor.switch_on(desk, ann, text, code(text, clock.ms))
    with pytest.raises(WrongState):
        factor.switch_on(desk, ann, text, code(text, clock.ms))
    with pytest.raises(UsageError):
        factor.switch_off(desk, ann, Secret("wrong"))
    factor.switch_off(desk, ann, PASSWORD)
    assert not login.by_password(desk, ann.email, PASSWORD, HERE).pending


def test_the_key_is_sealed_and_moves_with_the_ring(
    desk: Desk, key: str, ann: Visitor, clock: StandingClock
) -> None:
    kept = b"".join(path.read_bytes() for path in desk.data.iterdir() if path.is_file())
    assert key.encode() not in kept and b32decode(key) not in kept
    assert secrets.rotate(desk).resealed == 1
    waiting = login.by_password(desk, ann.email, PASSWORD, HERE).token
    login.by_code(desk, waiting, code(key, clock.ms), HERE)


def test_a_deed_and_its_line_are_one(desk: Desk, clock: StandingClock) -> None:
    hand = Hand(actor="ann@acme.test", deed="make key", subject="web", account="acme")
    keys.create(desk.by(hand), "acme", name="web")
    (line,) = trail.list_(desk, account="acme")
    assert (line.actor, line.deed, line.subject) == ("ann@acme.test", "make key", "web")
    with pytest.raises(NotFound):
        keys.create(desk.by(hand), "nobody", name="web")
    assert len(trail.list_(desk)) == 1  # what was not done is not in it
    assert trail.list_(desk, account="other") == []
    accounts.disable(desk.by(Hand(actor="ops", deed="disable account")), "acme")
    assert [found.deed for found in trail.list_(desk)] == ["disable account", "make key"]
