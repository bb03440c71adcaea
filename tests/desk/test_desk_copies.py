"""Backup, restore and upkeep: whole copies beside a writer, and a store that lets go and still
adds up.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from waypost.core import ident
from waypost.core.errors import Secret, StoreAway, WrongState
from waypost.desk import accounts, logs, office, queue, upstreams
from waypost.desk.office import DAY_MS, Desk
from waypost.store.keep.upkeep import Keep, Upkeep
from waypost.store.locks import hold_serve

FROM = "noreply@example.com"
KEEP = Keep(log_ms=30 * DAY_MS, refusals_ms=10 * DAY_MS)


def elsewhere(desk: Desk, data: Path) -> Desk:
    return msgspec.structs.replace(desk, data=data, key_file=data / "sealing.keys", create=False)


def test_a_backup_comes_back_whole(desk: Desk, mail: Any, tmp_path: Path) -> None:
    number = mail.accept("acme", FROM, spool=b"large" * 100)
    (desk.data / "spool" / "stray").write_bytes(b"of nobody")
    (desk.data / "certificate.pem").write_text("PEM")
    done = office.backup(desk, tmp_path / "copy")
    assert (done.messages, done.spool_files) == (1, 1)
    queue.cancel(desk, ident.show(number))
    assert office.backup(desk, tmp_path / "ended").messages == 1
    back = elsewhere(desk, tmp_path / "back")
    assert office.restore(tmp_path / "copy", back.data, back.key_file).messages == 1
    assert office.audit(back).ok
    assert logs.show(back, ident.show(number)).status == "queued"
    spool = back.data / "spool"
    assert [file.name for file in spool.iterdir()] == [ident.show(number)]
    assert (spool / ident.show(number)).read_bytes() == b"head" + b"large" * 100
    assert back.key_file.read_text() == "the ring"
    assert (back.data / "certificate.pem").read_text() == "PEM"
    assert upstreams.load(back, "main").password == Secret("sesame77")
    assert back.data.stat().st_mode & 0o777 == 0o700
    assert (back.data / "waypost.db").stat().st_mode & 0o777 == 0o600
    assert not list(desk.data.glob("backup.*"))


def test_a_backup_beside_a_writer_is_of_one_instant(desk: Desk, mail: Any, tmp_path: Path) -> None:
    """Spooled mail comes and goes all the while: what a copy's rows name is in the copy."""
    accounts.change(desk, "acme", credits=100_000)
    stop = threading.Event()

    def write() -> None:
        held: list[int] = []
        while not stop.is_set():
            held.append(mail.accept("acme", FROM, spool=b"x" * 2000))
            if len(held) > 3:
                queue.cancel(desk, ident.show(held.pop(0)))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for turn in range(4):
            office.backup(desk, tmp_path / f"copy{turn}")
    finally:
        stop.set()
        writer.join()
    files = 0
    for turn in range(4):
        back = elsewhere(desk, tmp_path / f"back{turn}")
        files += office.restore(tmp_path / f"copy{turn}", back.data, back.key_file).spool_files
        told = office.audit(back)
        assert [check for check in told.checks if not check.ok] == []
    assert files > 0
    assert office.audit(desk).ok


def test_a_backup_wants_a_directory_of_its_own(desk: Desk, mail: Any, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(WrongState, match="not empty"):
        office.backup(desk, tmp_path / "full")
    assert [file.name for file in (tmp_path / "full").iterdir()] == ["file"]


def test_restore_refuses_what_it_could_hurt(desk: Desk, mail: Any, tmp_path: Path) -> None:
    office.backup(desk, tmp_path / "copy")
    with pytest.raises(WrongState, match="store in"):
        office.restore(tmp_path / "copy", desk.data, desk.key_file)
    with pytest.raises(WrongState, match="no finished backup"):
        office.restore(desk.data, tmp_path / "back", tmp_path / "back" / "k")
    (tmp_path / "key").write_text("another ring")
    with pytest.raises(WrongState, match="other sealing keys"):
        office.restore(tmp_path / "copy", tmp_path / "back", tmp_path / "key")
    (tmp_path / "busy").mkdir()
    lock = hold_serve(tmp_path / "busy")
    try:
        with pytest.raises(WrongState, match="running"):
            office.restore(tmp_path / "copy", tmp_path / "busy", tmp_path / "busy" / "k")
    finally:
        lock.close()
    with (tmp_path / "copy" / "waypost.db").open("ab") as file:
        file.write(b"x")
    with pytest.raises(WrongState, match="not whole"):
        office.restore(tmp_path / "copy", tmp_path / "back", tmp_path / "back" / "k")
    assert not (tmp_path / "back" / "waypost.db").exists()


def test_half_a_backup_is_taken_away(
    desk: Desk, mail: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the relay's own disk it would keep the mail out, and the next backup from its place."""
    mail.accept("acme", FROM, spool=b"large" * 100)

    def full(source: Path, target: Path) -> None:
        target.write_bytes(b"la")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), source, None, target)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", full)
        with pytest.raises(StoreAway, match=r"copy/spool/.*No space left"):
            office.backup(desk, tmp_path / "copy")
    assert list((tmp_path / "copy").iterdir()) == []
    assert office.backup(desk, tmp_path / "copy").spool_files == 1


@pytest.mark.parametrize("left", ["waypost.db-wal", "waypost.db-journal"])
def test_restore_refuses_the_log_of_another_store(
    desk: Desk, mail: Any, tmp_path: Path, left: str
) -> None:
    """SQLite would write what it holds into the rows that were brought back."""
    office.backup(desk, tmp_path / "copy")
    back = elsewhere(desk, tmp_path / "back")
    back.data.mkdir()
    (back.data / left).write_bytes(b"pages of another store")
    with pytest.raises(WrongState, match=left):
        office.restore(tmp_path / "copy", back.data, back.key_file)
    assert not (back.data / "waypost.db").exists()
    (back.data / left).unlink()
    office.restore(tmp_path / "copy", back.data, back.key_file)
    assert office.audit(back).ok


def test_no_relay_starts_where_a_backup_comes_back(
    desk: Desk, mail: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail.accept("acme", FROM, spool=b"large" * 100)
    office.backup(desk, tmp_path / "copy")
    copied = shutil.copyfile
    met = []

    def copy(source: Path, target: Path) -> None:
        with pytest.raises(StoreAway, match="running"):
            hold_serve(tmp_path / "back")
        met.append(target.name)
        copied(source, target)

    monkeypatch.setattr(shutil, "copyfile", copy)
    office.restore(tmp_path / "copy", tmp_path / "back", tmp_path / "back" / "k")
    assert "waypost.restoring" in met
    hold_serve(tmp_path / "back").close()


def test_keys_that_are_there_already_are_left_alone(desk: Desk, mail: Any, tmp_path: Path) -> None:
    """The file may be another user's, and a full disk must not take it."""
    office.backup(desk, tmp_path / "copy")
    key_file = tmp_path / "etc" / "keys"
    key_file.parent.mkdir()
    key_file.write_text("the ring")
    key_file.chmod(0o640)
    before = key_file.stat()
    office.restore(tmp_path / "copy", tmp_path / "back", key_file)
    assert key_file.stat() == before


def test_backups_in_the_data_directory_are_left_alone(desk: Desk, mail: Any) -> None:
    """Whatever they are called; the links of a backup that was killed go."""
    killed = desk.data / "backup.999999999.ab_cd3f8"
    killed.mkdir()
    kept = [desk.data / f"backup.{name}" for name in ("2026-11-21", "999999999", "1.old")]
    for folder in kept:
        office.backup(desk, folder)
    office.backup(desk, desk.data / "last")
    assert all((folder / "waypost-backup.json").exists() for folder in kept)
    assert not killed.exists()


def test_a_manifest_cannot_name_files_outside(desk: Desk, mail: Any, tmp_path: Path) -> None:
    office.backup(desk, tmp_path / "copy")
    whole = tmp_path / "copy" / "waypost-backup.json"
    whole.write_text(whole.read_text().replace('"waypost.db"', '"../data/waypost.db"'))
    with pytest.raises(WrongState, match="outside"):
        office.restore(tmp_path / "copy", tmp_path / "back", tmp_path / "back" / "k")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda told: told.update(format=2), "form that this program does not know"),
        (lambda told: told["files"].pop("waypost.db"), "does not name waypost.db"),
    ],
)
def test_a_manifest_says_what_is_there(
    desk: Desk, mail: Any, tmp_path: Path, change: Callable[[Any], object], words: str
) -> None:
    office.backup(desk, tmp_path / "copy")
    whole = tmp_path / "copy" / "waypost-backup.json"
    told = json.loads(whole.read_text())
    change(told)
    whole.write_text(json.dumps(told))
    with pytest.raises(WrongState, match=words):
        office.restore(tmp_path / "copy", tmp_path / "back", tmp_path / "back" / "k")
    assert not (tmp_path / "back").exists()


def run(upkeep: Upkeep, now_ms: int) -> int:
    steps = 0
    while upkeep.step(now_ms):
        steps += 1
        assert steps < 1000
    return steps


def test_what_is_old_goes_in_small_steps_and_the_audit_holds(desk: Desk, mail: Any) -> None:
    accounts.add_credits(desk, "acme", 2000)
    old = mail.clock.ms - 40 * DAY_MS
    for turn in range(60):
        number = mail.accept("acme", FROM, [f"{n}@x.org" for n in range(9)], at_ms=old + turn)
        mail.end(number, [1, 2] + [1] * 7, at_ms=old + 5000)
    waits = mail.accept("acme", FROM, at_ms=old)
    late = mail.accept("acme", FROM, at_ms=old)
    mail.end(late, [1], at_ms=mail.clock.ms - DAY_MS)
    new = mail.accept("acme", FROM)
    mail.end(new, [2])
    before = accounts.show(desk, "acme").balance
    lines = len(accounts.ledger(desk, "acme"))
    assert run(Upkeep(desk.data, KEEP), mail.clock.ms) > 60 * 9 // 200
    left = {int(line.id, 16) for line in logs.list_(desk, limit=0)}
    assert left == {waits, late, new}
    assert mail.sql("SELECT count(*) FROM recipient") == [(3,)]
    assert mail.sql("SELECT count(*) FROM attempt") == [(2,)]
    assert mail.sql("SELECT gone_charged, gone_refunded FROM account") == [(540, 60)]
    assert accounts.show(desk, "acme").balance == before
    assert len(accounts.ledger(desk, "acme")) == lines
    assert office.audit(desk).ok
    mail.sql("UPDATE account SET gone_refunded = 59")
    assert not office.audit(desk).ok


def test_no_step_takes_more_than_its_share(desk: Desk, mail: Any) -> None:
    accounts.add_credits(desk, "acme", 2000)
    old = mail.clock.ms - 40 * DAY_MS
    for turn in range(5):
        number = mail.accept("acme", FROM, [f"{n}@x.org" for n in range(90)], at_ms=old + turn)
        mail.end(number, [1] * 90, at_ms=old)
        mail.sql("UPDATE body SET expires_at = NULL")
    upkeep = Upkeep(desk.data, KEEP)
    seen = []
    while done := upkeep.step(mail.clock.ms):
        seen.append(done)
    assert sum(seen) == 450
    assert max(seen) <= 200


def test_kept_bodies_go_when_their_time_has_come(desk: Desk, mail: Any) -> None:
    number = mail.accept("acme", FROM, spool=b"x" * 99)
    mail.end(number, [1])
    file = desk.data / "spool" / ident.show(number)
    upkeep = Upkeep(desk.data, KEEP)
    assert run(upkeep, mail.clock.ms) == 0
    assert file.exists()
    run(upkeep, mail.clock.ms + 1000)
    assert not file.exists()
    assert not logs.show(desk, ident.show(number)).body_kept


def test_refusals_events_and_places_go(desk: Desk, mail: Any) -> None:
    now = mail.clock.ms
    for at in (now - 11 * DAY_MS, now - 9 * DAY_MS):
        mail.sql(
            "INSERT INTO refusal (at, channel, peer, reason, answer)"
            " VALUES (?, 'smtp', 'p', 'r', 'a')",
            (at,),
        )
    for at in (now - 31 * DAY_MS, now - 29 * DAY_MS):
        mail.sql("INSERT INTO event (at, kind, text) VALUES (?, 'disk.low', 't')", (at,))
    for day in (desk.today() - 40, desk.today()):
        mail.sql("INSERT INTO place (scope, scope_id, day, used) VALUES ('s', 1, ?, 1)", (day,))
    run(Upkeep(desk.data, KEEP), now)
    assert len(logs.refusals(desk)) == 1
    assert len(logs.events(desk)) == 1
    assert mail.sql("SELECT day FROM place") == [(desk.today(),)]


def test_the_last_minute_stays_for_the_rate(desk: Desk, mail: Any) -> None:
    number = mail.accept("acme", FROM)
    mail.end(number, [1])
    upkeep = Upkeep(desk.data, Keep(log_ms=0, refusals_ms=0))
    run(upkeep, mail.clock.ms + 30_000)
    assert len(logs.list_(desk)) == 1
    run(upkeep, mail.clock.ms + 61_000)
    assert logs.list_(desk) == []
    assert office.audit(desk).ok
