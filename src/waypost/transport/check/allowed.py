"""Whether an account's upstream may be saved where it points, before any connection.

Stricter than delivery, which picks the allowed ones among a name's addresses: here one forbidden
address is enough, since no honest server has one. Promises that nothing is connected to, so that
text and time of the answer tell nothing of what listens there. Knows nothing of SMTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress

from waypost.core.upstream import Upstream
from waypost.transport.check.run import Result, Setup
from waypost.transport.check.watch import StepDone
from waypost.transport.link.names import Names
from waypost.upstream.diagnosis import Fault, Seen, Step, diagnose

NOT_HERE = "the address is none that an account's upstream may have"
NOT_THERE = "the port is none that an account's upstream may have"


async def forbidden(setup: Setup, upstream: Upstream) -> Result | None:
    """The failed test; None: allowed, or a name without an address, which a test would see."""
    if not setup.guard.allows_port(upstream.port):
        return _refused(upstream, Fault.FORBIDDEN_PORT, NOT_THERE)
    if all(setup.guard.allows(address) for address in await _addresses(setup, upstream)):
        return None
    return _refused(upstream, Fault.FORBIDDEN, NOT_HERE)


def _refused(upstream: Upstream, fault: Fault, why: str) -> Result:
    step = StepDone(Step.RESOLVE, False, 0, why)
    return Result((step,), diagnose(Seen(step=Step.RESOLVE, fault=fault), upstream))


async def _addresses(setup: Setup, upstream: Upstream) -> list[str]:
    with contextlib.suppress(ValueError):
        return [str(ipaddress.ip_address(upstream.host))]
    try:
        async with asyncio.timeout(setup.times.connect_s):
            found = await Names().find(upstream.host, upstream.port, upstream.account_id)
    except (OSError, UnicodeError):  # TimeoutError is one
        return []
    return [str(address[0]) for _, address in found]
