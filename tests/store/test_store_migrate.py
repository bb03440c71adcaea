"""Schemas, the data directory, the locks and the shared counters."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import apsw
import pytest

from peers.need import need
from peers.small_disk import small_disk
from waypost.core.errors import SchemaTooNew, StoreAway, StoreBroken
from waypost.store import migrate as migrating
from waypost.store.connect import Paths, connect, transaction, trouble
from waypost.store.locks import held, hold_serve, hold_worker
from waypost.store.migrate import migrate, open_migrated, steps, version
from waypost.store.shared import Shared, changing

SECOND = (9_001, "ALTER TABLE account ADD COLUMN colour TEXT; CREATE TABLE more (a);")


def test_a_fresh_store(tmp_path: Path) -> None:
    data = tmp_path / "deep" / "data"
    db = open_migrated(data, create=True)
    assert version(db) == steps()[-1][0]
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert stat.S_IMODE((data / "waypost.db").stat().st_mode) == 0o600
    assert (data / "spool").is_dir()
    assert (data / "incoming").is_dir()
    assert db.pragma("journal_mode") == "wal"
    assert db.pragma("synchronous") == 2  # FULL
    assert db.pragma("integrity_check") == "ok"
    db.close()
    open_migrated(data).close()


def test_nothing_is_made_by_looking(tmp_path: Path) -> None:
    for data in (tmp_path, tmp_path / "none"):
        with pytest.raises(StoreAway, match="there is no store"):
            open_migrated(data)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreAway, match="cannot be made"):
        open_migrated(tmp_path / "file" / "data", create=True)
    data = tmp_path / "data"
    data.mkdir()
    (data / "waypost.db").write_text("this is no database, whatever its name says. " * 50)
    with pytest.raises(StoreBroken):
        open_migrated(data)


def test_newer_is_refused(tmp_path: Path) -> None:
    db = open_migrated(tmp_path, create=True)
    db.pragma("user_version", 9_999)
    db.close()
    with pytest.raises(SchemaTooNew, match="9999"):
        open_migrated(tmp_path)


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of this schema with a row in it, under a program that knows one more step."""
    db = open_migrated(tmp_path, create=True)
    db.execute("INSERT INTO account (id, name, created_at) VALUES (1, 'acme', 0)")
    db.close()
    plan = [*steps(), SECOND]
    monkeypatch.setattr(migrating, "steps", lambda: plan)
    return tmp_path


def test_migrated_after_a_copy(old: Path) -> None:
    db = open_migrated(old)
    assert version(db) == 9_001
    assert db.execute("SELECT name, colour FROM account").fetchall() == [("acme", None)]
    assert db.execute("SELECT * FROM more").fetchall() == []
    db.close()
    copy = apsw.Connection(str(old / "waypost.db.before-9001"))
    assert version(copy) == steps()[-1][0]
    assert copy.execute("SELECT name FROM account").fetchall() == [("acme",)]
    copy.close()


def test_a_failed_step_changes_nothing(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = [*steps(), (9_002, "CREATE TABLE half (a); CREATE TABLE half (a);")]
    monkeypatch.setattr(migrating, "steps", lambda: broken)
    with pytest.raises(StoreAway):
        open_migrated(old)
    db = connect(old)
    assert version(db) == steps()[-1][0]
    with pytest.raises(apsw.SQLError):
        db.execute("SELECT * FROM more")
    db.close()


def test_no_room_for_the_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy that was begun goes, nothing is changed, and how much is wanted is said."""
    with small_disk(need, tmp_path / "data") as filler:
        db = open_migrated(filler.parent, create=True)
        db.execute("INSERT INTO meta VALUES ('large', randomblob(12000000))")
        db.close()
        plan = [*steps(), SECOND]
        monkeypatch.setattr(migrating, "steps", lambda: plan)
        room = os.statvfs(filler.parent)
        with filler.open("wb") as out:
            os.posix_fallocate(out.fileno(), 0, room.f_bavail * room.f_frsize - 5_000_000)
        left = os.statvfs(filler).f_bavail
        with pytest.raises(StoreAway, match="make 12 MiB free"):
            open_migrated(filler.parent)
        assert not list(filler.parent.glob("waypost.db.before*"))
        assert os.statvfs(filler).f_bavail >= left
        filler.unlink()
        db = open_migrated(filler.parent)
        assert version(db) == 9_001
        db.close()


def test_not_beside_a_running_relay(old: Path) -> None:
    lock = hold_serve(old)
    with pytest.raises(StoreAway, match="stop it"):
        open_migrated(old)
    _, worker = hold_worker(old, 0)
    with pytest.raises(StoreAway, match="stop it"):
        open_migrated(old, serving=True)
    worker.close()
    open_migrated(old, serving=True).close()
    lock.close()


def test_two_migrate_at_once(old: Path) -> None:
    errors: list[BaseException] = []

    def go() -> None:
        db = connect(old)
        try:
            migrate(old, db)
        except BaseException as error:  # noqa: BLE001  (shown by the assertion)
            errors.append(error)
        finally:
            db.close()

    threads = [threading.Thread(target=go) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_one_relay_a_directory(tmp_path: Path) -> None:
    lock = hold_serve(tmp_path)
    assert held(Paths(tmp_path).lock("serve"))
    with pytest.raises(StoreAway, match="a relay is running already"):
        hold_serve(tmp_path)
    lock.close()
    lock.close()
    assert not held(Paths(tmp_path).lock("serve"))
    hold_serve(tmp_path).close()


def test_commands_take_free_numbers(tmp_path: Path) -> None:
    held_now = [hold_worker(tmp_path, None) for _ in range(56)]
    assert [number for number, _ in held_now] == list(range(255, 199, -1))
    with pytest.raises(StoreAway, match="too many"):
        hold_worker(tmp_path, None)
    for _, lock in held_now:
        lock.close()


def test_changes_are_seen_before_and_after(tmp_path: Path) -> None:
    db = open_migrated(tmp_path, create=True)
    mine, theirs = Shared(tmp_path), Shared(tmp_path)
    start, bell = theirs.generation, theirs.bell
    with changing(db, mine, facts=True, work=True):
        assert theirs.generation == start
    assert theirs.generation == start + 2
    assert theirs.bell == bell + 1
    assert db.execute("SELECT value FROM meta WHERE name = 'generation'").fetchall() == [(2,)]
    with pytest.raises(ZeroDivisionError), changing(db, mine, facts=True, work=True):
        db.execute("INSERT INTO account (id, name, created_at) VALUES (7, 'x', 0)")
        raise ZeroDivisionError
    assert db.execute("SELECT * FROM account").fetchall() == []
    assert (theirs.generation, theirs.bell) == (start + 2, bell + 1)
    with changing(db, mine, facts=False, work=False):
        pass
    assert (theirs.generation, theirs.bell) == (start + 2, bell + 1)
    for shared in (mine, theirs):
        shared.close()
    db.close()


def test_no_raise_is_lost(tmp_path: Path) -> None:
    shares = [Shared(tmp_path) for _ in range(4)]

    def go(shared: Shared) -> None:
        for _ in range(500):
            shared.ring()

    threads = [threading.Thread(target=go, args=(shared,)) for shared in shares]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shares[0].bell == 2_000
    for shared in shares:
        shared.close()


def test_troubles_are_told_apart(tmp_path: Path) -> None:
    assert isinstance(trouble(apsw.IOError()), StoreBroken)
    assert isinstance(trouble(apsw.CorruptError()), StoreBroken)
    for error in (apsw.FullError(), apsw.BusyError(), apsw.SQLError(), apsw.ReadOnlyError()):
        assert type(trouble(error)) is StoreAway
    db = open_migrated(tmp_path, create=True)
    with pytest.raises(StoreAway), transaction(db):
        db.execute("INSERT INTO nowhere VALUES (1)")
    assert not db.in_transaction
    db.close()


def test_the_ledger_is_only_added_to(tmp_path: Path) -> None:
    db = open_migrated(tmp_path, create=True)
    line = "INSERT INTO ledger (account_id, at, amount, reason, message_id, recipient, balance)"
    db.execute(f"{line} VALUES (1, 0, 1, 'refund', 7, 1, 1)")
    for sql in (
        "UPDATE ledger SET amount = 5",
        "DELETE FROM ledger",
        f"{line} VALUES (1,0,1,'refund',7,1,2)",
    ):
        with pytest.raises(apsw.ConstraintError):
            db.execute(sql)
    db.close()
