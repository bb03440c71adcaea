"""The parent of several workers: starts them, replaces one that died, passes signals on.

    SIGTERM, SIGINT   to all; ends when they have ended, with 0
    SIGHUP            to all, if the configuration is one that can be read
    a worker ends     the others are told, a successor takes its number and its sockets
    no heartbeat      for 60 s while the parent's own clock runs: killed, then as above

Promises that it has no loop, no thread and no database connection, so that it may fork at any time;
that a worker which knows the disk to have failed ends them all, with 1; and that workers end when
the parent is gone. Knows nothing of what a worker does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

import msgspec

from waypost import log
from waypost.clock import Clock
from waypost.core.errors import WaypostError
from waypost.store.several.crew import Ground, Word

BROKEN = 3  # how a worker ends that knows the disk to have failed
SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD})
SECOND_S = 1.0
STARTING_S = 0.02  # between looks whether all are ready
HEARTLESS_S = 60  # the design: then it is killed
STOPPED_S = 42.0  # a stop as a whole: the 30 s of section 12, and what the rest takes at most
AGAIN_S = 0.25  # before the successor of one that died young is started; doubles
AGAIN_MOST_S = 5.0  # its share of new connections waits for it that long
YOUNG_S = 10.0


class _Place(msgspec.Struct):
    """A worker's number, and who has it now. `pid` 0: nobody."""

    pid: int = 0
    since_s: float = 0.0
    heart: int = 0
    still_s: int = 0
    deaths: int = 0  # of young ones, in a row
    start_at_s: float = 0.0


class Parent:
    """`work` is the life of a worker, in a process of its own: its exit code. `reread` reads the
    configuration anew; False if it cannot be used. `leave` lets go of the listening sockets."""

    def __init__(
        self,
        ground: Ground,
        clock: Clock,
        work: Callable[[int], int],
        reread: Callable[[], bool],
        leave: Callable[[], None],
    ) -> None:
        self._ground = ground
        self._clock = clock
        self._work = work
        self._reread = reread
        self._leave = leave
        self._log = log.get("workers")
        self._places = [_Place() for _ in range(ground.workers)]
        self._ready = False
        self._stop_by_s: float | None = None
        self._code = 0

    def run(self, ready: Callable[[], None]) -> int:
        """Until all have ended; the exit code. `ready` is called once, when all are ready."""
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # taken one by one, below
        for number in range(self._ground.workers):
            self._ground.set_up(number, True)  # about to be: upstreams wait for their own worker
        try:
            for number in range(self._ground.workers):
                self._start(number)
            while not self._ended():
                self._turn(ready)
        finally:
            self._kill_all(signal.SIGKILL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        return self._code

    def _turn(self, ready: Callable[[], None]) -> None:
        now_s = self._clock.monotonic()
        due = [place.start_at_s - now_s for place in self._places if not place.pid]
        starting = self._stop_by_s is None and bool(due)
        wait_s = SECOND_S if self._ready else STARTING_S
        wait_s = max(0.0, min(wait_s, *due)) if starting else wait_s
        told = signal.sigtimedwait(SIGNALS, wait_s)
        if told is not None:
            self._hear(signal.Signals(told.si_signo))
        else:
            self._feel_hearts(wait_s)
        self._reap()
        if self._stop_by_s is None:
            self._start_due()
            if not self._ready and self._all_ready():
                self._ready = True
                ready()
        elif self._clock.monotonic() > self._stop_by_s:
            self._code = 1
            self._kill_all(signal.SIGKILL)

    def _hear(self, number: signal.Signals) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._stop()
        elif number is signal.SIGHUP and self._stop_by_s is None and self._reread():
            self._kill_all(signal.SIGHUP)

    def _stop(self) -> None:
        if self._stop_by_s is None:
            self._stop_by_s = self._clock.monotonic() + STOPPED_S
            self._leave()
        self._kill_all(signal.SIGTERM)

    def _ended(self) -> bool:
        return self._stop_by_s is not None and not any(place.pid for place in self._places)

    def _all_ready(self) -> bool:
        return all(self._ground.ready(number) for number in range(self._ground.workers))

    def _kill_all(self, number: signal.Signals) -> None:
        for place in self._places:
            if place.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(place.pid, number)

    # Starting.

    def _start_due(self) -> None:
        now_s = self._clock.monotonic()
        for number, place in enumerate(self._places):
            if not place.pid and place.start_at_s <= now_s:
                try:
                    self._start(number)
                except OSError as error:
                    self._log.error("cannot_start_worker", worker=number, why=error.strerror)
                    place.start_at_s = now_s + AGAIN_MOST_S

    def _start(self, number: int) -> None:
        self._ground.set_ready(number, False)
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if not pid:
            self._be(number)
        place = self._places[number]
        place.pid, place.since_s = pid, self._clock.monotonic()
        place.heart, place.still_s = self._ground.heart(number), 0

    def _be(self, number: int) -> NoReturn:
        """The worker itself: never comes back into what the parent was doing."""
        code = 1
        try:
            os.close(self._ground.life[1])  # the parent's alone
            code = self._work(number)
        except WaypostError as error:
            print(f"waypost: worker {number}: {error.public}", file=sys.stderr)
        except BaseException:  # noqa: BLE001  (its process ends here, and must say why)
            traceback.print_exc()
        finally:
            with contextlib.suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    # Ending.

    def _reap(self) -> None:
        while any(place.pid for place in self._places):
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            for number, place in enumerate(self._places):
                if place.pid == pid:
                    place.pid = 0
                    self._died(number, place, os.waitstatus_to_exitcode(status))

    def _died(self, number: int, place: _Place, code: int) -> None:
        self._ground.set_ready(number, False)
        self._ground.set_up(number, False)
        self._ground.tell_all(Word.CHANGED, but=number)
        if code == BROKEN:
            self._ground.tell_all(Word.BROKEN)
        if self._stop_by_s is not None or code == BROKEN or not self._ready:
            # One that cannot even start says why; trying on would hide it.
            if code or self._stop_by_s is None:
                self._code = 1
                self._log.error("worker_failed", worker=number, code=code)
            if self._stop_by_s is None:
                self._stop()
            return
        now_s = self._clock.monotonic()
        young = now_s - place.since_s < YOUNG_S
        place.deaths = place.deaths + 1 if young else 0
        wait_s = min(AGAIN_S * 2 ** (place.deaths - 1), AGAIN_MOST_S) if place.deaths else 0.0
        place.start_at_s = now_s + wait_s
        self._log.warning("worker_died", worker=number, code=code, replaced_in_s=wait_s)

    def _feel_hearts(self, passed_s: float) -> None:
        """Called when nothing else happened for so long: a machine that was asleep, or a parent
        that was stopped, does not count."""
        if passed_s < SECOND_S:
            return
        for number, place in enumerate(self._places):
            heart = self._ground.heart(number)
            place.still_s = place.still_s + 1 if heart == place.heart else 0
            place.heart = heart
            if place.pid and place.still_s >= HEARTLESS_S:
                self._log.error("worker_without_heartbeat", worker=number, seconds=place.still_s)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(place.pid, signal.SIGKILL)
