"""Upstreams of every mood: they take mail, put it off, refuse it, lose it, are down for days.

What an upstream took for whom is kept. Knows nothing of the relay.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable

from simulation.virtual import Line, VirtualLoop

HOUR_S = 3600.0
STEADY, MOODY, DEAD, LOCKED, CAPPED = range(1, 6)  # upstreams: their numbers are their ports

MOODS: dict[str, dict[str, str]] = {
    "fine": {},
    "down": {"connect": ""},
    "busy": {"greeting": "421 4.7.0 too many connections"},
    "locked": {"AUTH": "535 5.7.8 bad credentials"},
    "quota": {"MAIL": "550 5.4.5 daily user sending limit exceeded"},
    "sender": {"MAIL": "553 5.7.1 sender address rejected: not owned by user"},
    "rude": {"MAIL": "421 4.3.0 closing"},
}
"""What is said instead of a good answer, by stage."""


class World:
    """All upstreams. `taken`: (message, address) -> how often; `promised` of them with a 250."""

    def __init__(self, loop: VirtualLoop, chance: random.Random) -> None:
        self.taken: Counter[tuple[str, str]] = Counter()
        self.promised: Counter[tuple[str, str]] = Counter()
        self.sessions = 0
        self._loop = loop
        self._chance = chance
        self._mood: dict[int, tuple[float, str]] = {}

    def serve(self, port: int, line: Line) -> Session:
        mood = MOODS[self.mood(port)]
        if "connect" in mood:
            raise ConnectionRefusedError("refused")
        self.sessions += 1
        return Session(self, line, lambda: MOODS[self.mood(port)], self._chance)

    def mood(self, port: int) -> str:
        if port in (STEADY, CAPPED):
            return "fine"
        if port == DEAD:
            return "down" if self._loop.time() > 2 * HOUR_S else "fine"
        if port == LOCKED:
            return "locked" if HOUR_S < self._loop.time() < 60 * HOUR_S else "fine"
        until, mood = self._mood.get(port, (0.0, "fine"))
        if self._loop.time() >= until:
            mood = self._chance.choice(["fine", "fine", "fine", *MOODS])
            until = self._loop.time() + self._chance.uniform(0.2, 8.0) * HOUR_S
            self._mood[port] = (until, mood)
        return mood


class Session:
    """One connection, as the server has it."""

    def __init__(
        self,
        world: World,
        line: Line,
        mood: Callable[[], dict[str, str]],
        chance: random.Random,
    ) -> None:
        self._world = world
        self._line = line
        self._mood = mood
        self._chance = chance
        self._heard = b""
        self._data = False
        self._over = False
        self._to: list[str] = []

    def begin(self) -> None:
        self._say("greeting", "220 world ESMTP")

    def received(self, data: bytes) -> None:
        self._heard += data
        while self._heard and not self._over:
            end = b"\r\n.\r\n" if self._data else b"\r\n"
            if end not in self._heard:
                return
            part, _, self._heard = self._heard.partition(end)
            if self._data:
                self._data = False
                self._dot(part)
            else:
                self._obey(part.decode())

    def _obey(self, text: str) -> None:
        verb = text[:4].upper()
        if verb == "EHLO":
            self._say("EHLO", "250-world\r\n250-PIPELINING\r\n250 AUTH PLAIN")
        elif verb == "MAIL":
            self._to = []
            self._say("MAIL", "250 ok")
        elif verb == "RCPT":
            self._rcpt(text.partition("<")[2].partition(">")[0])
        elif verb == "DATA" and not self._to:
            self._say("DATA", "554 5.5.1 no valid recipients")
        elif verb == "DATA":
            self._data = self._say("DATA", "354 go on")
        elif verb == "QUIT":
            self._line.end()
        else:
            self._say(verb, "250 ok" if verb != "AUTH" else "235 welcome")

    def _rcpt(self, address: str) -> None:
        """What becomes of an address is said by its name, or by chance."""
        luck = self._chance.random()
        if address.startswith("never") or luck < 0.01:
            self._say("RCPT", "450 4.2.0 not now")
        elif address.startswith("nobody"):
            self._say("RCPT", "550 5.1.1 no such user")
        elif luck < 0.015:
            self._over = True
            self._line.end(1.0)
        else:
            self._to.append(address)
            self._say("RCPT", "250 ok")

    def _dot(self, message: bytes) -> None:
        found = re.search(rb"Subject: ([0-9a-f]+)", message)
        assert found is not None
        key = found[1].decode()
        luck = self._chance.random()
        if luck < 0.03:
            self._say("dot", "451 4.3.0 later")
        elif luck < 0.04:
            self._say("dot", "554 5.6.0 content refused")
        elif luck < 0.05:
            self._line.end(2.0)  # not taken, and nobody can know
        else:
            self._world.taken.update((key, address) for address in self._to)
            if luck < 0.06:
                self._line.end(2.0)  # taken, and nobody can know
            elif luck >= 0.07:  # else there is silence
                self._world.promised.update((key, address) for address in self._to)
                self._say("dot", "250 taken")

    def _say(self, stage: str, usual: str) -> bool:
        said = self._mood().get(stage, usual)
        self._line.say(said, self._chance.uniform(0.001, 0.5))
        if said.startswith("421"):
            self._over = True
            self._line.end()
        return said == usual
