"""No 250 before the message is on the disk: seen by strace, for a kill leaves the page cache whole.

One client, one message at a time. Of each message the last write that holds its mark must be
followed by a sync of that file that ends before the answer is written to the client's socket, which
is known by its port. The control commits without syncs and must be found out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from peers.need import need
from peers.process import free_port, wait_until
from peers.relay import Relay, mail, submit

MESSAGES = 12
CALLS = (
    "fsync,fdatasync,sync_file_range,write,writev,pwrite64,pwritev,sendto,sendmsg,rename,renameat,"
    "renameat2,link,linkat"
)
CALL = re.compile(r"^(?P<pid>\d+) +(?:<\.\.\. )?(?P<name>\w+)(?P<rest>.*)$", re.S)
SYNCS = ("fsync", "fdatasync")
SOCKET_WRITES = ("write", "writev", "sendto", "sendmsg")


@dataclass
class Trace:
    """Calls in the order in which they ended: (name, file or socket, text)."""

    calls: list[tuple[str, str, str]] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Trace:
        trace, begun = cls(), {}
        for line in path.read_text(errors="replace").splitlines():
            found = CALL.match(line)
            if not found:
                continue
            pid, name, rest = found["pid"], found["name"], found["rest"]
            if rest.endswith("<unfinished ...>"):
                begun[pid, name] = rest
                continue
            if " resumed>" in rest:
                rest = begun.pop((pid, name), "") + rest
            about = re.match(r"\(\d+<(.*?)>[,) ]", rest)
            trace.calls.append((name, about.group(1) if about else "", rest))
        return trace

    def answer(self, port: int, mark: str) -> int:
        """The place of the 250: the first write to the client after one of the mark to a file.

        While a message arrives its client is told nothing, so what is next said is the answer.
        """
        begun = next(
            place
            for place, (name, about, text) in enumerate(self.calls)
            if "write" in name and about.startswith("/") and mark in text
        )
        return next(
            place
            for place, (name, about, _) in enumerate(self.calls)
            if place > begun
            and name in SOCKET_WRITES
            and about.startswith("TCP:")
            and about.endswith(f":{port}]")
        )

    def unsynced(self, mark: str, answer: int) -> list[str]:
        """What was not synced before the answer, of all that must be.

        Each file after its last write with the mark, and the folder after a rename into it.
        """
        before = self.calls[:answer]
        due: list[tuple[int, set[str]]] = []
        written: dict[str, int] = {}
        for place, (name, about, text) in enumerate(before):
            if "write" in name and about.startswith("/") and mark in text:
                written[about] = place
        for file, place in written.items():
            names = {file}
            for later, (name, _, text) in enumerate(before[place:], place):
                paths = re.findall(r'"([^"]*)"', text)
                if name.startswith("rename") and len(paths) == 2 and file == paths[0]:
                    names.add(paths[1])
                    due.append((later, {str(Path(paths[1]).parent)}))
            due.append((place, names))
        assert due, f"{mark} was written nowhere before its answer"
        return [
            " or ".join(sorted(names))
            for place, names in due
            if not any(name in SYNCS and about in names for name, about, _ in before[place:])
        ]


def traced(make_relay: Callable[..., Relay], tmp_path: Path, sabotage: str = "") -> list[str]:
    """Runs the messages through a traced relay; the files of each that were not synced in time."""
    (strace,) = need("strace")
    out = tmp_path / "trace"
    options = ("-f", "-yy", "-s", "200000", "-e", f"trace={CALLS}", "-o", str(out))
    relay = make_relay(
        settings="inline_wait = 0",
        tables={"limits": "rate_per_minute = 0"},
        wrapper=(strace, *options),
        sabotage=sabotage,
    )
    key = relay.furnish(free_port())  # nobody is there: nothing but accepting is traced
    marks = [f"mark-{n}-of-the-trace" for n in range(MESSAGES)]
    with relay.session(key) as client:
        assert client.sock is not None
        port = client.sock.getsockname()[1]
        for number, mark in enumerate(marks):
            # Every third one is large enough to become a file in the spool.
            rest = "0123456789\r\n" * (100_000 if number % 3 == 2 else 1)
            letter = mail(subject=mark, body=f"{rest}{mark}\r\n")
            assert submit(client, letter, ["ann@example.com"])[0] == 250
        client.quit()
    assert relay.stop() == 0
    wait_until(lambda: "exited with 0" in out.read_text(errors="replace"), "the trace's end")
    trace = Trace.read(out)
    return [
        f"{mark}: {file}"
        for mark in marks
        for file in trace.unsynced(mark, trace.answer(port, mark))
    ]


@pytest.mark.slow
def test_a_sync_comes_before_every_answer(make_relay: Callable[..., Relay], tmp_path: Path) -> None:
    assert traced(make_relay, tmp_path) == []


@pytest.mark.slow
def test_control_without_syncs_is_found_out(
    make_relay: Callable[..., Relay], tmp_path: Path
) -> None:
    found = traced(make_relay, tmp_path, sabotage="unsynced")
    assert {line.split(":")[0] for line in found} == {
        f"mark-{n}-of-the-trace" for n in range(MESSAGES)
    }
