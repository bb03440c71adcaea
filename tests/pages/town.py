"""A relay with people of every role, for tests of the dashboard."""

from __future__ import annotations

from dataclasses import dataclass

from peers.person import Person
from peers.recording import Recording
from peers.relay import Relay

PASSWORD = "correct horse battery"
OPERATOR = "ops@example.com"
PEOPLE = {
    "owner": "owner@acme.test",
    "developer": "developer@acme.test",
    "read-only": "reader@acme.test",
    "stranger": "owner@other.test",
}


@dataclass
class Town:
    """The relay; the operator's link was used. `person(role)`: a new browser, logged in."""

    relay: Relay
    upstream: Recording
    cookies: dict[str, dict[str, str]]

    def nobody(self) -> Person:
        return Person(self.relay.http)

    def person(self, role: str) -> Person:
        """Of one session a role, since logins take time."""
        return Person(self.relay.http, cookies=dict(self.cookies[role]))


def first_run(relay: Relay) -> dict[str, str]:
    """The operator's cookies, by the link on the console."""
    path = next(
        "/login/" + line.rpartition("/login/")[2].strip()
        for line in relay.log.read_text().splitlines()
        if line.startswith("first login")
    )
    person = Person(relay.http)
    done = person.submit(path, email=OPERATOR, password=PASSWORD)
    assert (done.status, done.location) == (303, "/start"), done.words
    return person.cookies


def invited(relay: Relay, email: str, account: str, role: str) -> dict[str, str]:
    """The cookies of a new member, by the link of an invitation."""
    made = relay.cli("member", "add", email, "--account", account, "--role", role)
    person = Person(relay.http)
    path = "/login/" + made["link"].rpartition("/login/")[2]
    done = person.submit(path, email=email, password=PASSWORD)
    assert done.status == 303, done.words
    return person.cookies
