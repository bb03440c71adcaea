"""member and login-link, and what the audit trail says of commands."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from waypost.clock import SystemClock
from waypost.desk.access import trail
from waypost.desk.office import Desk
from waypost.desk.secrets import FileSealer

Run = Callable[..., Any]
LINK = re.compile(r"http://127\.0\.0\.1:8025/login/(invite|login)/[A-Za-z0-9]{43}")


def test_members_are_added_listed_and_removed(here: Run) -> None:
    made = here("member", "add", "Ann@Acme.test", "--account", "acme", "--role", "developer").json
    assert made["email"] == "Ann@acme.test"
    assert (made["operator"], made["hasPassword"], made["secondFactor"]) == (False, False, False)
    assert made["accounts"] == [{"account": "acme", "role": "developer"}]
    assert LINK.fullmatch(made["link"])
    again = here("member", "add", "ann@acme.test", "--account", "acme").json
    assert again["id"] == made["id"] and again["accounts"][0]["role"] == "owner"
    operator = here("member", "add", "ops@example.com").json
    assert operator["operator"] is True and operator["accounts"] == []
    listed = here("member", "list").json
    assert [row["email"] for row in listed] == ["ops@example.com", "Ann@acme.test"]
    assert all("link" not in row for row in listed)
    assert [row["id"] for row in here("member", "list", "--account", "acme").json] == [made["id"]]
    assert here("member", "remove", "ANN@acme.test").json["email"] == "Ann@acme.test"
    assert [row["email"] for row in here("member", "list").json] == ["ops@example.com"]


def test_a_login_link(here: Run) -> None:
    here("member", "add", "ops@example.com")
    made = here("login-link", "ops@example.com").json
    assert (made["email"], made["kind"]) == ("ops@example.com", "login")
    assert LINK.fullmatch(made["url"]) and made["url"].endswith(made["path"])
    assert made["expiresAt"]


def test_wrong_use_of_members(here: Run) -> None:
    assert here("member", "add", "no address").code == 2
    assert here("member", "add", "a@b.test", "--role", "owner").code == 2
    assert here("member", "add", "a@b.test", "--account", "acme", "--role", "boss").code == 2
    assert here("member", "add", "a@b.test", "--account", "nobody").code == 1
    assert here("member", "list", "--account", "nobody").code == 1
    assert here("member", "remove", "a@b.test").code == 1
    assert here("login-link", "a@b.test").code == 1
    here("member", "add", "ops@example.com")
    refused = here("member", "remove", "ops@example.com")
    assert refused.code == 1 and "last operator" in refused.failed


def test_commands_are_in_the_trail_without_their_options(here: Run, tmp_path: Path) -> None:
    here("key", "create", "--account", "acme", "--name", "not shown")
    here("credits", "add", "acme", 5, "--note", "nor this")
    assert here("credits", "add", "acme", 10**15).code == 2
    clock, (data,) = SystemClock(), [path.parent for path in tmp_path.rglob("waypost.db")]
    desk = Desk(data=data, clock=clock, sealer=FileSealer(data / "k", clock), key_file=data / "k")
    lines = [(line.account, line.deed, line.subject) for line in trail.list_(desk)]
    assert lines[:2] == [("acme", "credits add", "acme 5"), ("acme", "key create", "")]
    assert all(line.actor.endswith(", command line") for line in trail.list_(desk))
