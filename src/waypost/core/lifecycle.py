"""The life of a recipient, as one table, and the status of a message, which follows from it.

    state      what is guaranteed
    QUEUED     paid; the message's body is on disk; a queue row exists for the message
    SENT       the upstream said 250 for it; never changes again
    FAILED     ended with a reason; refunded in the same transaction; never changes again
    CANCELLED  ended by the owner; refunded in the same transaction; never changes again

A crash leaves every recipient in one of these; only QUEUED ones have work left.
"""

from __future__ import annotations

import enum


class State(enum.IntEnum):
    """Of a recipient; the numbers are those of the store."""

    QUEUED = 0
    SENT = 1
    FAILED = 2
    CANCELLED = 3


class Status(enum.StrEnum):
    """Of a message, as logs and APIs show it."""

    QUEUED = "queued"
    SENT = "sent"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Move(enum.Enum):
    """What may happen to a recipient."""

    ACCEPTED_BY_UPSTREAM = "accepted"
    REFUSED_FOR_GOOD = "refused"
    DEFERRED = "deferred"
    GAVE_UP = "gave up"
    CANCELLED = "cancelled"


MOVES: dict[tuple[State, Move], State] = {
    (State.QUEUED, Move.ACCEPTED_BY_UPSTREAM): State.SENT,
    (State.QUEUED, Move.REFUSED_FOR_GOOD): State.FAILED,
    (State.QUEUED, Move.DEFERRED): State.QUEUED,
    (State.QUEUED, Move.GAVE_UP): State.FAILED,
    (State.QUEUED, Move.CANCELLED): State.CANCELLED,
}
"""Every other pair is refused: an ended recipient never moves."""

REFUNDED = frozenset({State.FAILED, State.CANCELLED})


def moved(state: State, move: Move) -> State | None:
    """The state after the move, or None where the table has no such move."""
    return MOVES.get((state, move))


def status(queued: int, sent: int, failed: int, cancelled: int) -> Status:
    """The status of a message with that many recipients in each state (at least one in all)."""
    if queued:
        return Status.QUEUED
    if sent:
        return Status.PARTIAL if failed or cancelled else Status.SENT
    return Status.FAILED if failed else Status.CANCELLED
