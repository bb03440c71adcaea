"""upstream, sender, log and queue, each with the fields that the contract names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

Run = Callable[..., Any]

UPSTREAM = {
    *("name", "host", "port", "encryption", "username", "validate", "preset", "account"),
    *("state", "reason"),
}
LINE = {"id", "status", "account", "from", "recipients", "subject", "createdAt"}
SENDER = {"address", "upstream", "global", "accounts", "dailyCap", "usedToday", "held"}


def test_an_upstream_is_made_with_its_sender(here: Run) -> None:
    shown = here("upstream", "show", "up").json
    assert set(shown) >= UPSTREAM
    assert (shown["host"], shown["port"], shown["encryption"]) == (
        "mx.example.com",
        587,
        "starttls",
    )
    assert (shown["username"], shown["validate"]) == ("Me@example.com", "auto")
    assert (shown["preset"], shown["account"], shown["state"]) == ("custom", None, "ok")
    assert "hunter2" not in str(shown)
    assert here("upstream", "list").json == [shown]
    (sender,) = here("sender", "list").json
    assert set(sender) >= SENDER
    assert (sender["address"], sender["upstream"], sender["global"]) == (
        "Me@example.com",
        "up",
        True,
    )


def test_an_upstream_is_an_accounts_or_for_an_account(here: Run) -> None:
    flags = ("--preset", "gmail", "--password-file", "-", "--no-test")
    own = here(
        "upstream", "add", "up", "--sender", "a@gmail.com", "--account", "acme", *flags, given="x\n"
    ).json
    assert (own["account"], own["preset"], own["dailyCap"]) == ("acme", "gmail", 500)
    assert own["validate"] == "on"
    assigned = here(
        "upstream", "add", "for", "--sender", "b@gmail.com", "--for", "acme", *flags, given="x\n"
    ).json
    assert assigned["account"] is None
    senders = {row["address"]: row for row in here("sender", "list").json}
    assert senders["a@gmail.com"]["account"] == "acme"
    assert senders["b@gmail.com"]["accounts"] == ["acme"]
    assert not senders["b@gmail.com"]["global"]
    assert [row["name"] for row in here("upstream", "list", "--account", "acme").json] == ["up"]
    assert here("upstream", "show", "up", "--account", "acme").json == own
    both = here("upstream", "add", "y", "--sender", "c@d.e", "--host", "h", "--account", "acme",
                "--for", "acme")  # fmt: skip
    assert both.code == 2


def test_a_new_door_asks_for_the_password_again(here: Run, tmp_path: Path) -> None:
    asked = here("upstream", "set", "up", "--port", 465)
    assert asked.code == 2
    assert "password" in asked.err
    (tmp_path / "pw").write_bytes(b"two words \r\n")
    moved = here("upstream", "set", "up", "--port", 465, "--password-file", "pw", "--no-test").json
    assert (moved["port"], moved["encryption"]) == (465, "tls")
    assert here("upstream", "set", "up", "--daily-cap", 9).json["dailyCap"] == 9
    assert here("upstream", "set", "up", "--daily-cap", "none").json["dailyCap"] is None


def test_an_upstream_is_paused_resumed_trusted_and_removed(here: Run) -> None:
    paused = here("upstream", "pause", "up", "--reason", "moving house").json
    assert (paused["state"], paused["reason"]) == ("paused", "moving house")
    assert here("upstream", "resume", "up").json["state"] == "ok"
    assert here("upstream", "trust", "up", "--no-test").json["state"] == "ok"
    assert here("upstream", "remove", "up").json["name"] == "up"
    assert here("upstream", "list").json == []
    assert here("sender", "list").json == []
    assert here("upstream", "show", "up").code == 1


def test_what_is_not_protected_is_warned_of(here: Run) -> None:
    flags = ("--sender", "a@b.example", "--host", "127.0.0.1")
    ran = here("upstream", "add", "plain", *flags, "--encryption", "none", "--no-test")
    assert ran.json["port"] == 25
    assert ran.json["username"] == ""
    assert ran.err.startswith("warning: ")
    assert "trusted networks" in ran.err


def test_an_upstream_without_what_it_needs_is_wrong_use(here: Run, tmp_path: Path) -> None:
    add = ("upstream", "add", "x")
    for flags in (
        (),
        ("--sender", "a@b.example"),
        ("--host", "h"),
        ("--sender", "nobody", "--host", "h"),
        ("--sender", "a@b.example", "--host", "h", "--port", "70000"),
        ("--sender", "a@b.example", "--preset", "gmial"),
        ("--sender", "a@b.example", "--host", "h", "--password-file", "absent"),
        ("--sender", "a@b.example", "--host", "h", "--encryption", "rot13"),
    ):
        ran = here(*add, *flags)
        assert ran.code == 2, flags
        assert ran.failed
        assert ran.err.count("\n") == 1
    (tmp_path / "empty").write_text("\n")
    assert here(*add, "--sender", "a@b.c", "--host", "h", "--password-file", "empty").code == 2


def test_a_name_that_is_taken_is_told_as_such(here: Run, tmp_path: Path) -> None:
    """Whatever else is said of it: the upstream that is there has no login, the new one has."""
    (tmp_path / "password").write_text("secret\n")
    add = ("upstream", "add", "up", "--sender", "other@example.com", "--host", "smtp.example.com")
    ran = here(*add, "--password-file", "password", "--no-test")
    assert (ran.code, "already" in ran.failed) == (1, True)


def test_a_sender_is_added_changed_and_removed(here: Run) -> None:
    add = ("sender", "add", "x@example.com", "--upstream", "up")
    assert here(*add).code == 2
    made = here(*add, "--account", "acme", "--daily-cap", 5, "--default").json
    assert set(made) >= SENDER
    assert (made["accounts"], made["global"], made["dailyCap"]) == (["acme"], False, 5)
    assert made["usedToday"] == 0
    assert here("account", "show", "acme").json["defaultSender"] == "x@example.com"
    changed = here("sender", "set", "x@example.com", "--global", "--daily-cap", "none").json
    assert (changed["global"], changed["dailyCap"]) == (True, None)
    assert here("sender", "remove", "X@Example.com").json["address"] == "x@example.com"
    assert len(here("sender", "list").json) == 1


def test_an_empty_log_and_queue(here: Run) -> None:
    assert here("log", "list", "--status", "sent", "--after", "2026-01-01").json == []
    assert here("log", "refusals").json == []
    assert here("log", "show", "0123456789abcdef").code == 1
    assert here("log", "list", "--after", "yesterday").code == 2
    assert here("queue", "show").json == []
    assert here("queue", "retry").code == 2
    assert here("queue", "retry", "0123456789abcdef").code == 1
    assert here("queue", "retry", "--all").json["messages"] == 0
    assert here("queue", "retry", "--upstream", "up").json["messages"] == 0
    assert here("queue", "cancel", "--sender", "me@example.com").json["messages"] == 0
    assert here("queue", "cancel", "--sender", "me@example.com", "--key", 1).code == 2


def test_a_message_is_shown_and_cancelled(here: Run, waypost: Run) -> None:
    flags = ("--data", "d", "--json")
    send = ("send", "--account", "acme", "--to", "x@example.com", "--from", "me@example.com")
    assert waypost(*send, "--subject", "one\ttwo", "--text", "hello", *flags).code == 0
    (line,) = here("log", "list", "--account", "acme", "--to", "X@example.com").json
    assert set(line) >= LINE
    assert (line["status"], line["account"], line["recipients"]) == ("queued", "acme", 1)
    assert here("log", "list", "--before", line["createdAt"]).json == []
    assert here("log", "list", "--after", line["createdAt"]).json == [line]
    shown = here("log", "show", line["id"]).json
    assert set(shown) >= LINE | {"charged", "refunded"}
    assert (shown["charged"], shown["refunded"]) == (1, 0)
    assert shown["recipients"][0]["address"] == "x@example.com"
    assert shown["recipients"][0]["attempts"] == []
    (waiting,) = here("queue", "show").json
    assert set(waiting) >= {"upstream", "queued", "oldestAt", "nextAt", "state", "reason"}
    assert (waiting["upstream"], waiting["queued"]) == ("up", 1)
    here("upstream", "pause", "up")
    assert here("queue", "retry", line["id"]).json["status"] == "queued"
    assert here("upstream", "show", "up").json["state"] == "ok"
    assert here("upstream", "remove", "up").code == 1
    people = waypost("log", "show", line["id"], "--data", "d")
    assert "x@example.com" in people.out
    assert here("queue", "cancel", line["id"]).json["status"] == "cancelled"
    assert here("queue", "cancel", line["id"]).code == 1
    assert here("queue", "retry", line["id"]).code == 1
    ledger = here("credits", "ledger", "acme").json
    assert [row["reason"] for row in ledger] == ["topup", "debit", "refund"]
    assert ledger[-1]["balance"] == 100
    refused = waypost("send", "--account", "acme", "--to", "x@example.com", "--from",
                      "you@example.com", "--text", "x", *flags)  # fmt: skip
    assert refused.code == 1
    (refusal,) = here("log", "refusals").json
    assert set(refusal) >= {
        *("at", "channel", "peer", "account", "key", "from", "reason", "answer", "count")
    }
    assert refusal["account"] == "acme"
    assert refusal["to"] == ["x@example.com"]
    assert here("log", "refusals", "--to", "X@Example.com").json == [refusal]
    assert here("log", "refusals", "--to", "y@example.com").json == []
