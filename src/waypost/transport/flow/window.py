"""The ready messages of one upstream, accounts in turn, and the pace they may start at.

Promises that an account with one message is never behind more than one of each other account. Knows
nothing of time (an argument) or of how messages are delivered.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from waypost.core.message import Parcel

MINUTE_S = 60.0
SOON_S = 1.0  # a start this near is waited for; for a later one nothing is claimed or taken
TIMES = 4  # messages a connection that are ready or flying
MOST = 2_000  # ready messages, however many accounts wait


class Window:
    """Claimed messages that no connection has taken yet (`ready` of them); the next is of the
    account in turn."""

    def __init__(self) -> None:
        self.ready = 0
        self._lanes: dict[int, deque[Parcel]] = {}
        self._turn: deque[int] = deque()

    def of(self, account_id: int) -> int:
        """How many of this account wait here."""
        lane = self._lanes.get(account_id)
        return len(lane) if lane else 0

    def admits(self, account_id: int, connections: int, flying: int) -> bool:
        """Whether a fresh message of this account is taken straight from its commit."""
        mine = self.of(account_id)
        if mine == 0:
            return self.ready < MOST
        return mine < 2 * connections and self.ready + flying < TIMES * connections

    def room_for(self, account_id: int, connections: int) -> int:
        """How many waiting messages of this account are to be claimed.

        Few of each, and always one of an account that has none here: nobody is behind a backlog.
        """
        mine = self.of(account_id)
        if self.ready >= TIMES * connections:
            return 1 if mine == 0 and self.ready < MOST else 0
        return connections - mine if mine <= connections // 2 else 0

    def push(self, parcel: Parcel) -> None:
        lane = self._lanes.get(parcel.account_id)
        if lane is None:
            lane = self._lanes[parcel.account_id] = deque()
            self._turn.append(parcel.account_id)
        lane.append(parcel)
        self.ready += 1

    def pop(self) -> Parcel | None:
        if not self._turn:
            return None
        account_id = self._turn.popleft()
        lane = self._lanes[account_id]
        parcel = lane.popleft()
        if lane:
            self._turn.append(account_id)
        else:
            del self._lanes[account_id]
        self.ready -= 1
        return parcel

    def drain(self) -> list[Parcel]:
        """All of them; none is left."""
        all_of_them = [parcel for lane in self._lanes.values() for parcel in lane]
        self._lanes.clear()
        self._turn.clear()
        self.ready = 0
        return all_of_them


class Pace:
    """So many starts in any 60 seconds; 0 is no limit. `over` is called when a rest has ended."""

    def __init__(self, per_minute: int, over: Callable[[], None]) -> None:
        self.limited = per_minute > 0
        self._over = over
        self._per_minute = per_minute
        self._starts: deque[float] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def wait_s(self, now_s: float) -> float:
        """How long until one may start; 0 is now."""
        if not self.limited or len(self._starts) < self._per_minute:
            return 0.0
        return max(0.0, self._starts[0] + MINUTE_S - now_s)

    def rests(self, now_s: float, within_s: float) -> bool:
        """Whether none may start within that time; `over` is called, once however often this is
        asked, when one may."""
        wait_s = self.wait_s(now_s)
        if wait_s <= within_s:
            return False
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._ended)
        return True

    def _ended(self) -> None:
        self._timer = None
        self._over()

    def start(self, now_s: float) -> None:
        if not self.limited:
            return
        self._starts.append(now_s)
        while len(self._starts) > self._per_minute:
            self._starts.popleft()
