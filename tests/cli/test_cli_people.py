"""account, key and credits, each with the fields that the contract names."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

Run = Callable[..., Any]


def test_an_account_is_made_changed_and_shown(here: Run) -> None:
    shown = here("account", "show", "acme").json
    assert shown["name"] == "acme"
    assert (shown["credits"], shown["rateLimit"], shown["defaultSender"]) == (100, 120, None)
    made = here(
        *("account", "create", "big", "--credits", "unlimited", "--rate-limit", "none"),
        *("--default-sender", "me@example.com", "--notify", "op@example.com"),
    ).json
    assert (made["credits"], made["rateLimit"]) == (None, None)
    assert (made["defaultSender"], made["notify"]) == ("me@example.com", "op@example.com")
    changed = here("account", "set", "big", "--rate-limit", 7, "--notify", "").json
    assert (changed["rateLimit"], changed["notify"]) == (7, None)
    assert changed["defaultSender"] == "me@example.com"
    assert [row["name"] for row in here("account", "list").json] == ["big", "acme"]
    assert [row["name"] for row in here("account", "list", "--limit", 1).json] == ["big"]
    assert here("account", "disable", "big").json["enabled"] is False
    assert here("account", "enable", "big").json["enabled"] is True
    assert here("account", "show", "nobody").code == 1
    assert here("account", "create", "acme").code == 1
    assert here("account", "create", "x", "--credits", "many").code == 2


def test_a_key_shows_its_secret_once(here: Run) -> None:
    made = here("key", "create", "--account", "acme", "--name", "shop").json
    assert re.fullmatch(r"hyd-mail-[A-Za-z0-9]{40}", made["key"])
    (listed,) = here("key", "list").json
    assert "key" not in listed
    assert listed == {name: value for name, value in made.items() if name != "key"}
    assert listed["account"] == "acme"
    assert listed["name"] == "shop"
    assert listed["enabled"] is True
    assert listed["last4"] == made["key"][-4:]
    assert listed["lastUsedAt"] is None
    rotated = here("key", "rotate", made["id"]).json
    assert rotated["id"] == made["id"]
    assert rotated["key"] != made["key"]
    assert here("key", "disable", made["id"]).json["enabled"] is False
    assert here("key", "enable", made["id"]).json["enabled"] is True
    assert here("key", "delete", made["id"]).json["id"] == made["id"]
    assert here("key", "list", "--account", "acme").json == []
    assert here("key", "disable", made["id"]).code == 1
    assert here("key", "create").code == 2
    mta = here("key", "create", "--account", "acme", "--recipients", "envelope").json
    assert mta["recipients"] == "envelope"


def test_credits_are_added_and_told(here: Run) -> None:
    assert here("credits", "add", "acme", 20, "--note", "invoice 7").json["credits"] == 120
    assert here("credits", "add", "acme", "-5").json["credits"] == 115
    lines = here("credits", "ledger", "acme").json
    assert [row["amount"] for row in lines] == [100, 20, -5]
    assert [row["balance"] for row in lines] == [100, 120, 115]
    assert set(lines[1]) >= {"at", "amount", "reason", "message", "recipient", "note", "balance"}
    assert (lines[1]["reason"], lines[1]["note"]) == ("topup", "invoice 7")
    assert here("credits", "add", "acme", "many").code == 2
    assert here("credits", "add", "acme", "--nonsense").code == 2
    assert here("credits", "add", "nobody", 1).code == 1


def test_people_read_aligned_lines(here: Run, waypost: Run, tmp_path: Path) -> None:
    here("key", "create", "--account", "acme")
    for command in (
        ("account", "list"),
        ("account", "show", "acme"),
        ("key", "list"),
        ("credits", "ledger", "acme"),
        ("upstream", "list"),
        ("upstream", "show", "up"),
        ("sender", "list"),
        ("log", "list"),
        ("log", "refusals"),
        ("queue", "show"),
        ("audit",),
    ):
        ran = waypost("--data", tmp_path / "d", *command)
        assert ran.code == 0, ran.err
        assert ran.out.strip()
        assert ran.err == ""
        if command[0] != "audit":
            assert max(map(len, ran.out.splitlines())) <= 100


def test_a_token_shows_its_secret_once(here: Run) -> None:
    made = here("token", "create", "--name", "billing", "--account", "acme").json
    assert re.fullmatch(r"waypost-token-[A-Za-z0-9]{40}", made["token"])
    (listed,) = here("token", "list").json
    assert listed == {name: value for name, value in made.items() if name != "token"}
    assert (listed["account"], listed["last4"]) == ("acme", made["token"][-4:])
    assert here("token", "create").json["account"] is None
    assert len(here("token", "list", "--account", "acme").json) == 1
    assert len(here("token", "list", "--limit", 10**30).json) == 2
    assert here("token", "delete", made["id"]).json["id"] == made["id"]
    assert here("token", "delete", made["id"]).code == 1
    assert here("token", "delete", 10**30).code == 1
    assert here("token", "create", "--account", "nobody").code == 1
    assert here("key", "disable", 10**30).code == 1
