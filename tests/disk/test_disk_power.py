"""Loss of power at any instant: nothing that was acknowledged is lost.

One life of a relay is recorded, every effect on its disk and every acknowledgement in one order.
Then the power is cut at many places of it: a disk is written down on which what was synced is
there, and of the rest whatever chance leaves; a relay is started on it, and must have, and deliver
whole, all that had been acknowledged by then. The controls take a protection out and must lose.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from disk.cut import Disk, differences
from disk.effects import Effect, Effects, Kind, read
from peers.load import CREDITS, Load, books_are_right, emptied, tokens
from peers.recording import Recording
from peers.relay import Relay

CUTS = 5
MANY_CUTS = 50
LINES = 1_500  # from the fifteenth message on a session's bodies are too large for memory: files
SETTINGS = {"settings": "inline_wait = 0", "tables": {"limits": "rate_per_minute = 0"}}


class Life:
    """What was recorded: the effects, and when what was acknowledged."""

    def __init__(self, effects: Effects, acknowledged: dict[str, int], furnished: int) -> None:
        self.effects = effects
        self.furnished = furnished
        self.acknowledged = acknowledged

    def known(self, octets: int) -> set[str]:
        """What had been acknowledged when the journal was that long."""
        return {token for token, mark in self.acknowledged.items() if mark <= octets}

    def places(self, chance: random.Random, count: int) -> list[int]:
        """Where to cut: half of them at the very moment of an answer."""
        ends = [effect.end for effect in read(self.effects.journal)]
        ends = [end for end in ends if end > self.furnished]
        marks = list(self.acknowledged.values())
        return sorted(chance.choice(marks if turn % 2 else ends) for turn in range(count))

    def disks(self, places: list[int]) -> Iterator[tuple[int, Disk]]:
        """The disk at each of these places, in order."""
        disk = Disk(self.effects.root)
        waiting: Iterator[Effect] = read(self.effects.journal)
        ahead = next(waiting, None)
        for place in places:
            while ahead is not None and ahead.end <= place:
                disk.apply(ahead)
                ahead = next(waiting, None)
            yield place, disk


def on_disk(folder: Path, disk: Path, sabotage: str = "") -> Relay:
    """A relay whose data directory is the one thing on a disk of its own."""
    relay = Relay(folder, sabotage=sabotage)
    relay.data = disk / "data"
    relay.write_config(SETTINGS["settings"], SETTINGS["tables"])  # type: ignore[arg-type]  # of two shapes
    return relay


def lived(
    tmp_path: Path, recording: Recording, sabotage: str = "", kills: int = 1, held: bool = False
) -> Life:
    """A relay under load, killed now and then, with every effect recorded. `held`: nothing of it
    is delivered, since its upstream is paused."""
    disk = tmp_path / "disk"
    disk.mkdir()
    effects = Effects(tmp_path / "effects", disk)
    relay = on_disk(tmp_path / "relay", disk, sabotage)
    relay.env = effects.environment(journal=True)
    relay.start()
    try:
        key = relay.furnish(recording.port, credits=str(CREDITS))
        secret = ("--username", "u", "--password-file", "-")
        where = ("--host", "127.0.0.1", "--port", "9", "--encryption", "none", "--no-test")
        relay.cli("upstream", "add", "sealed", "--sender", "x@y.test", *where, *secret, stdin="p")
        if held:
            relay.cli("upstream", "pause", "main")
        furnished = effects.told()
        with Load(relay, key, mark=effects.told, lines=LINES) as load:
            for _ in range(kills):
                load.more(60)
                with effects.still():
                    relay.kill9()
                relay.start()
            load.more(60)
    finally:
        relay.stop()
    assert sum(size > furnished for size in load.acknowledged.values()) >= 120
    return Life(effects, load.acknowledged, furnished)


def lost(
    folder: Path, disk: Disk, known: set[str], recording: Recording, seed: int, luck: float
) -> set[str]:
    """What of it is gone after a cut: not in the store, or not delivered whole from there."""
    relay = on_disk(folder, folder / "disk")
    disk.cut(folder / "disk", random.Random(seed), luck)
    try:
        db = apsw.Connection(str(relay.data / "waypost.db"))
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        db.close()
    except apsw.Error:
        return known  # there is no store
    recording.messages.clear()
    relay.start()
    try:
        relay.run("upstream", "resume", "main")
        audited = relay.run("audit").returncode == 0
        stuck = False
        try:
            emptied(relay, 30)
        except AssertionError:
            stuck = True  # whose body is gone: it is not among those that were sent
        listed = relay.messages("--status", "sent")
        if audited and not stuck:
            books_are_right(relay, CREDITS)
            assert relay.cli("upstream", "show", "sealed")["username"] == "u"
            assert "trouble" not in relay.log.read_text()
    finally:
        relay.stop()
    assert set(tokens(recording)) <= {str(m["subject"]) for m in listed}
    broken = {token for token in tokens(recording) if not whole(recording, token)}
    return (known - {str(m["subject"]) for m in listed}) | (broken & known)


def whole(recording: Recording, token: str) -> bool:
    """Whether each copy of it has all its lines."""
    turn = int(re.findall(r"\d+", token)[1])
    copies = [m.octets for m in recording.messages if token.encode() in m.octets]
    return all(octets.count(b"0123456789\r\n") == turn % 50 * LINES for octets in copies)


def cut_often(tmp_path: Path, recording: Recording, count: int, seed: int, kills: int = 1) -> None:
    life = lived(tmp_path, recording, kills=kills)
    chance = random.Random(seed)
    for turn, (place, disk) in enumerate(life.disks(life.places(chance, count))):
        luck = (0.0, 0.5, 0.9)[turn % 3]
        folder = tmp_path / f"cut{turn}"
        told = lost(folder, disk, life.known(place), recording, seed + turn, luck)
        assert not told, f"cut at {place} with luck {luck}"


@pytest.mark.slow
def test_what_was_acknowledged_outlives_the_power(tmp_path: Path, recording: Recording) -> None:
    cut_often(tmp_path, recording, CUTS, seed=1)


@pytest.mark.soak
def test_many_cuts(tmp_path: Path, recording: Recording) -> None:
    for seed in range(5):
        part = tmp_path / str(seed)
        part.mkdir()
        cut_often(part, recording, MANY_CUTS // 5, seed=100 * seed, kills=3)


@pytest.mark.slow
def test_the_record_is_the_whole_truth(tmp_path: Path, recording: Recording) -> None:
    """All effects one after the other, nothing lost, make the files that are there."""
    life = lived(tmp_path, recording)
    end = life.effects.told()
    ((_, disk),) = life.disks([end])
    disk.cut(tmp_path / "again", random.Random(0), 1.0)
    assert list(differences(life.effects.root, tmp_path / "again")) == []
    assert any((tmp_path / "again" / "data").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("sabotage", ["normal", "unsynced-folder"])
def test_control_without_the_protection_the_power_takes_mail(
    sabotage: str, tmp_path: Path, recording: Recording
) -> None:
    # Only what is not yet delivered when the power goes can be lost: here that is all.
    life = lived(tmp_path, recording, sabotage=sabotage, held=True)
    places = [*life.places(random.Random(3), CUTS), max(life.acknowledged.values())]
    assert any(
        lost(tmp_path / f"cut{turn}", disk, life.known(place), recording, turn, 0.0)
        for turn, (place, disk) in enumerate(life.disks(sorted(places)))
    )


def test_the_disk_of_tests_forgets(tmp_path: Path) -> None:
    """The model itself: what was synced stays, what was not may go, in part too."""
    chance = random.Random(5)
    root = Path("/r")
    disk = Disk(root)

    def does(kind: Kind, path: str = "", inode: int = 0, **more: object) -> None:
        record = {"other": "", "offset": 0, "data": b"", "end": 0, **more}
        disk.apply(Effect(kind, inode, f"/r{path}", **record))  # type: ignore[arg-type]  # as msgspec has them

    does(Kind.CREATE, "/a", 1)
    does(Kind.WRITE, "/a", 1, data=b"x" * 2000)
    disk.cut(tmp_path / "0", chance, 0.0)
    assert list((tmp_path / "0").iterdir()) == []
    does(Kind.SYNC, "", 9)
    disk.cut(tmp_path / "1", chance, 0.0)
    assert (tmp_path / "1" / "a").read_bytes() == b""
    parts = set()
    for turn in range(20):
        disk.cut(tmp_path / f"p{turn}", chance, 0.9)
        parts.add((tmp_path / f"p{turn}" / "a").read_bytes())
    assert len(parts) > 5
    does(Kind.SYNC, "/a", 1)
    does(Kind.RENAME, "/a", other="/r/b")
    does(Kind.TRUNCATE, "/b", 1, offset=3)
    disk.cut(tmp_path / "2", chance, 0.0)
    assert {p.name: p.stat().st_size for p in (tmp_path / "2").iterdir()} == {"a": 2000}
    disk.cut(tmp_path / "3", chance, 1.0)
    assert {p.name: p.stat().st_size for p in (tmp_path / "3").iterdir()} == {"b": 3}
