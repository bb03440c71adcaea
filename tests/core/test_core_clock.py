"""The clock of the ids: it never goes back, and never stands where the wall was set back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from waypost.clock import Steady, SystemClock

HOUR_MS = 3_600_000
NOW_MS = 1_700_000_000_000


class Played(SystemClock):
    """Moves as a test says."""

    def __init__(self) -> None:
        self.ms = NOW_MS
        self.s = 0.0

    def wall_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.s

    def passes(self, seconds: float) -> None:
        self.ms += int(seconds * 1000)
        self.s += seconds


def test_it_is_the_wall_s() -> None:
    clock = Played()
    steady = Steady(clock)
    assert steady.now_ms() == NOW_MS
    clock.passes(1)
    assert steady.now_ms() == NOW_MS + 1_000
    clock.ms += 6 * HOUR_MS
    assert steady.now_ms() == clock.ms


def test_set_back_it_runs_on_until_the_wall_has_caught_up() -> None:
    clock = Played()
    steady = Steady(clock)
    clock.ms -= HOUR_MS
    assert steady.now_ms() == NOW_MS
    clock.passes(60)
    assert steady.now_ms() == NOW_MS + 30_000
    clock.passes(7_139)
    assert steady.now_ms() > clock.ms
    clock.passes(2)
    assert steady.now_ms() == clock.ms


def test_what_was_made_before_a_start_is_not_made_again() -> None:
    clock = Played()
    steady = Steady(clock, NOW_MS + HOUR_MS)
    assert steady.now_ms() == NOW_MS + HOUR_MS
    clock.passes(60)
    assert steady.now_ms() == NOW_MS + HOUR_MS + 30_000


@given(st.lists(st.tuples(st.integers(-HOUR_MS, HOUR_MS), st.floats(0, 100))))
def test_it_never_goes_back_and_never_stands(moves: list[tuple[int, float]]) -> None:
    clock = Played()
    steady = Steady(clock)
    before_ms, before_s = steady.now_ms(), clock.s
    for jump_ms, seconds in moves:
        clock.ms += jump_ms
        clock.passes(seconds)
        now_ms = steady.now_ms()
        assert now_ms >= before_ms + int((clock.s - before_s) * 500) - 1
        assert now_ms >= clock.ms
        before_ms, before_s = now_ms, clock.s
