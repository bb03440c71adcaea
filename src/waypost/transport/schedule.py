"""When a thing is tried again: pure sums over milliseconds.

Promises that the same numbers in give the same numbers out. Knows no clock, no chance (given as an
argument from 0 to 1) and nothing of why a try failed.
"""

from __future__ import annotations

import msgspec

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

JITTER = 0.2  # the share of a wait that chance may add
UNCERTAIN_MS = 15 * MINUTE_MS  # the least wait after an answer to the dot that was lost
UNCERTAIN_ROW = 3  # so many of them in a row end a recipient
LOGIN_PROBE_MS = (5 * MINUTE_MS, 15 * MINUTE_MS, HOUR_MS, 4 * HOUR_MS)  # the last repeats
MESSAGE_PROBE_MS = HOUR_MS


class QueueRules(msgspec.Struct, frozen=True):
    """How long mail is tried. `retry_ms`: waits after each try; the last repeats."""

    retry_ms: tuple[int, ...] = (
        MINUTE_MS,
        5 * MINUTE_MS,
        15 * MINUTE_MS,
        30 * MINUTE_MS,
        HOUR_MS,
        2 * HOUR_MS,
        4 * HOUR_MS,
    )
    give_up_ms: int = 3 * DAY_MS
    hold_max_ms: int = 7 * DAY_MS


def wait_ms(rules: QueueRules, tries: int, chance: float, uncertain: bool = False) -> int:
    """How long after try number `tries` (from 1) the next one comes."""
    step = rules.retry_ms[min(max(tries, 1), len(rules.retry_ms)) - 1]
    if uncertain:
        step = max(step, UNCERTAIN_MS)
    return round(step * (1 + JITTER * chance))


def gave_up(rules: QueueRules, first_try_ms: int, held_ms: int, now_ms: int) -> bool:
    """Whether a message that failed now was tried long enough (0: this was the first try)."""
    return first_try_ms > 0 and now_ms - first_try_ms - held_ms >= rules.give_up_ms


def overdue(rules: QueueRules, accepted_ms: int, now_ms: int) -> bool:
    """Whether a message has been queued for as long as any may be."""
    return now_ms - accepted_ms >= rules.hold_max_ms


def next_due_ms(
    rules: QueueRules, accepted_ms: int, tries: int, now_ms: int, chance: float, uncertain: bool
) -> int:
    """When the next try is due, never later than the message may be queued at all."""
    due = now_ms + wait_ms(rules, tries, chance, uncertain)
    return min(due, max(accepted_ms + rules.hold_max_ms, now_ms))


def last_try_ms(rules: QueueRules, first_try_ms: int, held_ms: int, now_ms: int) -> int:
    """When trying ends, for a message that failed now (0: this was the first try)."""
    return (first_try_ms or now_ms) + held_ms + rules.give_up_ms


def login_probe_ms(probes: int, chance: float) -> int:
    """The wait before login number `probes` (from 1) after trouble up to AUTH."""
    step = LOGIN_PROBE_MS[min(max(probes, 1), len(LOGIN_PROBE_MS)) - 1]
    return round(step * (1 + JITTER * chance))


def message_probe_ms(chance: float) -> int:
    """The wait before one message is tried after trouble later than AUTH."""
    return round(MESSAGE_PROBE_MS * (1 + JITTER * chance))
