"""When going on would be wrong: a failed sync, a worker that hangs, one that cannot start."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from peers.process import listens, wait_until
from peers.recording import Recording
from peers.relay import Relay, mail
from waypost.store.locks import hold_worker
from workers.crew_of import SEVERAL, wait_for_all, workers_of

BROKEN_DISK = Path(__file__).with_name("broken_disk.py")


@pytest.mark.slow
def test_a_failed_sync_in_one_ends_all(tmp_path: Path, recording: Recording) -> None:
    relay = Relay(tmp_path / "relay", **SEVERAL, wrapper=[sys.executable, str(BROKEN_DISK)])  # type: ignore[arg-type]
    word = tmp_path / "fail"
    relay.env["BROKEN_DISK"] = str(word)
    relay.start()
    key = relay.furnish(recording.port)
    assert relay.submit(key, mail(), ["ann@example.com"])[0] == 250
    word.touch()
    code, _ = relay.submit(key, mail(subject="lost?"), ["ann@example.com"])
    assert 400 <= code < 500
    process = relay._process
    assert process is not None
    assert process.wait() == 1
    assert "the disk failed" in relay.log.read_text() or "write to the disk" in process.output
    assert not listens(relay.submission)
    relay.wrapper = []
    relay.start()
    assert relay.submit(key, mail(), ["ann@example.com"])[0] == 250
    relay.audit()
    assert relay.stop() == 0


@pytest.mark.slow
def test_a_worker_that_cannot_start_ends_the_start(tmp_path: Path) -> None:
    relay = Relay(tmp_path / "relay", settings="workers = 2")
    relay.data.mkdir()
    _, lock = hold_worker(relay.data, 1)
    done = relay.run("serve", patience_s=120)
    lock.close()
    assert done.returncode == 1
    assert "worker 1" in done.stderr
    assert "ready" not in done.stdout
    assert "Traceback" not in done.stderr
    assert not listens(relay.submission)
    relay.start()
    assert relay.stop() == 0


def test_one_worker_after_two_takes_no_turns(make_relay: Callable[..., Relay]) -> None:
    relay = make_relay(**SEVERAL)
    assert (relay.data / "lock.write").exists()
    assert relay.stop() == 0
    relay.write_config("workers = 1")
    relay.start()
    assert not (relay.data / "lock.write").exists()


@pytest.mark.slow
def test_a_worker_that_hangs_is_killed_after_a_minute(
    make_relay: Callable[..., Relay], recording: Recording
) -> None:
    relay = make_relay(**SEVERAL)
    wait_for_all(relay)
    key = relay.furnish(recording.port)
    hung = workers_of(relay)[0]
    os.kill(hung, signal.SIGSTOP)
    wait_until(lambda: "worker_without_heartbeat" in relay.log.read_text(), "the kill", 240)
    wait_until(lambda: hung not in workers_of(relay) and len(workers_of(relay)) == 2, "another")
    for _ in range(6):
        assert relay.submit(key, mail(), ["ann@example.com"])[0] == 250
    relay.audit()
