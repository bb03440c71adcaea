"""How the engine commits: in groups, with nobody refused for another's fault, and never after a
failed sync."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import ModuleType

import apsw
import pytest

from store.house import NOW_MS, House, Taker, attempt, plan
from waypost.core.errors import BodyLost, StoreAway, StoreBroken
from waypost.core.lifecycle import State
from waypost.core.message import Changed, Committed, SpoolPart
from waypost.core.verdict import Reason, Refusal
from waypost.store import directory, known
from waypost.store.connect import connect
from waypost.store.contract import Lane
from waypost.store.migrate import open_migrated
from waypost.store.spool import Spool, chunks
from waypost.store.sqlite import (
    accepting,
    batch,
    caps,
    claiming,
    committer,
    delivering,
    ending,
    engine,
    files,
    notes,
)
from waypost.store.sqlite.leftover import dead, late

Story = Callable[[House], Awaitable[None]]


def run(data: Path, story: Story) -> None:
    """Tells a story in a house."""

    async def whole() -> None:
        house = House(data)
        try:
            await asyncio.wait_for(story(house), 60)
        finally:
            await house.close()
        house.adds_up()

    asyncio.run(whole())


class Commits:
    """Stands in for the committer's one sync: counts, and fails as often as it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *errors: Exception) -> None:
        self.count = 0
        self.threads: set[str] = set()
        self._errors = list(errors)
        real = committer.Committer.commit_now
        commits = self

        def commit_now(self: committer.Committer, db: apsw.Connection) -> None:
            commits.count += 1
            commits.threads.add(threading.current_thread().name)
            if commits._errors:
                raise commits._errors.pop(0)
            real(self, db)

        monkeypatch.setattr(committer.Committer, "commit_now", commit_now)


def test_what_comes_together_is_one_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commits = Commits(monkeypatch)

    async def story(house: House) -> None:
        await asyncio.gather(*[house.first.commit(house.acceptance()) for _ in range(50)])
        assert commits.count == 1
        first = asyncio.ensure_future(house.first.commit(house.acceptance()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)  # the first is being committed: the others wait for the next
        await asyncio.gather(first, *[house.first.commit(house.acceptance()) for _ in range(50)])
        assert commits.count == 3
        assert commits.threads == {"store-writer"}

    run(tmp_path / "data", story)


def test_one_bad_row_refuses_nobody_else(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        taker = Taker()
        house.first.attach(taker)
        good = [house.acceptance() for _ in range(6)]
        twin = house.acceptance(
            id=good[2].id, message_id="", repeat_window_ms=0
        )  # an id that is taken
        outcomes = await asyncio.gather(
            *[house.first.commit(each) for each in [*good[:4], twin, *good[4:]]],
            return_exceptions=True,
        )
        assert isinstance(outcomes.pop(4), StoreAway)
        assert outcomes == [Committed(each.id, 1) for each in good]
        assert [parcel.id for parcel in taker.taken] == [each.id for each in good]
        assert house.balance == 994

    run(tmp_path / "data", story)


def test_a_failed_sync_ends_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Commits(monkeypatch, apsw.IOError("disk I/O error"))

    async def story(house: House) -> None:
        store = house.first
        taker = Taker()
        store.attach(taker)
        both = [asyncio.ensure_future(store.commit(house.acceptance())) for _ in range(2)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        late = asyncio.ensure_future(store.commit(house.acceptance()))
        outcomes = await asyncio.gather(*both, late, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [StoreBroken] * 3
        assert store.broken
        assert taker.taken == []
        with pytest.raises(StoreBroken):
            await store.commit(house.acceptance())
        with pytest.raises(StoreBroken):
            store.directory()
        with pytest.raises(StoreBroken):
            await store.lanes([1])

    run(tmp_path / "data", story)


def test_a_full_disk_refuses_and_keeps_outcomes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer, "AGAIN_S", 0.001)

    async def story(house: House) -> None:
        store, taker = house.first, Taker()
        store.attach(taker)
        await store.commit(house.acceptance())
        with pytest.MonkeyPatch.context() as patch:
            Commits(patch, apsw.FullError("full"), apsw.FullError("full"))
            recorded = store.record(attempt(taker.taken[0], State.SENT))
            refused = await store.commit(house.acceptance())
            assert isinstance(refused, Refusal)
            assert refused.reason is Reason.FULL
            await recorded  # tried until it was kept
        assert house.one("SELECT count(*) FROM message WHERE status = 'sent'") == 1
        assert isinstance(await store.commit(house.acceptance()), Committed)

    run(tmp_path / "data", story)


def test_a_command_that_writes_is_waited_for(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        command = connect(house.data)
        command.execute("BEGIN IMMEDIATE")
        waiting = asyncio.ensure_future(house.first.commit(house.acceptance()))
        for _ in range(50):
            await asyncio.sleep(0.001)  # the loop goes on meanwhile
        assert not waiting.done()
        command.execute("COMMIT")
        command.close()
        assert isinstance(await waiting, Committed)

    run(tmp_path / "data", story)


def test_who_goes_away_stops_nothing(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        taker = Taker()
        house.first.attach(taker)
        leaving = asyncio.ensure_future(house.first.commit(house.acceptance()))
        await asyncio.sleep(0)
        leaving.cancel()
        await house.first.commit(house.acceptance())
        assert len(taker.taken) == 2
        for parcel in taker.taken:
            await house.first.release(parcel, NOW_MS, "")
        claiming_ = asyncio.ensure_future(house.first.claim(Lane(1, 1, 0), NOW_MS, 1))
        await asyncio.sleep(0)
        claiming_.cancel()
        found = await house.first.claim(Lane(1, 1, 0), NOW_MS, 5)
        if len(found) == 1:  # the other was given back a moment later
            found += await house.first.claim(Lane(1, 1, 0), NOW_MS, 5)
        assert len(found) == 2

    run(tmp_path / "data", story)


def test_the_log_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer, "CHECKPOINT_PAGES", 60)

    async def story(house: House) -> None:
        house.first._committer._checkpoint_at = 60
        log = house.data / "waypost.db-wal"
        largest = 0
        for _ in range(150):
            await house.first.commit(house.acceptance(rest=b"x" * 40_000))
            largest = max(largest, log.stat().st_size)
        assert largest < 3_000_000  # 150 commits of 24 pages would be 15 MB

    run(tmp_path / "data", story)


# Large bodies.


@pytest.fixture
def effects(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Syncs, renames and commits, in the order in which they happened."""
    seen: list[str] = []
    fsync, rename, commit_now = os.fsync, os.rename, committer.Committer.commit_now

    def spy_fsync(descriptor: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").readlink()
        fsync(descriptor)
        seen.append(f"sync {name.parent.name}/" if name.is_file() else f"sync {name.name}")

    def spy_rename(source: Path, target: Path) -> None:
        rename(source, target)
        seen.append(f"rename {Path(source).parent.name} {Path(target).parent.name}")

    def spy_commit(self: committer.Committer, db: apsw.Connection) -> None:
        commit_now(self, db)
        seen.append("commit")

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(os, "rename", spy_rename)
    monkeypatch.setattr(committer.Committer, "commit_now", spy_commit)
    yield seen


def arrive(house: House, octets: bytes) -> SpoolPart:
    file = Spool(house.data, 0).open()
    for start in range(0, len(octets), 100_000):
        file.write(octets[start : start + 100_000])
    return SpoolPart(file.finish(), 3, file.octets - 3)


def files_in(house: House) -> list[str]:
    folders = (house.data / "incoming", house.data / "spool")
    return sorted(f"{path.parent.name}/{path.name}" for f in folders for path in f.iterdir())


def test_a_large_body_is_synced_with_its_directory_before_the_commit(
    tmp_path: Path, effects: list[str]
) -> None:
    async def story(house: House) -> None:
        taker = Taker()
        house.first.attach(taker)
        part = arrive(house, b"###" + b"y" * 700_000)
        acceptance = house.acceptance(rest=part)
        effects.clear()  # of the making of the folders
        await house.first.commit(acceptance)
        assert effects == ["sync incoming/", "rename incoming spool", "sync spool", "commit"]
        rest = taker.taken[0].rest
        assert isinstance(rest, SpoolPart)
        assert b"".join(chunks(house.data, rest)) == b"y" * 700_000
        assert taker.taken[0].octets == len(acceptance.head) + 700_000
        await house.first.record(attempt(taker.taken[0], State.QUEUED, next_ms=NOW_MS))
        (parcel,) = await house.first.claim(Lane(1, 1, 0), NOW_MS, 1)
        assert parcel.rest == rest
        await house.first.record(attempt(parcel, State.SENT))
        await house.first.close()
        assert files_in(house) == []

    run(tmp_path / "data", story)


def test_the_file_of_what_was_not_kept(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        store = house.first
        part = arrive(house, b"###large")
        stale = house.acceptance(rest=part)
        house.change("UPDATE api_key SET enabled = 0")
        assert isinstance(await store.commit(stale), Changed)
        assert files_in(house) == [part.name]  # it will be judged again
        house.change("UPDATE api_key SET enabled = 1")
        house.change("UPDATE account SET unlimited = 0")
        poor = house.acceptance(*[f"u{n}@x.test" for n in range(1_001)], rest=part)
        assert isinstance(await store.commit(poor), Refusal)
        with pytest.raises(StoreAway, match="gone"):
            await store.commit(house.acceptance(rest=SpoolPart("incoming/0-none", 0, 1)))
        await store.close()
        assert files_in(house) == []

    run(tmp_path / "data", story)


def test_a_body_that_cannot_be_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(house: House) -> None:
        part = arrive(house, b"###large")

        def fail(descriptor: int) -> None:
            raise OSError(5, "I/O error")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", fail)
            with pytest.raises(StoreBroken):
                await house.first.commit(house.acceptance(rest=part))
        with pytest.raises(StoreBroken):
            await house.first.commit(house.acceptance())

    run(tmp_path / "data", story)


def test_files_without_a_row_are_swept_once_their_worker_is_dead(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        dying = house.store(7)
        alive = Spool(house.data, 7).open()
        alive.write(b"half")
        orphan = house.data / "spool" / f"{(NOW_MS << 20) | 7 << 12:016x}"
        orphan.write_bytes(b"renamed, never committed")
        kept = house.acceptance(rest=arrive(house, b"###large"))
        await house.first.commit(kept)
        assert await house.first.sweep_spool() == 0
        alive.finish()
        await dying.close()
        assert await house.first.sweep_spool() == 2
        assert files_in(house) == [f"spool/{kept.id:016x}"]
        await house.first.close()
        again = house.store(0)
        assert files_in(house) == [f"spool/{kept.id:016x}"]
        assert await again.adopt(NOW_MS) == 0

    run(tmp_path / "data", story)


def test_a_spool_file_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(house: House) -> None:
        file = Spool(house.data, 0).open()

        def full(descriptor: int, data: bytes) -> int:
            raise OSError(28, "No space left on device")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "write", full)
            file.write(b"fits the buffer")
            with pytest.raises(StoreAway, match="No space left"):
                file.finish()
        file.discard()
        file.discard()
        assert files_in(house) == []
        part = arrive(house, b"###short")
        with pytest.raises(BodyLost, match="its body is lost"):
            list(chunks(house.data, SpoolPart(part.name, 3, 6)))
        with pytest.raises(BodyLost):
            list(chunks(house.data, SpoolPart("spool/none", 0, 6)))

    run(tmp_path / "data", story)


# Plans.

MODULES: tuple[ModuleType, ...] = (
    accepting,
    batch,
    caps,
    claiming,
    dead,
    delivering,
    ending,
    engine,
    files,
    known,
    late,
    notes,
)
STATEMENTS = [
    (f"{module.__name__.rpartition('.')[2]}.{name}", value)
    for module in MODULES
    for name, value in vars(module).items()
    if isinstance(value, str) and value.startswith(("SELECT ", "UPDATE ", "DELETE "))
]


@pytest.mark.parametrize(("name", "sql"), STATEMENTS, ids=[name for name, _ in STATEMENTS])
def test_no_statement_reads_a_whole_table(tmp_path: Path, name: str, sql: str) -> None:
    db = open_migrated(tmp_path, create=True)
    steps = plan(db, sql)
    db.close()
    assert steps
    assert not [step for step in steps if step.startswith("SCAN") or "TEMP B-TREE" in step], steps


def test_the_plan_test_sees_a_scan(tmp_path: Path) -> None:
    db = open_migrated(tmp_path, create=True)
    assert plan(db, "SELECT 1 FROM message WHERE subject = ?") == ["SCAN message"]
    assert plan(db, directory.ACCOUNTS) == ["SCAN account"]  # the facts are read whole
    db.close()


def test_binding_a_value_plans_nothing_anew(tmp_path: Path) -> None:
    """Partial indexes make SQLite plan at each new value, for ten times the cost, unless told not
    to."""
    open_migrated(tmp_path, create=True).close()
    for readonly in (False, True):
        db = connect(tmp_path, readonly=readonly)
        assert db.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, -1) == 1
        db.close()
