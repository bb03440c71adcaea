"""`waypost serve` with several workers: what their parent makes before it forks them.

Promises that no loop, thread or database connection is left in the parent, and that what the
workers are to share (listening ports, TLS tickets, counts of sessions) is made once. Knows nothing
of what a worker does.
"""

from __future__ import annotations

import gc
import mmap
from collections.abc import Callable

from waypost import app, log
from waypost.cli.base import serve_as_owner
from waypost.cli.relay import serve
from waypost.clock import SystemClock
from waypost.config import Config
from waypost.core.errors import WaypostError
from waypost.intake.auth import guesses_octets
from waypost.intake.bounds import shared_octets
from waypost.listeners import bind_each, places
from waypost.seat import Seat
from waypost.store.connect import Paths, make_data
from waypost.store.locks import held, hold_parent, hold_serve
from waypost.store.migrate import open_migrated
from waypost.store.several.crew import Crew, Ground
from waypost.store.several.turn import Turn
from waypost.workers import Parent


def serve_several(config: Config, read: Callable[[], Config], as_json: bool = False) -> int:
    """Until SIGTERM; the exit code. Raises what keeps it from starting."""
    clock = SystemClock()
    if held(Paths(config.data).lock("serve")):
        hold_serve(config.data)  # says who is there, which a taken port would not
    sockets = bind_each(config, config.workers)  # ports below 1024 are root's to bind
    serve_as_owner(config.data)
    make_data(config.data)
    hold_serve(config.data)  # the workers inherit it: until the last has ended nobody else serves
    parent_lock = hold_parent(config.data)
    open_migrated(config.data, create=True, serving=True).close()
    Turn(config.data).close()  # from now on everybody who writes takes turns
    certificate = app.load_certificate(config, clock)
    ground = Ground(config.workers)
    sessions = mmap.mmap(-1, shared_octets(config.workers))
    guesses = mmap.mmap(-1, guesses_octets(config.workers))
    current = [config]

    def work(number: int) -> int:
        parent_lock.close()
        for other, theirs in enumerate(sockets):
            if other != number:
                theirs.close()
        seat = Seat(Crew(ground, number), certificate, sessions, guesses)
        return serve.run(serve.work(current[0], read, sockets[number], seat))

    def reread() -> bool:
        try:
            current[0] = read()
        except WaypostError as error:
            log.get("serve").warning("reload_refused", reason=error.public)
            return False
        return True

    def leave() -> None:
        for each in sockets:
            each.close()

    def ready() -> None:
        serve.ready(place, as_json)

    app.App.preload()
    place = serve.whereabouts(places(sockets[0]), config)
    serve.show(place, as_json)
    gc.collect()
    gc.freeze()  # what is here now stays, in memory that all workers share
    return Parent(ground, clock, work, reread, leave).run(ready)
