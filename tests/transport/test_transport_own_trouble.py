"""Trouble of our own, not the upstream's: nobody hangs, nothing storms, no second copy is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from transport.bench_of import rig
from transport.fake_store import until
from transport.scripted import Scripted
from waypost.core.errors import StoreAway
from waypost.core.lifecycle import State
from waypost.core.message import Parcel, SpoolPart
from waypost.core.upstream import Limits
from waypost.store import spool
from waypost.transport.flow.records import Records


def test_all_who_wait_for_the_records_are_woken() -> None:
    async def whole() -> None:
        records = Records(None)  # type: ignore[arg-type]  # not asked for anything of its own
        loop = asyncio.get_running_loop()
        kept: asyncio.Future[None] = loop.create_future()
        records.keep(lambda: kept)
        waiting = [asyncio.ensure_future(records.settled()) for _ in range(3)]
        await asyncio.sleep(0)
        kept.set_result(None)
        async with asyncio.timeout(60):
            await asyncio.gather(*waiting)

    asyncio.run(whole())


def test_what_the_pace_holds_back_does_not_sign_in_again_and_again(tmp_path: Path) -> None:
    async def whole() -> None:
        server = Scripted()
        async with rig(server, tmp_path, Limits(connections=4, per_minute=3)) as held:
            for _ in range(10):
                held.store.put()
            await held.dispatcher.start()
            await until(lambda: len(server.got) >= 3)
            await asyncio.sleep(0.2)
            assert len(server.got) == 3
            assert server.connections <= 4

    asyncio.run(whole())


def test_a_body_that_cannot_be_read_again_sends_nobody_a_second_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "x").write_bytes(b"a" * 70 + b"\r\n" + b"b\r\n")
    real, reads = spool.chunks, 0

    def chunks(data: Path, part: SpoolPart, *size: int) -> Iterator[bytes]:
        nonlocal reads
        reads += 1
        if reads == 2:
            raise StoreAway("a body cannot be read: too many open files")
        return real(data, part, *size)

    monkeypatch.setattr(spool, "chunks", chunks)

    async def whole() -> None:
        server = Scripted()
        async with rig(server, tmp_path, Limits(connections=1, recipients=1)) as held:
            held.store.put(
                recipients=("a@example.org", "b@example.org"), rest=SpoolPart("spool/x", 0, 75)
            )
            await held.dispatcher.start()
            await until(lambda: bool(held.store.records))
            first = held.store.records[0]
            assert [result.state for result in first.results] == [State.SENT, State.QUEUED]
            assert [got.rcpts for got in server.got] == [["a@example.org"]]

    asyncio.run(whole())


def test_a_look_that_breaks_does_not_end_delivery(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def whole() -> None:
        server = Scripted()
        async with rig(server, tmp_path) as held:
            await held.dispatcher.start()
            await asyncio.sleep(0.05)

            async def broken(_ids: Any) -> Any:
                monkeypatch.undo()  # once is enough
                raise RuntimeError("a row that cannot be read")

            monkeypatch.setattr(held.store, "lanes", broken)
            held.store.put()
            held.dispatcher.stirred()
            await until(lambda: bool(server.got))

    asyncio.run(whole())


def test_a_second_login_that_breaks_is_counted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def whole() -> None:
        server = Scripted({"mail": "421"}, times=0)
        async with rig(server, tmp_path, Limits(connections=1)) as held:
            held.store.put()
            await held.dispatcher.start()
            await until(lambda: bool(server.got))
            (courier,) = held.dispatcher._couriers.values()

            async def broken(*_: Any) -> Any:
                raise RuntimeError("nobody expected this")

            server.times = 1
            monkeypatch.setattr(courier._office.dialer, "sign_in", broken)
            parcel = held.store.put()
            held.dispatcher.stirred()
            await until(lambda: parcel.id in held.store.waiting and not courier.busy)
            assert courier._signed == 0

    asyncio.run(whole())


@pytest.mark.parametrize("left", [None, b"a" * 60], ids=["gone", "cut short"])
def test_a_message_whose_body_is_lost_fails_at_once_and_costs_nobody_a_connection(
    tmp_path: Path, left: bytes | None
) -> None:
    (tmp_path / "spool").mkdir()
    if left is not None:
        (tmp_path / "spool" / "x").write_bytes(left)

    async def whole() -> None:
        server = Scripted()
        async with rig(server, tmp_path, Limits(connections=1)) as held:
            people = ("a@example.org", "b@example.org")
            lost = held.store.put(recipients=people, rest=SpoolPart("spool/x", 0, 75))
            held.store.put()
            await held.dispatcher.start()
            await until(lambda: len(held.store.records) == 2)
            record = next(r for r in held.store.records if r.parcel.id == lost.id)
            assert record.damaged
            assert {(r.state, r.code) for r in record.results} == {(State.FAILED, 554)}
            assert record.results[0].text.startswith("5.3.0 its body is lost")
            # The upstream heard of the other message alone.
            assert (len(server.got), server.connections) == (1, 1)
            assert held.store.waiting == {}

    asyncio.run(whole())


def test_a_body_that_is_lost_while_it_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "x").write_bytes(b"a" * 75)
    monkeypatch.setattr(spool, "check", lambda *_: (tmp_path / "spool" / "x").unlink())

    async def whole() -> None:
        server = Scripted()
        async with rig(server, tmp_path, Limits(connections=1)) as held:
            held.store.put(rest=SpoolPart("spool/x", 0, 75))
            await held.dispatcher.start()
            await until(lambda: bool(held.store.records))
            (record,) = held.store.records
            assert (record.damaged, record.results[0].state) == (True, State.FAILED)
            assert server.got == []  # half a message was not ended with a dot

    asyncio.run(whole())


def test_a_spool_that_is_away_has_lost_nothing(tmp_path: Path) -> None:
    async def whole() -> None:
        server = Scripted()
        async with rig(server, tmp_path, Limits(connections=1)) as held:
            parcel = held.store.put(rest=SpoolPart("spool/x", 0, 75))
            await held.dispatcher.start()
            await until(lambda: bool(held.store.released))
            assert held.store.records == []
            assert held.store.released[0][0] == parcel.id
            assert held.store.released[0][1] > held.clock.ms

    asyncio.run(whole())


@pytest.mark.parametrize("how", ["held", "disabled", "cancelled"])
def test_what_is_claimed_and_not_begun_does_not_go_when_it_may_not_any_more(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a sender that is held meanwhile, or an account that is disabled, or cancelled."""

    async def whole() -> None:
        server = Scripted()
        if how == "held":
            server.replies["mail"] = "553 5.7.1 not owned by user"
        async with rig(server, tmp_path, Limits(connections=1)) as held:
            real = held.store.begin

            def begin(parcel: Parcel) -> bool:
                if how == "disabled":
                    held.store.add_account(1, enabled=False)
                if how == "cancelled" and parcel.id > 1:
                    held.store.cancelled.add(parcel.id)
                return real(parcel)

            monkeypatch.setattr(held.store, "begin", begin)
            await held.dispatcher.start()
            parcels = [held.store.put() for _ in range(5)]
            for parcel in parcels:
                held.store.hand_over(held.dispatcher, parcel)
            await until(lambda: len(held.store.records) + len(held.store.released) >= 5)
            if how != "cancelled":
                assert held.store.begun == [1]
            assert [r.parcel.id for r in held.store.records] == [1]
            assert len(server.got) == 1  # or refused

    asyncio.run(whole())
