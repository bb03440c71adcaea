"""Whether this process may be sent work: its phase, its store, and room on its disk.

Promises to be not ready while it starts and stops, and while it would refuse all mail. Knows
nothing of HTTP.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

from waypost.core.errors import StoreAway


class Phase(enum.StrEnum):
    """Of the relay's process."""

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"


class Readiness:
    """The phase, a probe of the store that raises `StoreAway` when it cannot be reached, and
    what the disk lacks for new mail, in words.
    """

    def __init__(self, probe: Callable[[], object], lacks: Callable[[], str]) -> None:
        self.phase = Phase.STARTING
        self._probe = probe
        self._lacks = lacks

    def trouble(self) -> str:
        """Why the relay is not ready, in plain words; empty when it is."""
        if self.phase is not Phase.READY:
            return f"the relay is {self.phase}"
        try:
            self._probe()
        except StoreAway as away:
            return away.public
        return self._lacks()
