"""The way from a screen or a managing call, which run in threads, to the door of this process.

Knows nothing of what is sent.
"""

from __future__ import annotations

import asyncio

from waypost.clock import Clock
from waypost.desk.send.again import Again
from waypost.intake.http.routes import Doing

SPOOL_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def again_through(doing: Doing, clock: Clock, loop: asyncio.AbstractEventLoop) -> Again:
    """For one deed: the files of large messages get letters that no other has."""
    part = "a" + clock.token(SPOOL_LETTERS, 8)
    return Again(doing.gate.door, loop, lambda: doing.sending.spool(part))
