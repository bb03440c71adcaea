"""A loop whose time passes only when nobody has anything to do, and connections without a network.

Work in threads (a commit) is waited for in real time, in which the loop's time stands. Knows
nothing of mail.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable
from typing import Any, Protocol

from peers.loop import ErrandLoop
from store.house import NOW_MS, StandingClock

GLANCE_S = 0.05  # of real time, at threads that work


class VirtualLoop(ErrandLoop):
    """`busy`: whether threads work for somebody who waits. `server`: who answers at a port, made
    anew for each connection; it may raise OSError."""

    def __init__(self) -> None:
        super().__init__()
        self.busy: Callable[[], bool] = bool
        self.server: Callable[[int, Line], Server]
        self._passed_s = 0.0
        self._ports: dict[int, int] = {}
        # The loop asks its selector to wait: there time is let pass.
        selector: Any = self.__dict__["_selector"]
        self._really = selector.select
        selector.select = self._select

    def time(self) -> float:
        return self._passed_s

    def _select(self, timeout: float | None) -> Any:
        events = self._really(0)
        if events or timeout == 0:
            return events
        if self._errands or self.busy():
            return self._really(GLANCE_S)
        if timeout is None:
            return self._really(None)
        self._passed_s += timeout
        return []

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        await asyncio.sleep(0.01)
        self._ports[id(sock)] = address[1]

    async def create_connection(self, protocol_factory: Any, *_: Any, **kept: Any) -> Any:
        sock: socket.socket = kept["sock"]
        port = self._ports.pop(id(sock))
        sock.close()
        line = Line(self, protocol_factory())
        line.server = self.server(port, line)
        line.protocol.connection_made(line)
        line.server.begin()
        return line, line.protocol


class Server(Protocol):
    """One end of a connection."""

    def begin(self) -> None: ...

    def received(self, data: bytes) -> None: ...


class Line(asyncio.Transport):
    """The client's transport; the server says things over it after a while, in order."""

    def __init__(self, loop: VirtualLoop, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.protocol = protocol
        self.server: Server
        self._loop = loop
        self._closing = False
        self._at_s = 0.0

    def say(self, text: str, after_s: float) -> None:
        self._soon(after_s, lambda: self.protocol.data_received(text.encode() + b"\r\n"))

    def end(self, after_s: float = 0.0) -> None:
        """The server closes it."""
        self._soon(after_s, self.abort)

    def write(self, data: Any) -> None:
        if not self._closing:
            self.server.received(bytes(data))

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._loop.call_soon(self.protocol.connection_lost, None)

    abort = close

    def is_closing(self) -> bool:
        return self._closing

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """There is no buffer."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def _soon(self, after_s: float, deed: Callable[[], None]) -> None:
        # Timers of one moment come in any order.
        self._at_s = max(self._at_s + 1e-6, self._loop.time() + after_s)
        self._loop.call_at(self._at_s, lambda: None if self._closing else deed())


class VirtualClock(StandingClock):
    """The loop's time; `jump_ms` moves the wall's alone."""

    def __init__(self, loop: VirtualLoop, chance: random.Random) -> None:
        super().__init__()
        self.jump_ms = 0
        self._loop = loop
        self._chance = chance

    def wall_ms(self) -> int:
        return NOW_MS + int(self._loop.time() * 1000) + self.jump_ms

    def monotonic(self) -> float:
        return self._loop.time()

    def chance(self) -> float:
        return self._chance.random()
