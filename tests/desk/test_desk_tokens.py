"""Tokens of the management API: shown once, kept as a hash, known again, and gone when deleted."""

from __future__ import annotations

import hashlib
import re

import pytest
from msgspec import UNSET

from desk.conftest import Mail, StandingClock
from waypost.core.errors import NotFound, Secret, UsageError
from waypost.desk import accounts, keys
from waypost.desk.access import tokens
from waypost.desk.access.tokens import TokenView
from waypost.desk.office import Desk
from waypost.store.shared import Shared


def secret_of(view: TokenView) -> Secret:
    assert isinstance(view.token, str)
    return Secret(view.token)


def test_a_token_is_shown_once_and_known_again(desk: Desk) -> None:
    accounts.create(desk, "acme")
    whole = tokens.create(desk, name="billing")
    one = tokens.create(desk, account="acme")
    assert re.fullmatch(r"waypost-token-[A-Za-z0-9]{40}", secret_of(whole).reveal())
    assert (whole.account, whole.last4) == (None, secret_of(whole).reveal()[-4:])
    listed = tokens.list_(desk)
    assert [view.id for view in listed] == [one.id, whole.id]
    assert [view.token for view in listed] == [UNSET, UNSET]
    assert [view.id for view in tokens.list_(desk, account="acme")] == [one.id]
    assert [view.id for view in tokens.list_(desk, below=one.id)] == [whole.id]
    held = tokens.admit(desk, secret_of(one))
    assert held is not None
    assert (held.token_id, held.account, held.enabled) == (one.id, "acme", True)
    accounts.disable(desk, "acme")
    held = tokens.admit(desk, secret_of(one))
    assert held is not None and not held.enabled
    held = tokens.admit(desk, secret_of(whole))
    assert held is not None and held.account is None
    assert tokens.delete(desk, whole.id).name == "billing"
    assert tokens.admit(desk, secret_of(whole)) is None


def test_only_the_hash_is_kept(desk: Desk, mail: Mail) -> None:
    secret = secret_of(tokens.create(desk))
    ((digest,),) = mail.sql("SELECT digest FROM token")
    assert digest == hashlib.sha256(secret.reveal().encode()).digest()
    for file in desk.data.iterdir():
        if file.is_file():
            assert secret.reveal().encode() not in file.read_bytes()


def test_a_key_is_no_token(desk: Desk) -> None:
    accounts.create(desk, "acme")
    key = keys.create(desk, "acme").key
    assert isinstance(key, str)
    assert tokens.admit(desk, Secret(key)) is None
    for wrong in ("", "waypost-token-", "\udcff", "x" * 100_000):
        assert tokens.admit(desk, Secret(wrong)) is None


def test_its_last_use_is_written_once_a_minute(desk: Desk, clock: StandingClock) -> None:
    secret = secret_of(tokens.create(desk))
    shared = Shared(desk.data)
    before, start = shared.generation, clock.ms
    seen = []
    for after_ms in (0, 59_999, 60_000, 61_000, -5_000):
        clock.ms = start + after_ms
        tokens.admit(desk, secret)
        seen.append(tokens.list_(desk)[0].last_used_at)
    assert len(set(seen[:2])) == 1 and seen[0] != seen[2] == seen[3]
    assert seen[4] is not None and seen[4] < str(seen[0])  # a clock that was set back
    assert shared.generation == before  # no relay has to look
    shared.close()


def test_what_is_refused(desk: Desk) -> None:
    with pytest.raises(NotFound):
        tokens.create(desk, account="nobody")
    with pytest.raises(UsageError):
        tokens.create(desk, name="a\nb")
    with pytest.raises(NotFound):
        tokens.list_(desk, account="nobody")
    for number in (7, -1, 10**30):
        with pytest.raises(NotFound):
            tokens.delete(desk, number)
    with pytest.raises(NotFound):
        keys.disable(desk, 10**30)
