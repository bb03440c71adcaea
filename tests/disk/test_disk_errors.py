"""Each effect of an accept fails once: an answer of 4xx or a clean stop, never a 250 without the
message.

A shim fails the first effect on the data directory after the client has begun, then the second,
until an accept had none left to fail: every open, write, sync, rename, link and truncation, of the
log of the store as of a large body. In the end the relay is killed, and what was answered 250 must
be there with its body; the control answers before the commit and must be found out.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import re
import smtplib
from collections.abc import Iterator
from pathlib import Path

import pytest

from disk.effects import Effects, Kind
from peers.load import books_are_right, emptied
from peers.process import wait_until
from peers.recording import Recording
from peers.relay import Relay, mail, submit

MOST = 200  # effects of one accept
SMALL, LARGE = 10, 40_000  # lines; the larger is past the bound for memory
CREDITS = 1_000


class Failing:
    """A relay whose disk fails, and what it answered. `kinds`: of the effects that failed."""

    def __init__(self, tmp_path: Path, port: int, sabotage: str = "") -> None:
        disk = tmp_path / "disk"
        disk.mkdir()
        self.effects = Effects(tmp_path / "effects", disk)
        self.relay = Relay(tmp_path / "relay", sabotage=sabotage)
        self.relay.data = disk / "data"
        tables = {"limits": "rate_per_minute = 0"}
        self.relay.write_config("inline_wait = 0", tables)
        self.relay.env = self.effects.environment(journal=False)
        self.acknowledged: dict[str, int] = {}
        self.kinds: set[Kind] = set()
        self.stops = 0
        self.relay.start()
        self.key = self.relay.furnish(port, credits=str(CREDITS))
        self.relay.cli("upstream", "pause", "main")  # nothing but accepting has effects

    def accept(self, at: int, lines: int, error: int) -> bool:
        """One message, whose effect number `at` fails; False: it had not so many."""
        token = f"token-{lines}-{len(self.acknowledged)}-{at}-{error}"
        letter = mail(subject=token, body="0123456789\r\n" * lines)
        code = 0
        with contextlib.suppress(OSError, smtplib.SMTPException), self.session() as client:
            self.effects.arm(at, error)
            code, _ = submit(client, letter, ["ann@example.com"])
        failed = self.effects.disarm()
        if code == 250:
            self.acknowledged[token] = lines
        if failed is None:
            assert code == 250
            return False
        kind, file = failed
        # The names in the data directory were synced at the start: SQLite does it again.
        unsynced = kind is Kind.SYNC and file != "data"
        assert not unsynced or code != 250, f"answered without the sync of {file}"
        self.kinds.add(kind)
        assert code == 250 or 400 <= code < 500 or code == 0, code
        self.goes_on_or_stops(code)
        return True

    def session(self) -> contextlib.AbstractContextManager[smtplib.SMTP]:
        if not self.relay.running:
            self.relay.start()
        return self.relay.session(self.key)

    def goes_on_or_stops(self, code: int) -> None:
        """What failed a moment ago costs that message alone, or the relay says why it ends."""
        with contextlib.suppress(OSError, smtplib.SMTPException), self.session() as client:
            token = f"after-{len(self.acknowledged)}"
            again, _ = submit(client, mail(subject=token), ["ann@example.com"])
            if again == 250:
                self.acknowledged[token] = 0
                assert code, "the connection was closed, yet the relay goes on"
                return
        process = self.relay._process
        assert process is not None
        assert process.wait() == 1
        told = process.output[-1000:]
        assert "the disk failed" in told or "write to the disk failed" in told, told
        assert "Traceback" not in process.output
        self.stops += 1

    def lost(self, recording: Recording) -> set[str]:
        """Killed, started on a disk that is well, and delivered: what of the acknowledged is gone
        or not whole."""
        self.relay.kill9()
        self.relay.env = {}
        self.relay.start()
        self.relay.audit()
        self.relay.cli("upstream", "resume", "main")
        emptied(self.relay)
        books_are_right(self.relay, CREDITS)
        arrived = {}
        for message in recording.messages:
            found = re.search(rb"^Subject: (\S+)\r$", message.octets, re.M)
            assert found is not None
            arrived[found[1].decode()] = message.octets.count(b"0123456789\r\n")
        return {t for t, lines in self.acknowledged.items() if arrived.get(t) != lines}


@pytest.fixture
def failing(tmp_path: Path, recording: Recording) -> Iterator[Failing]:
    made = Failing(tmp_path, recording.port)
    yield made
    made.relay.stop()


@pytest.mark.slow
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC], ids=["EIO", "ENOSPC"])
def test_every_effect_of_an_accept_fails_once(
    error: int, failing: Failing, recording: Recording
) -> None:
    for lines in (SMALL, LARGE):
        # After the steps of its file a large body has those of a small one.
        most = 12 if lines == LARGE and error == errno.EIO else MOST
        at = next((at for at in range(most) if not failing.accept(at, lines, error)), most)
        assert at > 8, "an accept has more effects"
    wanted = {Kind.OPEN, Kind.WRITE, Kind.SYNC, Kind.RENAME}
    # A large body comes in now more, now fewer reads: one of its steps may have been passed over.
    for at in itertools.islice(itertools.cycle(range(12)), 120):
        if wanted <= failing.kinds:
            break
        failing.accept(at, LARGE, error)
    assert wanted <= failing.kinds
    if error == errno.EIO:
        assert failing.stops > 3
    assert failing.lost(recording) == set()


@pytest.mark.slow
def test_control_an_early_answer_is_found_out(tmp_path: Path, recording: Recording) -> None:
    failing = Failing(tmp_path, recording.port, sabotage="early")
    try:
        with failing.session() as client:
            # All fail: one alone may be of somebody who only reads meanwhile.
            failing.effects.turn_read_only()
            code, _ = submit(client, mail(subject="token"), ["ann@example.com"])
            assert code == 250
            failing.acknowledged["token"] = 0
            wait_until(lambda: failing.effects.failed is not None, "the failure")
        assert failing.lost(recording) == {"token"}
    finally:
        failing.relay.stop()
