"""After a connection failure: which of the usual ports of the same host would work.

Promises that no login leaves, that the guard of delivery holds, and that all are tried at once.
Knows nothing of diagnoses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from waypost.core.upstream import Encryption, Upstream
from waypost.transport.check.cause import of_error
from waypost.transport.check.watch import Watched, farewell
from waypost.transport.link.connect import Dialer
from waypost.transport.trouble import TransportError
from waypost.upstream.diagnosis import Fault, Seen, Step


class Place(msgspec.Struct, frozen=True):
    """A port and how it is spoken to."""

    port: int
    encryption: Encryption


OLD_PORT = 25  # where the guide knows of no encryption
OTHERS = (  # section 9 of the contract
    Place(587, Encryption.STARTTLS),
    Place(465, Encryption.TLS),
    Place(OLD_PORT, Encryption.STARTTLS),
)


class Tried(msgspec.Struct, frozen=True):
    """`works`: up to the login. `spoke`: the server understood this way of being spoken to.

    `waited`: it took the connection and let us speak first, as servers of TLS do.
    """

    place: Place
    works: bool
    spoke: bool
    waited: bool = False


async def try_all(dialer: Dialer, upstream: Upstream, places: Sequence[Place]) -> list[Tried]:
    """Each place but the one that failed, and the failed port with the other encryption."""
    itself = Place(upstream.port, upstream.encryption)
    turned = Encryption.STARTTLS if itself.encryption is Encryption.TLS else Encryption.TLS
    wanted = dict.fromkeys((Place(itself.port, turned), *places))
    wanted.pop(itself, None)
    return await asyncio.gather(*(_try(dialer, upstream, place) for place in wanted))


async def _try(dialer: Dialer, upstream: Upstream, place: Place) -> Tried:
    tried = await _sign_in(dialer, upstream, place)
    if tried.works or not tried.spoke or place != Place(OLD_PORT, Encryption.STARTTLS):
        return tried
    # Elsewhere missing protection is never proposed: somebody in between may have taken it out.
    return await _sign_in(dialer, upstream, Place(OLD_PORT, Encryption.NONE))


async def _sign_in(dialer: Dialer, upstream: Upstream, place: Place) -> Tried:
    """As delivery does, up to the login."""
    nameless = msgspec.structs.replace(
        upstream,
        port=place.port,
        encryption=place.encryption,
        username="",
        password=None,
        pin="",
    )
    watched = Watched(dialer, lambda step: None)
    try:
        limit = dialer.timeouts.connect_s + 2 * dialer.timeouts.reply_s
        async with asyncio.timeout(limit):
            signed = await watched.sign_in(nameless, watched.contexts(), watched.saying)
    except (TransportError, TimeoutError) as error:
        seen = of_error(error, watched, nameless)
        await farewell(None)
        waited = seen.step is Step.GREETING and seen.fault is Fault.SILENT
        return Tried(place, False, _spoke(seen, watched, place), waited)
    await farewell(signed.stream)
    return Tried(place, True, True)


def _spoke(seen: Seen, watched: Watched, place: Place) -> bool:
    """Got past the first thing that only a server of this kind does."""
    if place.encryption is Encryption.TLS:
        return any(step.name is Step.TLS for step in watched.steps) or seen.fault in (
            Fault.CERTIFICATE,
            Fault.TLS_ALERT,
        )
    return any(step.name is Step.GREETING for step in watched.steps) or (
        seen.step is Step.GREETING and seen.fault is Fault.REPLY
    )
