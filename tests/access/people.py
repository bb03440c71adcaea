"""People of the tests of logins, and their clock."""

from __future__ import annotations

from waypost.clock import SystemClock
from waypost.core.errors import Secret
from waypost.desk.access import login, members, sessions
from waypost.desk.access.roles import Role
from waypost.desk.access.sessions import Browser
from waypost.desk.access.views import Visitor
from waypost.desk.office import Desk

NOW_MS = 1_790_000_000_000
HERE = Browser("192.0.2.7", "a browser")
PASSWORD = Secret("correct horse battery")
MINUTE_MS = 60_000


class StandingClock(SystemClock):
    """Stands until it is moved; secrets are real."""

    def __init__(self) -> None:
        self.ms = NOW_MS

    def wall_ms(self) -> int:
        return self.ms


def token_in(path: str) -> Secret:
    """The token at the end of a link."""
    return Secret(path.rpartition("/")[2])


def join(desk: Desk, email: str, account: str | None = "acme", role: Role = Role.OWNER) -> Visitor:
    """A new member with `PASSWORD`, logged in by the invitation."""
    members.add(desk, email, account=account, role=role)
    link = members.invite(desk, email).link
    assert isinstance(link, str)
    return seen(desk, login.by_invite(desk, token_in(link), PASSWORD, HERE).token)


def owned(desk: Desk, email: str, account: str = "acme") -> Visitor:
    """A member whom an owner made, and whose `PASSWORD` the owner knows; logged in."""
    members.add(desk, f"boss@{account}.test", account=account, role=Role.OWNER)
    members.add(desk, email, account=account, role=Role.DEVELOPER, by_owner=True)
    link = members.invite(desk, email, account=account, by_owner=True).link
    assert isinstance(link, str)
    return seen(desk, login.by_invite(desk, token_in(link), PASSWORD, HERE).token)


def seen(desk: Desk, token: Secret) -> Visitor:
    """Who shows that token: somebody."""
    found = sessions.visitor(desk, token)
    assert found is not None
    return found
