"""Which sender a From address uses: the account's own, then assigned ones, then global ones."""

from __future__ import annotations

import hashlib

from waypost.core.address import Address, parse
from waypost.core.facts import Account, Directory, Key, RecipientsFrom, Sender


def account(number: int, default: str = "") -> Account:
    return Account(
        number, f"a{number}", True, False, None, parse(default) if default else None, None, 0
    )


def sender(
    number: int, address: str, owner: int | None = None, everyone: bool = False, *accounts: int
) -> Sender:
    return Sender(
        number, parse(address), owner, everyone, frozenset(accounts), number * 10, "", None, ""
    )


def directory(
    *senders: Sender, default: str = "", global_sender: Address | None = None
) -> Directory:
    digest = hashlib.sha256(b"secret").digest()
    key = Key(5, 1, "", digest, "cret", True, RecipientsFrom.HEADERS, 0)
    return Directory(1, (account(1, default), account(2)), (key,), senders, global_sender)


def used(facts: Directory, account_id: int, address: str) -> int | None:
    found = facts.sender_for(account_id, parse(address))
    return found.id if found else None


def test_own_before_assigned_before_global() -> None:
    own = sender(1, "x@a.example", owner=1)
    assigned = sender(2, "x@a.example", None, False, 1, 2)
    everyones = sender(3, "x@a.example", None, True)
    for order in ((own, assigned, everyones), (everyones, assigned, own)):
        facts = directory(*order)
        assert used(facts, 1, "X@A.example") == 1
        assert used(facts, 2, "x@a.example") == 2
        assert used(facts, 3, "x@a.example") == 3


def test_never_another_accounts() -> None:
    facts = directory(sender(1, "x@a.example", owner=2), sender(2, "y@a.example", None, False, 2))
    assert used(facts, 1, "x@a.example") is None
    assert used(facts, 1, "y@a.example") is None
    assert used(facts, 1, "z@a.example") is None


def test_default_senders() -> None:
    everyones = sender(3, "g@a.example", None, True)
    own = sender(1, "x@a.example", owner=1)
    with_global = directory(own, everyones, global_sender=parse("g@a.example"))
    assert with_global.default_sender(1) == everyones
    both = directory(own, everyones, default="x@a.example", global_sender=parse("g@a.example"))
    assert both.default_sender(1) == own
    assert both.default_sender(2) == everyones
    gone = directory(everyones, default="gone@a.example", global_sender=parse("g@a.example"))
    assert gone.default_sender(1) == everyones
    assert directory(own).default_sender(1) is None
    assert directory(own, global_sender=parse("x@a.example")).default_sender(2) is None


def test_a_key_is_found_by_its_digest_alone() -> None:
    facts = directory()
    found = facts.key_by_digest(hashlib.sha256(b"secret").digest())
    assert found is not None
    assert found.id == 5
    assert facts.key_by_digest(hashlib.sha256(b"other").digest()) is None
