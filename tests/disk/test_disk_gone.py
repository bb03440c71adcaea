"""A data directory that turns read-only, or goes away, under a running relay: nothing is
acknowledged that is not kept, nothing charged or sent twice, and mail goes on by itself."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from disk.effects import Effects
from peers.need import need
from peers.process import wait_until
from peers.recording import Recording
from peers.relay import SENDER, Relay, mail, stuffed, submit
from peers.small_disk import small_disk
from waypost.config import load
from waypost.desk.care import checks
from waypost.desk.care.finding import State
from waypost.intake.bounds import Disk, Ground

TO = ["ann@example.com"]
LARGE = "0123456789\r\n" * 40_000  # past the bound for memory


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_system_turns_read_only_and_is_writable_again(
    tmp_path: Path, recording: Recording, workers: int
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    effects = Effects(tmp_path / "effects", disk)
    relay = Relay(tmp_path / "relay")
    relay.data = disk / "data"
    relay.write_config(f"workers = {workers}")
    relay.env = effects.environment(journal=False)
    relay.start()
    try:
        key = relay.furnish(recording.port)
        assert relay.submit(key, mail(), TO)[1].startswith("OK: ")
        recording.answers["dot"] = "451 4.3.0 later"
        assert relay.submit(key, mail(subject="waits"), TO)[1].startswith("queued: ")
        recording.answers.clear()
        with relay.session(key) as client:
            effects.turn_read_only()
            for body in ("Hi.\r\n", LARGE, "Hi.\r\n"):
                code, text = submit(client, mail(body=body), TO)
                assert (code, text[:6]) == (451, "4.3.0 "), text
            assert relay.running
            effects.disarm()
            wait_until(lambda: submit(client, mail(), TO)[0] == 250, "mail to be taken again", 60)
        assert relay.submit(key, mail(body=LARGE), TO)[1].startswith("OK: ")
        relay.cli("queue", "retry", "--all")
        wait_until(lambda: not relay.messages("--status", "queued"), "the queue to be empty", 60)
        assert relay.credits() == 1000 - len(relay.messages()) == 1000 - len(recording.messages)
        relay.audit()
        assert relay.stop() == 0, relay.log.read_text()
        assert "Traceback" not in relay.log.read_text()
    finally:
        if relay.running:
            relay.kill9()


@pytest.mark.slow
def test_a_data_directory_is_replaced_and_put_back(
    make_relay: Callable[..., Relay], recording: Recording
) -> None:
    """What is written to files without a name would be lost with the process."""
    relay = make_relay()
    key = relay.furnish(recording.port)
    assert relay.submit(key, mail(), TO)[0] == 250
    aside = relay.data.with_name("aside")
    sending = relay.session(key)
    client = sending.__enter__()
    for command in (f"MAIL FROM:<{SENDER}>", f"RCPT TO:<{TO[0]}>", "DATA"):
        client.docmd(command)
    relay.data.rename(aside)
    relay.data.mkdir(mode=0o700)
    (relay.data / "waypost.db").touch()
    try:
        wait_until(lambda: relay.submit(key, mail(), TO)[0] == 451, "the look", 60)
        client.send(stuffed(mail(subject="begun before")) + b".\r\n")
        assert client.getreply()[0] == 451
        client.close()
        wait_until(lambda: relay.readyz() == 503, "the look", 60)
        assert "write to its disk" in relay.submit(key, mail(), TO)[1]
    finally:
        (relay.data / "waypost.db").unlink()
        relay.data.rmdir()
        aside.rename(relay.data)
    wait_until(lambda: relay.submit(key, mail(), TO)[0] == 250, "the look", 60)
    wait_until(lambda: relay.readyz() == 200, "the look", 60)
    assert relay.credits() == 1000 - len(relay.messages())
    assert "data_directory_away" in relay.log.read_text()
    relay.audit()


def test_a_read_only_file_system_has_no_room_and_says_so(tmp_path: Path) -> None:
    """The real thing, where this process may mount one."""
    folder = tmp_path / "data"
    with small_disk(need, folder):
        store = folder / "waypost.db"
        store.touch()
        disk = Disk(Ground(folder, store).free)
        assert disk.lacks(0.0) == ""
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        assert "(Read-only file system)" in disk.lacks(10.0)
        (found,) = checks.data(load(None, folder, {}, tmp_path))
        assert (found.status, "mount its file system writable" in found.fix) == (State.ERROR, True)
        subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
        assert disk.lacks(20.0) == ""
        store.unlink()
        assert disk.lacks(30.0)
