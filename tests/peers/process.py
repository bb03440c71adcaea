"""Processes and ports: started for one test, waited for, and ended with everything they started."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

PATIENCE_S = 60.0  # how long a healthy thing may take on a busy machine
STEP_S = 0.02


PORTS = range(10_000, 32_000, 2)
"""Below those that the kernel gives to whoever connects: a port that is free now stays so. Every
other one: two workers tell their metrics at two ports in a row."""


def _own_ports() -> Iterator[int]:
    """Those of this process of the tests, in an order of chance, each again only after all."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    own = list(PORTS)[number::count]
    random.shuffle(own)
    return itertools.cycle(own)


_ports = _own_ports()


def free_port() -> int:
    """A loopback port that nobody listens on now, and that no other asker was given lately; nor
    was the one behind it."""
    return next(port for port in _ports if _free(port) and _free(port + 1))


def _free(port: int) -> bool:
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        return True
    return False


def wait_until(
    holds: Callable[[], bool], what: str, patience_s: float = PATIENCE_S, step_s: float = STEP_S
) -> None:
    """Returns as soon as `holds()`; fails with `what` was waited for when patience ends."""
    until = time.monotonic() + patience_s
    while not holds():
        if time.monotonic() > until:
            raise AssertionError(f"waited {patience_s:g} s in vain for {what}")
        time.sleep(step_s)


def not_over_midnight(seconds: float) -> None:
    """What takes so long at most will be over before the day (UTC) is: else waits for the next."""
    left = 86_400 - time.time() % 86_400
    if left < seconds:
        time.sleep(left + 1)


def greets(port: int) -> bool:
    """Whether an SMTP server greets with 220 at this port."""
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as s:
            s.settimeout(2)
            return s.recv(3) == b"220"
    except OSError:
        return False


def listens(port: int) -> bool:
    """Whether anything accepts connections at this port."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


class Process:
    """A program in a process group of its own, its output in a file."""

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.log = log
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, **(env or {})},
                cwd=cwd,
                start_new_session=True,
            )
        self.pid = self._process.pid

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def wait(self, patience_s: float = PATIENCE_S) -> int:
        """The exit code."""
        return self._process.wait(patience_s)

    def signal(self, number: int) -> None:
        """To the process alone."""
        self._process.send_signal(number)

    def stop(self, patience_s: float = PATIENCE_S + 10) -> int:
        """SIGTERM, then SIGKILL for whatever is left of the group; the exit code."""
        if self.running:
            self.signal(signal.SIGTERM)
        try:
            code = self.wait(patience_s)
        finally:
            self.kill9()
        return code

    def kill9(self) -> None:
        """SIGKILL to the whole group, and wait."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait(PATIENCE_S)
