"""The addresses of hosts: a thread of its own for each name that is asked for.

A loop looks up few names at once (uvloop two), so that some whose name servers do not answer would
keep all others from being found. Promises that they hold up nobody but who asks for them, whatever
one owner names. Blocks nothing; a thread that still waits at the end is left behind. Knows nothing
of upstreams and of which addresses are allowed.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import threading
from concurrent.futures import Future

import msgspec

MOST = 1_000  # names at once
EACH = 32  # of one owner; more wait for these

Found = tuple[socket.AddressFamily, tuple[object, ...]]


class _Asked(msgspec.Struct, frozen=True, eq=False):
    """A name under way, and who asked for it first."""

    owner: int | None
    found: Future[list[Found]]


class Names:
    """What is under way: one question a name, however many want the answer."""

    def __init__(self) -> None:
        self._asked: dict[tuple[str, int], _Asked] = {}

    async def find(self, host: str, port: int, owner: int | None) -> list[Found]:
        """The addresses of a host, in the system's order, each once. `owner`: an account, None the
        operator. Raises OSError.
        """
        with contextlib.suppress(ValueError):  # of what is no address
            return _addresses(str(ipaddress.ip_address(host)), port)
        while (asked := self._asked.get((host, port))) is None:
            under_way = list(self._asked.values())
            mine = [one for one in under_way if one.owner == owner]
            if len(under_way) < MOST and (owner is None or len(mine) < EACH):
                asked = self._ask(host, port, owner)
                break
            await _first_of(mine if len(mine) >= EACH else under_way)
        return await asyncio.wrap_future(asked.found)

    def _ask(self, host: str, port: int, owner: int | None) -> _Asked:
        asked = _Asked(owner, Future())
        asked.found.set_running_or_notify_cancel()  # so that nobody who goes away ends it

        def look() -> None:
            try:
                found = _addresses(host, port)
            except BaseException as error:  # noqa: BLE001  (told to whoever waits)
                del self._asked[host, port]
                asked.found.set_exception(error)
            else:
                del self._asked[host, port]
                asked.found.set_result(found)

        self._asked[host, port] = asked
        try:
            threading.Thread(target=look, name="names", daemon=True).start()
        except RuntimeError as error:
            del self._asked[host, port]
            raise OSError("no thread could be begun to look up its name") from error
        return asked


async def _first_of(asked: list[_Asked]) -> None:
    """Until one of them has ended, however."""
    ends = [asyncio.wrap_future(one.found) for one in asked]
    try:
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for end in ends:
            if not end.cancel():  # of this wait alone: what runs goes on
                end.exception()  # somebody else is told of it


def _addresses(host: str, port: int) -> list[Found]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys((family, tuple(address)) for family, _, _, _, address in found))
