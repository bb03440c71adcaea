"""A worker dies, or their parent does: nothing that was acknowledged is lost, and mail goes on."""

from __future__ import annotations

import os
import re
import signal
import smtplib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from peers.load import CREDITS, Load, everything_is_right, tokens
from peers.process import listens, wait_until
from peers.recording import Recording
from peers.relay import Relay, mail, submit
from workers.crew_of import (
    AT_ONCE,
    SEVERAL,
    TURNS,
    accepted_by,
    kill,
    lives,
    wait_for_all,
    workers_of,
)


@pytest.mark.slow
def test_a_worker_that_is_killed_is_replaced_and_its_upstream_goes_on(
    make_relay: Callable[..., Relay], recording: Recording
) -> None:
    relay = make_relay(**SEVERAL)
    wait_for_all(relay)
    key = relay.furnish(recording.port)
    for _ in range(3):
        before = workers_of(relay)
        victim = before[len(recording.messages) % 2]
        kill(victim)
        # Before there is a successor: a session of the survivor's, whoever's the upstream was.
        taken = 0
        while taken < 4:
            with relay.session(key) as session:
                code, text = submit(session, mail(), ["ann@example.com"])
                assert (code, text[:3]) == (250, "OK:")
                taken += 1
        wait_until(lambda v=victim: v not in workers_of(relay), "its end")  # type: ignore[misc]
        wait_until(lambda: len(workers_of(relay)) == 2, "a successor")
    answers = set()
    for _ in range(TURNS):
        code, text = relay.submit(key, mail(), ["ann@example.com"])
        assert (code, text[:3]) == (250, "OK:")
        answers.add(accepted_by(text))
        if answers == {0, 1}:
            break
    assert answers == {0, 1}
    relay.audit()


def test_an_upstream_goes_elsewhere_and_comes_back(
    make_relay: Callable[..., Relay], recording: Recording
) -> None:
    relay = make_relay(**SEVERAL)
    wait_for_all(relay)
    key = relay.furnish(recording.port)

    def sessions_after_another() -> int:
        code, text = relay.submit(key, mail(), ["ann@example.com"])
        assert (code, text[:3]) == (250, "OK:")
        return recording.sessions

    assert [sessions_after_another() for _ in range(4)] == [1] * 4, "one owner, one connection"
    with session_with(relay, key, 0) as survivor:
        kill(workers_of(relay)[1])  # upstream 1 is worker 1's
        assert submit(survivor, mail(), ["ann@example.com"])[0] == 250
    assert recording.sessions == 2
    wait_until(lambda: len(workers_of(relay)) == 2, "a successor")
    wait_until(lambda: sessions_after_another() == 3, "it to take its upstream back", step_s=0.1)
    assert [sessions_after_another() for _ in range(4)] == [3] * 4


@pytest.mark.slow
def test_kills_of_the_parent_under_load(
    make_relay: Callable[..., Relay], recording: Recording
) -> None:
    relay = make_relay(**AT_ONCE)
    key = relay.furnish(recording.port, credits=str(CREDITS))
    with Load(relay, key) as load:
        for _ in range(3):
            load.more(20)
            kill_parent(relay)
            relay.start()  # waits for the orphans, who hold the ports and the store
            wait_for_all(relay)
    everything_is_right(relay, recording, load)


@pytest.mark.slow
def test_workers_end_when_their_parent_is_gone(
    make_relay: Callable[..., Relay], recording: Recording
) -> None:
    relay = make_relay(**SEVERAL)
    wait_for_all(relay)
    workers = workers_of(relay)
    kill_parent(relay)
    wait_until(lambda: not listens(relay.submission), "the ports to be free")
    wait_until(lambda: not any(lives(pid) for pid in workers), "the workers to end")
    relay.start()
    assert relay.stop() == 0


@pytest.mark.slow
def test_a_rolling_restart_under_load(
    make_relay: Callable[..., Relay], recording: Recording
) -> None:
    relay = make_relay(**AT_ONCE)
    key = relay.furnish(recording.port, credits=str(CREDITS))
    with Load(relay, key) as load:
        for _ in range(3):
            load.more(20)
            relay.restart()
            wait_for_all(relay)
    everything_is_right(relay, recording, load)
    assert max(tokens(recording).values()) == 1
    assert not re.search("Traceback|uncertain", relay.log.read_text())


def test_a_worker_told_to_end_finishes_and_is_replaced(
    make_relay: Callable[..., Relay], recording: Recording
) -> None:
    relay = make_relay(**SEVERAL)
    wait_for_all(relay)
    key = relay.furnish(recording.port)
    first = workers_of(relay)[0]
    os.kill(first, signal.SIGTERM)
    wait_until(
        lambda: first not in workers_of(relay) and len(workers_of(relay)) == 2, "a successor"
    )
    for _ in range(6):
        code, text = relay.submit(key, mail(), ["ann@example.com"])
        assert (code, text[:3]) == (250, "OK:")
    assert "code=0" in relay.log.read_text()


@contextmanager
def session_with(relay: Relay, key: str, worker: int) -> Iterator[smtplib.SMTP]:
    """A session with that worker, which the kernel gives us in the end."""
    while True:
        with relay.session(key) as session:
            code, text = submit(session, mail(), ["ann@example.com"])
            assert code == 250
            if accepted_by(text) == worker:
                yield session
                return


def kill_parent(relay: Relay) -> None:
    """The parent alone; its workers are told by nobody."""
    process = relay._process
    assert process is not None
    process.signal(signal.SIGKILL)
    process.wait()
