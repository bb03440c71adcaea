"""kill -9 under load: what was answered 250 arrives; what arrives twice was logged `uncertain`.

One worker or two; all of them at once or one of them. The control answers before the commit and
must be found out, with every way of killing.
"""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable

import pytest

from peers.load import CREDITS, Load, emptied, everything_is_right, tokens
from peers.process import wait_until
from peers.recording import HANG, Recording
from peers.relay import Relay
from workers.crew_of import workers_of

KILLS = 10  # with each number of workers
MANY_KILLS = 500
MANY_MESSAGES = 50_000
AWAY_S = 0.5  # the most between two kills, beside the wait for some load


def settings(workers: int) -> dict[str, object]:
    return {
        "settings": f"inline_wait = 0\nworkers = {workers}",
        "tables": {"limits": "rate_per_minute = 0"},
    }


def kill(relay: Relay, workers: int, chance: random.Random) -> None:
    """All of them, or one of several."""
    if workers > 1 and chance.random() < 0.7:
        wait_until(lambda: len(workers_of(relay)) == workers, "all workers")
        os.kill(chance.choice(workers_of(relay)), signal.SIGKILL)
    else:
        relay.kill9()
        relay.start()


def kill_under_load(
    relay: Relay, key: str, workers: int, kills: int, seed: int, messages: int = 0
) -> Load:
    """Kills so often, at moments of chance, and goes on until so many were acknowledged."""
    chance = random.Random(seed)
    with Load(relay, key, lines=1 if messages else 20) as load:
        for _ in range(kills):
            load.more(6)
            threading.Event().wait(chance.uniform(0.05, AWAY_S))
            kill(relay, workers, chance)
        wait_until(lambda: len(load.acknowledged) >= messages, "all the load", 3600, step_s=1.0)
    return load


def kill_on_the_wire(relay: Relay, key: str, recording: Recording, stage: str) -> Load:
    """One kill while something is on the wire for certain: at that stage nobody answers."""
    reached = threading.Event()

    def silent(_: str) -> str:
        reached.set()
        return HANG

    recording.answers[stage] = silent
    with Load(relay, key) as load:
        load.more(6)
        assert reached.wait(60)
        relay.kill9()
        recording.answers.clear()
        relay.start()
    return load


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_what_was_acknowledged_arrives(
    workers: int, make_relay: Callable[..., Relay], recording: Recording
) -> None:
    relay = make_relay(**settings(workers))
    key = relay.furnish(recording.port, credits=str(CREDITS))
    load = kill_under_load(relay, key, workers, KILLS, seed=workers)
    assert len(load.acknowledged) > KILLS * 5
    everything_is_right(relay, recording, load)
    assert relay.stop() == 0


@pytest.mark.soak
@pytest.mark.parametrize("workers", [1, 2])
def test_a_thousand_kills(
    workers: int, make_relay: Callable[..., Relay], recording: Recording
) -> None:
    relay = make_relay(**settings(workers))
    key = relay.furnish(recording.port, credits=str(CREDITS))
    load = kill_under_load(relay, key, workers, MANY_KILLS, seed=workers, messages=MANY_MESSAGES)
    everything_is_right(relay, recording, load)
    assert relay.stop() == 0


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_control_an_early_answer_loses(
    workers: int, make_relay: Callable[..., Relay], recording: Recording
) -> None:
    relay = make_relay(**settings(workers), sabotage="early")
    key = relay.furnish(recording.port, credits=str(CREDITS))
    load = kill_under_load(relay, key, workers, 3, seed=2)
    emptied(relay)
    assert set(load.acknowledged) - set(tokens(recording))


@pytest.mark.slow
def test_control_claims_that_are_forgotten_are_found_out(
    make_relay: Callable[..., Relay], recording: Recording
) -> None:
    """Without the claims of the dead being taken over their mail stays where it is."""
    relay = make_relay(**settings(1), sabotage="unadopted")
    key = relay.furnish(recording.port, credits=str(CREDITS))
    kill_on_the_wire(relay, key, recording, "dot")
    with pytest.raises(AssertionError, match="an empty queue"):
        emptied(relay, 10)


@pytest.mark.slow
def test_control_second_copies_that_nobody_logged_are_found_out(
    make_relay: Callable[..., Relay], recording: Recording
) -> None:
    """The claims of the dead fall without a word: what was on the wire is sent twice, unlogged."""
    relay = make_relay(**settings(1), sabotage="unlogged")
    key = relay.furnish(recording.port, credits=str(CREDITS))
    load = kill_on_the_wire(relay, key, recording, "after the dot")
    emptied(relay)
    assert max(tokens(recording).values()) > 1, "the kill did not hit the wire"
    with pytest.raises(AssertionError):
        everything_is_right(relay, recording, load)
