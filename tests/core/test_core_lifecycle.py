"""The table of a recipient's life, every pair of it, and the status that follows from it."""

from __future__ import annotations

import itertools

import pytest

from waypost.core.lifecycle import MOVES, REFUNDED, Move, State, Status, moved, status

EXPECTED = {
    Move.ACCEPTED_BY_UPSTREAM: State.SENT,
    Move.REFUSED_FOR_GOOD: State.FAILED,
    Move.DEFERRED: State.QUEUED,
    Move.GAVE_UP: State.FAILED,
    Move.CANCELLED: State.CANCELLED,
}


@pytest.mark.parametrize(("state", "move"), list(itertools.product(State, Move)))
def test_every_pair(state: State, move: Move) -> None:
    assert moved(state, move) == (EXPECTED[move] if state is State.QUEUED else None)


def test_ended_recipients_never_move_and_two_kinds_are_refunded() -> None:
    assert {state for state, _ in MOVES} == {State.QUEUED}
    assert {State.FAILED, State.CANCELLED} == REFUNDED


@pytest.mark.parametrize("counts", list(itertools.product(range(3), repeat=4)))
def test_status(counts: tuple[int, int, int, int]) -> None:
    queued, sent, failed, cancelled = counts
    if not any(counts):
        return
    got = status(*counts)
    assert (got is Status.QUEUED) == (queued > 0)
    if not queued:
        assert (got is Status.SENT) == (not failed and not cancelled)
        assert (got is Status.PARTIAL) == (sent > 0 and failed + cancelled > 0)
        assert (got is Status.FAILED) == (not sent and failed > 0)
        assert (got is Status.CANCELLED) == (not sent and not failed)
