"""The ready messages of an upstream: accounts in turn, and few of each."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transport.fake_store import FakeClock, FakeStore
from waypost.core.message import Parcel
from waypost.transport.flow.window import MOST, TIMES, Window


def parcel() -> Parcel:
    store = FakeStore(FakeClock())
    store.add_sender(1, 1)
    return store.put()


ONE = parcel()


def of(account_id: int, number: int = 0) -> Parcel:
    return msgspec.structs.replace(ONE, id=number, account_id=account_id)


def filled(*accounts: int) -> Window:
    window = Window()
    for number, account_id in enumerate(accounts):
        window.push(of(account_id, number))
    return window


def emptied(window: Window) -> list[Parcel]:
    return list(iter(window.pop, None))


def test_accounts_go_in_turn() -> None:
    assert [p.account_id for p in emptied(filled(1, 1, 1, 1, 2, 2, 3))] == [1, 2, 3, 1, 2, 1, 1]


@given(st.lists(st.integers(1, 5), max_size=60))
def test_nobody_is_behind_more_than_one_of_each_other_account(accounts: list[int]) -> None:
    gone = emptied(filled(*accounts))
    assert sorted(p.id for p in gone) == list(range(len(accounts)))
    for account_id in set(accounts):
        turns = [place for place, p in enumerate(gone) if p.account_id == account_id]
        for before, after in zip([-1, *turns], turns, strict=False):
            between = [p.account_id for p in gone[before + 1 : after]]
            assert len(between) == len(set(between))
        # Its own go in the order that they came in.
        own = [p.id for p in gone if p.account_id == account_id]
        assert own == sorted(own)


@pytest.mark.parametrize(
    ("mine", "others", "room"),
    [
        (0, 0, 10),  # as many as there are connections, and no more
        (5, 0, 5),
        (6, 0, 0),  # half of them are ready still: later, in one go
        (10, 0, 0),
        (0, TIMES * 10, 1),  # however many there are of others, one of each account
        (1, TIMES * 10, 0),
        (0, MOST, 0),
    ],
)
def test_few_of_a_backlog_are_claimed_ahead(mine: int, others: int, room: int) -> None:
    window = filled(*[1] * mine, *[2] * others)
    assert window.room_for(1, 10) == room


@pytest.mark.parametrize(
    ("mine", "others", "flying", "admitted"),
    [
        (0, 0, 0, True),
        (19, 0, 0, True),
        (20, 0, 0, False),  # twice the connections
        (1, 29, 10, False),
        (1, 28, 10, True),
        (0, MOST - 1, 10, True),
        (0, MOST, 10, False),
    ],
)
def test_fresh_mail_is_taken_while_few_are_ready(
    mine: int, others: int, flying: int, admitted: bool
) -> None:
    window = filled(*[1] * mine, *[2] * others)
    assert window.admits(1, 10, flying) is admitted
