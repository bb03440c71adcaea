"""The rounds of who tells: a step now and then, in one worker, for as long as the relay runs.

Promises that trouble is logged and tried again, and never reaches the mail. Knows nothing of what
is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from waypost.core.errors import StoreAway
from waypost.log import get

LOOK_S = 1.0
AWAY_S = 30.0


async def run(step: Callable[[], Awaitable[int]], mine: Callable[[], Awaitable[bool]]) -> None:
    """Steps for ever, while it is this worker's to; what breaks is logged and tried again."""
    while True:
        await asyncio.sleep(LOOK_S)
        try:
            more = await mine()
            while more:
                more = bool(await step())
        except StoreAway as away:
            get("watch").warning("told_later", reason=away.private)
            await asyncio.sleep(AWAY_S)
        except Exception as error:  # noqa: BLE001  (whatever it is, the next must be told)
            get("watch").error("telling_broke", error=repr(error))
            await asyncio.sleep(AWAY_S)
