"""Whether an account's upstream may be saved where it points, before any connection.

Stricter than delivery, which picks the allowed ones among a name's addresses: here one forbidden
address is enough, since no honest server has one. Promises that nothing is connected to, so that
text and time of the answer tell nothing of what listens there. Knows nothing of SMTP.
"""

from __future__ import annotations

import asyncio
import socket

from waypost.core.upstream import Upstream
from waypost.transport.check.run import Result, Setup
from waypost.transport.check.watch import StepDone
from waypost.upstream.diagnosis import Fault, Seen, Step, diagnose

NOT_HERE = "the address or the port is none that an account's upstream may have"


async def forbidden(setup: Setup, upstream: Upstream) -> Result | None:
    """The failed test, or None: allowed, or a name without an address, which a connect would see."""
    allowed = setup.guard.allows_port(upstream.port)
    if allowed:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(setup.times.connect_s):
                found = await loop.getaddrinfo(
                    upstream.host, upstream.port, type=socket.SOCK_STREAM
                )
        except (OSError, UnicodeError):  # TimeoutError is one
            return None
        allowed = all(setup.guard.allows(str(place[4][0])) for place in found)
    if allowed:
        return None
    step = StepDone(Step.RESOLVE, False, 0, NOT_HERE)
    return Result((step,), diagnose(Seen(step=Step.RESOLVE, fault=Fault.FORBIDDEN), upstream))
