"""Fifty sessions that send 25 MB each at once cost at most 200 MB, and all of it arrives."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from peers.process import wait_until
from peers.relay import Relay, mail, submit
from peers.upstreams import SmtpSink

SESSIONS = 50
OCTETS = 25 * 1024 * 1024
MORE_KB = 200 * 1024


def memory_kb(pid: int) -> int:
    """Resident memory of the process and its descendants."""
    total, waiting = 0, [pid]
    while waiting:
        one = waiting.pop()
        try:
            status = Path(f"/proc/{one}/status").read_text()
            children = Path(f"/proc/{one}/task/{one}/children").read_text()
        except OSError:
            continue
        found = re.search(r"VmRSS:\s+(\d+)", status)
        total += int(found.group(1)) if found else 0
        waiting += [int(child) for child in children.split()]
    return total


@pytest.mark.slow
def test_memory_of_fifty_large_messages_at_once(
    make_relay: Callable[..., Relay], tmp_path: Path
) -> None:
    sink = SmtpSink(tmp_path, keep=False)
    try:
        relay = make_relay(tables={"limits": "rate_per_minute = 0"})
        key = relay.furnish(sink.port)
        assert relay.submit(key, mail(), ["ann@example.com"])[0] == 250
        idle = memory_kb(relay.pid)
        line = b"0123456789" * 7 + b"\r\n"
        head = mail(body="", extra="Content-Disposition: attachment; filename=a.bin\r\n")
        letter = head + line * (OCTETS // len(line))
        answers: list[int] = []
        ready = threading.Barrier(SESSIONS)

        def client() -> None:
            with relay.session(key) as session:
                ready.wait(60)
                session.sock.settimeout(300)  # type: ignore[union-attr]
                answers.append(submit(session, letter, ["ann@example.com"])[0])

        threads = [threading.Thread(target=client) for _ in range(SESSIONS)]
        for thread in threads:
            thread.start()
        most = 0
        while any(thread.is_alive() for thread in threads):
            most = max(most, memory_kb(relay.pid))
            time.sleep(0.05)
        assert answers == [250] * SESSIONS
        wait_until(lambda: sink.count() == SESSIONS + 1, "all of it at the sink", 300, 0.5)
        most = max(most, memory_kb(relay.pid))
        assert most - idle <= MORE_KB, f"{(most - idle) / 1024:.0f} MB more than idle"
        relay.audit()
    finally:
        sink.stop()
