"""Accounts, credits and keys: every deed, and everything it refuses."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import pytest

from waypost.core.errors import NotFound, UsageError, WrongState
from waypost.desk import accounts, keys
from waypost.desk.office import Desk
from waypost.store.shared import Shared


def shown(view: object) -> dict[str, Any]:
    made: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(view))
    return made


def test_an_account_is_made_and_shown(desk: Desk) -> None:
    made = accounts.create(
        desk, "Acme Ltd", credits=5, rate_limit=7, default_sender="A@Example.com", notify="n@x.org"
    )
    assert accounts.show(desk, "Acme Ltd") == made
    assert shown(made) == {
        "name": "Acme Ltd",
        "enabled": True,
        "credits": 5,
        "unlimited": False,
        "balance": 5,
        "rateLimit": 7,
        "ownRate": True,
        "defaultSender": "A@example.com",
        "notify": "n@x.org",
        "createdAt": "2026-09-21T14:13:20.000Z",
    }
    assert [
        (line.amount, line.balance, line.note) for line in accounts.ledger(desk, "Acme Ltd")
    ] == [(5, 5, "opening balance")]


@pytest.mark.parametrize(
    ("said", "shown_as", "own"), [(msgspec.UNSET, 120, False), (None, None, True), (9, 9, True)]
)
def test_a_rate_is_the_default_none_or_a_number(
    desk: Desk, said: Any, shown_as: int | None, own: bool
) -> None:
    made = accounts.create(desk, "a", rate_limit=said)
    assert (made.rate_limit, made.own_rate) == (shown_as, own)


@pytest.mark.parametrize("name", ["", " a", "a ", "-a", "a\nb", "a\x1bb", "x" * 65])
def test_a_name_that_people_could_not_read_back_is_refused(desk: Desk, name: str) -> None:
    with pytest.raises(UsageError):
        accounts.create(desk, name)
    assert accounts.list_(desk) == []


@pytest.mark.parametrize(
    "wrong",
    [{"credits": -1}, {"rate_limit": 0}, {"default_sender": "nobody"}, {"notify": "a@b@c d"}],
)
def test_wrong_arguments_of_an_account_name_their_field(desk: Desk, wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as told:
        accounts.create(desk, "a", **wrong)
    assert told.value.field == next(iter(wrong))


def test_a_limit_begins_at_the_balance_of_that_moment(desk: Desk) -> None:
    """Not at one that was read before: what was charged in between would be given back."""
    accounts.create(desk, "a", credits=None)
    accounts.add_credits(desk, "a", -3)
    with pytest.raises(UsageError) as told:
        accounts.change(desk, "a", unlimited=False)
    assert told.value.field == "unlimited"
    accounts.add_credits(desk, "a", 10)
    lines = len(accounts.ledger(desk, "a"))
    assert accounts.change(desk, "a", unlimited=False).credits == 7
    assert accounts.change(desk, "a", unlimited=True).credits is None
    assert len(accounts.ledger(desk, "a")) == lines


def test_an_account_is_there_once_and_what_is_not_there_is_not_found(desk: Desk) -> None:
    accounts.create(desk, "a")
    with pytest.raises(WrongState, match="already"):
        accounts.create(desk, "a")
    for deed in (accounts.show, accounts.disable, accounts.enable, accounts.ledger, accounts.use):
        with pytest.raises(NotFound):
            deed(desk, "b")


def test_an_account_is_changed_and_what_is_not_said_stays(desk: Desk) -> None:
    accounts.create(desk, "a", credits=5, default_sender="a@x.org", notify="n@x.org")
    changed = accounts.change(desk, "a", rate_limit=None, notify=None)
    assert (changed.rate_limit, changed.notify, changed.default_sender) == (None, None, "a@x.org")
    assert accounts.change(desk, "a", credits=None).credits is None
    assert accounts.change(desk, "a", credits=2).credits == 2
    assert [line.amount for line in accounts.ledger(desk, "a")] == [5, -3]
    assert not accounts.disable(desk, "a").enabled
    assert accounts.enable(desk, "a").enabled


def test_lists_are_newest_first_and_a_hundred_unless_said(desk: Desk) -> None:
    for number in range(103):
        accounts.create(desk, f"a{number}")
    assert [account.name for account in accounts.list_(desk)][:2] == ["a102", "a101"]
    assert len(accounts.list_(desk)) == 100
    assert len(accounts.list_(desk, limit=0)) == 103
    assert len(accounts.list_(desk, limit=3)) == 3
    with pytest.raises(UsageError):
        accounts.list_(desk, limit=-1)


def test_credits_are_added_and_corrected_but_never_below_zero(desk: Desk) -> None:
    accounts.create(desk, "a")
    assert accounts.add_credits(desk, "a", 10, "paid by card").credits == 10
    assert accounts.add_credits(desk, "a", -10, "mistake").credits == 0
    with pytest.raises(WrongState, match="0 credits"):
        accounts.add_credits(desk, "a", -1)
    for wrong in (0, 10**13):
        with pytest.raises(UsageError):
            accounts.add_credits(desk, "a", wrong)
    with pytest.raises(UsageError):
        accounts.add_credits(desk, "a", 1, "two\nlines")
    lines = accounts.ledger(desk, "a")
    assert [(line.amount, line.balance, line.note) for line in lines] == [
        (10, 10, "paid by card"),
        (-10, 0, "mistake"),
    ]
    assert accounts.ledger(desk, "a", 1) == lines[-1:]


def test_use_counts_from_midnight(desk: Desk, mail: Any) -> None:
    mail.accept("acme", "noreply@example.com", ["a@x.org", "b@x.org"])
    mail.accept("acme", "noreply@example.com", at_ms=mail.clock.ms - 86_400_000)
    use = accounts.use(desk, "acme")
    assert (use.messages_today, use.recipients_today) == (1, 2)


def test_a_key_is_shown_once_and_kept_as_a_digest(desk: Desk, mail: Any) -> None:
    made = keys.create(desk, "acme", name="web", recipients="envelope")
    assert isinstance(made.key, str)
    assert made.key.startswith("hyd-mail-")
    assert len(made.key) == len("hyd-mail-") + 40
    assert made.key.removeprefix("hyd-mail-").isalnum()
    (kept,) = keys.list_(desk, account="acme")
    assert "key" not in shown(kept)
    assert shown(made)["key"] == made.key
    assert (kept.last4, kept.name, kept.recipients) == (made.key[-4:], "web", "envelope")
    ((digest,),) = mail.sql("SELECT digest FROM api_key")
    assert digest == hashlib.sha256(made.key.encode()).digest()
    assert made.key.encode() not in (desk.data / "waypost.db").read_bytes()


def test_a_key_is_disabled_rotated_and_deleted(desk: Desk, mail: Any) -> None:
    made = keys.create(desk, "acme")
    assert not keys.disable(desk, made.id).enabled
    assert keys.enable(desk, made.id).enabled
    turned = keys.rotate(desk, made.id)
    assert turned.id == made.id
    assert turned.key != made.key
    ((digest,),) = mail.sql("SELECT digest FROM api_key")
    assert digest == hashlib.sha256(str(turned.key).encode()).digest()
    assert not keys.delete(desk, made.id).enabled
    assert keys.list_(desk) == []
    for deed in (keys.disable, keys.enable, keys.rotate, keys.delete, keys.show):
        with pytest.raises(NotFound):
            deed(desk, made.id)


def test_another_accounts_key_is_not_found(desk: Desk, mail: Any) -> None:
    accounts.create(desk, "other")
    made = keys.create(desk, "acme")
    for deed in (keys.disable, keys.enable, keys.rotate, keys.delete, keys.show):
        with pytest.raises(NotFound):
            deed(desk, made.id, account="other")
    assert keys.list_(desk, account="other") == []
    assert keys.show(desk, made.id, account="acme").enabled


def test_a_key_wants_an_account_and_a_known_kind(desk: Desk) -> None:
    with pytest.raises(NotFound):
        keys.create(desk, "nobody")
    accounts.create(desk, "a")
    with pytest.raises(UsageError, match="headers, envelope"):
        keys.create(desk, "a", recipients="both")


def test_every_change_is_seen_by_a_running_relay_and_reading_is_not(desk: Desk, mail: Any) -> None:
    shared = Shared(desk.data)
    try:
        before, bell = shared.generation, shared.bell
        ((kept,),) = mail.sql("SELECT value FROM meta WHERE name = 'generation'")
        accounts.show(desk, "acme")
        assert (shared.generation, shared.bell) == (before, bell)
        accounts.add_credits(desk, "acme", 1)
        assert shared.generation == before + 2
        assert shared.bell == bell + 1
        ((now,),) = mail.sql("SELECT value FROM meta WHERE name = 'generation'")
        assert now == kept + 1
        with pytest.raises(WrongState):
            accounts.create(desk, "acme")
        ((still,),) = mail.sql("SELECT value FROM meta WHERE name = 'generation'")
        assert still == now
    finally:
        shared.close()


def test_a_missing_data_directory_is_not_made_by_a_command(desk: Desk, tmp_path: Any) -> None:
    elsewhere = msgspec.structs.replace(desk, data=tmp_path / "none", create=False)
    assert not elsewhere.exists()
    with pytest.raises(NotFound, match="waypost serve"):
        accounts.list_(elsewhere)
    assert not (tmp_path / "none").exists()
