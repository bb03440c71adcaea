"""A sync that fails leaves nobody waiting, forgets nothing that a row may name, and keeps nothing
that outsiders feed."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import apsw
import msgspec
import pytest

from store.house import NOW_MS, House
from waypost.core.errors import StoreAway, StoreBroken
from waypost.core.message import SpoolPart
from waypost.store.contract import Lane, RefusalNote
from waypost.store.spool import Spool

LANE = Lane(1, 1, 0)


def note(house: House, number: int) -> RefusalNote:
    peer = f"192.0.2.{number}"
    return RefusalNote(house.clock.ms, "smtp", peer, None, None, "", "key_unknown", "535")


def test_everybody_is_answered_when_the_disk_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def whole() -> None:
        house = House(tmp_path / "data")
        engine, loop = house.first, asyncio.get_running_loop()

        def broken(_db: apsw.Connection) -> None:
            loop.call_soon_threadsafe(engine.refuse, note(house, 2))  # while the commit runs
            raise apsw.IOError("fsync")

        monkeypatch.setattr(engine._committer, "commit_now", broken)
        written = engine.refuse(note(house, 1))
        async with asyncio.timeout(60):
            with pytest.raises(StoreAway):
                await engine.commit(house.acceptance())
            await written
            await engine.refuse(note(house, 3))
            await engine.close()

    asyncio.run(whole())


def test_nothing_is_begun_once_the_disk_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came of it could not be kept: it would be sent again after the next start."""

    async def whole() -> None:
        house = House(tmp_path / "data")
        engine = house.first
        await engine.adopt(NOW_MS)
        await engine.commit(house.acceptance())
        (one,) = await engine.claim(LANE, NOW_MS, 1)
        assert engine.begin(one)
        await engine.commit(house.acceptance())
        (other,) = await engine.claim(LANE, NOW_MS, 1)  # and nothing has been changed since

        def broken(_db: apsw.Connection) -> None:
            raise apsw.IOError("fsync")

        monkeypatch.setattr(engine._committer, "commit_now", broken)
        with pytest.raises(StoreAway):
            await engine.commit(house.acceptance())
        assert not engine.begin(other)
        await engine.close()

    asyncio.run(whole())


def test_a_large_body_stays_when_its_commit_may_be_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def whole() -> None:
        data = tmp_path / "data"
        house = House(data)
        engine = house.first
        file = Spool(data, 0).open()
        file.write(b"x" * 1000)
        acceptance = house.acceptance()
        rest = SpoolPart(file.finish(), 0, 1000)

        def late(db: apsw.Connection) -> None:
            db.execute("COMMIT")
            raise apsw.IOError("the sync failed after the frames were written")

        monkeypatch.setattr(engine._committer, "commit_now", late)
        with pytest.raises(StoreAway):
            await engine.commit(msgspec.structs.replace(acceptance, rest=rest))
        await engine.close()
        ((name,),) = house.sql("SELECT spool FROM body")
        assert (data / name).read_bytes() == b"x" * 1000

    asyncio.run(whole())


def test_a_directory_that_cannot_be_synced_is_not_served_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def whole() -> None:
        data = tmp_path / "data"
        house = House(data)
        await house.close()
        fsync = os.fsync

        def broken(descriptor: int) -> None:
            if Path(f"/proc/self/fd/{descriptor}").readlink() == data:
                raise OSError(5, "Input/output error")
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", broken)
        with pytest.raises(StoreBroken, match="cannot be synced"):
            house.store(0)

    asyncio.run(whole())
