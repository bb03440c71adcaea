"""The schedule as lists of numbers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from waypost.transport import schedule
from waypost.transport.schedule import DAY_MS, HOUR_MS, MINUTE_MS, QueueRules

RULES = QueueRules()


def test_the_waits_between_tries() -> None:
    minutes = [schedule.wait_ms(RULES, tries, 0.0) / MINUTE_MS for tries in range(1, 11)]
    assert minutes == [1, 5, 15, 30, 60, 120, 240, 240, 240, 240]


def test_chance_adds_up_to_a_fifth() -> None:
    assert schedule.wait_ms(RULES, 2, 0.5) == 5.5 * MINUTE_MS
    assert schedule.wait_ms(RULES, 7, 0.999999) <= 4.8 * HOUR_MS


def test_an_uncertain_try_waits_a_quarter_of_an_hour_at_least() -> None:
    minutes = [schedule.wait_ms(RULES, tries, 0.0, True) / MINUTE_MS for tries in range(1, 7)]
    assert minutes == [15, 15, 15, 30, 60, 120]


def test_a_message_alone_is_tried_for_three_days() -> None:
    now, first, tries, times = 0, 0, 0, []
    while True:
        tries += 1
        first = first or now + 1
        times.append(now)
        if schedule.gave_up(RULES, first, 0, now):
            break
        due = schedule.next_due_ms(RULES, 0, tries, now, 0.0, False)
        now = min(due, schedule.last_try_ms(RULES, first, 0, now))
    hours = [round(at / HOUR_MS, 2) for at in times]
    assert hours[:9] == [0, 0.02, 0.1, 0.35, 0.85, 1.85, 3.85, 7.85, 11.85]
    assert hours[-2:] == [71.85, 72]


def test_time_that_is_held_does_not_count_but_the_hold_has_an_end() -> None:
    assert schedule.gave_up(RULES, 1, 0, 3 * DAY_MS + 1)
    assert not schedule.gave_up(RULES, 1, HOUR_MS, 3 * DAY_MS + 1)
    assert not schedule.gave_up(RULES, 0, 0, 30 * DAY_MS)
    assert not schedule.overdue(RULES, 0, 7 * DAY_MS - 1)
    assert schedule.overdue(RULES, 0, 7 * DAY_MS)
    late = 7 * DAY_MS - MINUTE_MS
    assert schedule.next_due_ms(RULES, 0, 9, late, 0.0, False) == 7 * DAY_MS


def test_probes() -> None:
    minutes = [schedule.login_probe_ms(probe, 0.0) / MINUTE_MS for probe in range(1, 7)]
    assert minutes == [5, 15, 60, 240, 240, 240]
    assert schedule.message_probe_ms(0.0) == HOUR_MS


@given(
    st.integers(0, 100),
    st.floats(0, 1, exclude_max=True),
    st.integers(0, 10 * DAY_MS),
    st.booleans(),
)
def test_the_next_try_is_never_in_the_past_nor_after_the_end(
    tries: int, chance: float, now: int, uncertain: bool
) -> None:
    due = schedule.next_due_ms(RULES, 0, tries, now, chance, uncertain)
    assert now <= due <= max(now, RULES.hold_max_ms)
