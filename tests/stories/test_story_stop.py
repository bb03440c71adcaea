"""How the relay ends: in one span of time for clients and upstreams together, whatever hangs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from peers.need import need
from peers.process import wait_until
from peers.recording import HANG, Recording
from peers.relay import SENDER, Relay, ident_of, mail, stuffed
from waypost.app import App
from waypost.clock import SystemClock
from waypost.config import load
from waypost.listeners import bind

SLOW_NAMES = Path(__file__).parents[1] / "peers" / "slow_names.c"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the web framework
def test_clients_and_the_wire_share_the_time_of_a_stop(
    tmp_path: Path, recording: Recording
) -> None:
    """An end of data without an answer, and a client that waits for it; another sends on."""
    recording.answers["dot"] = HANG
    relay = Relay(tmp_path / "relay", settings="inline_wait = 30.0")
    took_s: list[float] = []

    async def play() -> tuple[int, str]:
        config = load(relay.config, None)
        app = App(config, SystemClock(), bind(config), lambda reason: None)
        await app.start()
        key = await asyncio.to_thread(relay.furnish, recording.port)
        waits = asyncio.create_task(
            asyncio.to_thread(relay.submit, key, mail(), ["ann@example.com"])
        )
        sending = relay.session(key)
        client = await asyncio.to_thread(sending.__enter__)
        for command in (f"MAIL FROM:<{SENDER}>", "RCPT TO:<bob@example.com>", "DATA"):
            await asyncio.to_thread(client.docmd, command)
        await asyncio.to_thread(wait_until, lambda: "DATA" in recording.lines, "the first try")
        began = time.monotonic()
        stopping = asyncio.create_task(app.stop(2.0))
        await asyncio.sleep(0)
        client.send(stuffed(mail("bob@example.com")) + b".\r\n")
        answer = await asyncio.to_thread(client.getreply)
        await stopping
        took_s.append(time.monotonic() - began)
        client.close()
        await asyncio.gather(waits, return_exceptions=True)
        return answer[0], answer[1].decode()

    code, text = asyncio.run(play())
    assert (code, text.split()[0]) == (250, "queued:")
    assert took_s[0] < 20.0  # one after the other they would take 30 s and more
    assert recording.lines.count("DATA") == 1
    first, second = sorted(relay.messages(), key=lambda message: str(message["id"]))
    assert second["id"] == ident_of(text)
    (attempt,) = relay.message(first["id"])["recipients"][0]["attempts"]
    assert attempt["uncertain"] is True
    assert relay.message(second["id"])["recipients"][0]["attempts"] == []
    relay.audit()


@pytest.mark.slow
def test_a_name_server_that_does_not_answer_does_not_hold_up_the_end(tmp_path: Path) -> None:
    (gcc,) = need("gcc")
    library = tmp_path / "slow_names.so"
    subprocess.run(
        [gcc, "-shared", "-fPIC", "-Wall", "-Werror", "-o", library, SLOW_NAMES, "-ldl"], check=True
    )
    asked = tmp_path / "asked"
    relay = Relay(tmp_path / "relay")
    relay.env = {"LD_PRELOAD": str(library), "SLOW_NAMES_ASKED": str(asked)}
    relay.start()
    try:
        host = ("--host", "never.answers.test", "--port", "2525", "--encryption", "none")
        relay.cli("upstream", "add", "main", "--sender", SENDER, *host, "--no-test")
        relay.cli("account", "create", "acme", "--credits", "10")
        code, text = relay.submit(relay.key("acme"), mail(), ["ann@example.com"])
        assert (code, text.split()[0]) == (250, "queued:")
        wait_until(asked.exists, "the name to be asked for")
        began = time.monotonic()
        assert relay.stop() == 0, relay.log.read_text()
        assert time.monotonic() - began < 20.0
    finally:
        if relay.running:
            relay.kill9()


@pytest.mark.slow
@pytest.mark.parametrize("nobody", ["is there", "reads"])
def test_a_stop_that_is_cut_short_ends_though_nobody_hears_its_last_words(nobody: str) -> None:
    play = (
        "import time, threading; from waypost.cli.relay import serve;"
        "threading.Timer(0, serve._too_late).start(); time.sleep(60)"
    )
    reads, writes = os.pipe()
    if nobody == "is there":
        os.close(reads)
    else:
        os.set_blocking(writes, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writes, bytes(4096))
        os.set_blocking(writes, True)
    process = subprocess.Popen([sys.executable, "-c", play], stderr=writes)
    os.close(writes)
    try:
        assert process.wait(30) == 1
    finally:
        process.kill()
        process.wait()
        if nobody == "reads":
            os.close(reads)
