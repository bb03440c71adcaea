"""An upstream whose kept connections all fail at once, or say nothing any more: one back-off."""

from __future__ import annotations

import asyncio
from pathlib import Path

from transport.bench_of import Rig, acceptance, rig
from transport.fake_store import until
from transport.scripted import Scripted
from waypost.core.upstream import Limits, UpstreamState
from waypost.transport.link.stream import Timeouts
from waypost.transport.schedule import MINUTE_MS

CONNECTIONS = 4


async def keep_all(server: Scripted, held: Rig) -> None:
    """Every connection that is allowed carries a message, and is kept."""
    server.turns = asyncio.Semaphore(0)
    for _ in range(CONNECTIONS):
        held.store.put()
    await held.dispatcher.start()
    await until(lambda: server.commands.count(".") == CONNECTIONS)
    for _ in range(CONNECTIONS):
        server.turns.release()
    await until(lambda: len(held.store.records) == CONNECTIONS)


def test_an_upstream_that_drops_all_is_probed_as_after_one_failure(tmp_path: Path) -> None:
    """It was restarted: each connection finds out for itself, and that is one piece of news."""

    async def play() -> None:
        server = Scripted()
        async with rig(server, tmp_path, Limits(connections=CONNECTIONS)) as held:
            await keep_all(server, held)
            server.faults = {"mail": "drop", "greeting": "drop"}
            waiting = [held.store.put().id for _ in range(CONNECTIONS)]
            held.dispatcher.stirred()
            await until(lambda: held.store.state_of() is UpstreamState.FAILING)
            await until(lambda: not held.store.claimed)
            health = held.store.settings[1].health
            assert health.probes == 1
            assert health.probe_at_ms == held.clock.ms + 5 * MINUTE_MS
            assert all(held.store.waiting[ident].attempt == 1 for ident in waiting)
            server.faults, server.turns = {}, None
            held.later(5 * MINUTE_MS)
            await until(lambda: len(server.got) == 2 * CONNECTIONS)

    asyncio.run(play())


def test_an_upstream_that_says_nothing_any_more_backs_off_at_its_first_greeting(
    tmp_path: Path,
) -> None:
    """Those that hang are no sign that it works: they do not count against the new connection."""

    async def play() -> None:
        server = Scripted()
        limits = Limits(connections=3 * CONNECTIONS)
        async with rig(server, tmp_path, limits) as held:
            dialer = held.dispatcher._office.dialer
            dialer.timeouts = Timeouts(reply_s=2.0)
            await keep_all(server, held)
            dialer.timeouts = Timeouts(reply_s=0.3)
            kept = server.connections  # one is opened too many at times
            server.faults = {"greeting": "hang"}
            await server.fail_while_idle("hang")
            held.clock.ms += 1_000
            for _ in range(kept + 1):
                held.store.put()
            held.dispatcher.stirred()
            await until(lambda: server.connections == kept + 1)
            held.clock.ms += 11_000
            await until(lambda: held.store.state_of() is UpstreamState.FAILING)
            assert len(held.store.claimed) == kept  # those hang on
            assert not held.dispatcher.wants(acceptance(77))
            assert held.store.no_tries[77][1] == held.store.settings[1].health.probe_at_ms
            await until(lambda: not held.store.claimed)
            assert server.connections == kept + 1  # nobody knocked again
            assert held.store.settings[1].health.probes == 1

    asyncio.run(play())
