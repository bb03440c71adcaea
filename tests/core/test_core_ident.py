"""Message ids: ordered, never twice, whatever the clock does."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.core import ident

NOW_MS = 1_763_700_000_000


@given(st.lists(st.integers(0, 2**43), min_size=1, max_size=60), st.integers(0, 255))
def test_ids_rise_whatever_the_clock_does(times: list[int], worker: int) -> None:
    maker = ident.IdentMaker(worker)
    ids = [maker.make(now) for now in times]
    assert all(a < b for a, b in itertools.pairwise(ids))
    assert all(i >> ident.COUNTER_BITS & 0xFF == worker for i in ids)


def test_more_than_a_counter_in_one_millisecond() -> None:
    maker = ident.IdentMaker(3)
    ids = [maker.make(NOW_MS) for _ in range(2 * ident.COUNTER_LIMIT + 5)]
    assert len(set(ids)) == len(ids)
    assert ids == sorted(ids)
    assert ident.milliseconds(ids[0]) == NOW_MS
    assert ident.milliseconds(ids[-1]) == NOW_MS + 2


def test_a_restarted_worker_goes_on_after_what_it_made() -> None:
    last = ident.IdentMaker(7).make(NOW_MS)
    assert ident.IdentMaker(7, seen=last).make(NOW_MS - 5_000) > last
    assert ident.IdentMaker(7, seen=last).make(NOW_MS) > last
    assert ident.milliseconds(ident.IdentMaker(7, seen=last).make(NOW_MS + 9)) == NOW_MS + 9


def test_two_workers_never_make_the_same() -> None:
    a, b = ident.IdentMaker(0), ident.IdentMaker(1)
    assert not {a.make(NOW_MS) for _ in range(99)} & {b.make(NOW_MS) for _ in range(99)}


@pytest.mark.parametrize("worker", [-1, 256])
def test_a_worker_number_that_does_not_fit(worker: int) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        ident.IdentMaker(worker)


@given(st.integers(0, ident.MOST))
def test_what_is_shown_is_read(number: int) -> None:
    assert len(ident.show(number)) == 16
    assert ident.read(ident.show(number)) == number


@pytest.mark.parametrize(
    "text", ["", "0" * 15, "0" * 17, "0" * 15 + "G", "0" * 15 + "A", " " * 16, "8" + "0" * 15]
)
def test_what_is_no_id(text: str) -> None:
    assert ident.read(text) is None


def test_floor_bounds_a_millisecond() -> None:
    made = ident.IdentMaker(255).make(NOW_MS)
    assert ident.floor(NOW_MS) <= made < ident.floor(NOW_MS + 1)
    assert ident.floor(-1) == 0
    assert ident.floor(2**60) == ident.MOST
