"""A body while it arrives: slow, endless, cut off, without memory or disk; nothing of it stays."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from waypost.intake.bounds import Memory
from waypost.intake.http import body as bodies
from waypost.intake.http.body import READ_ON_OCTETS, SPILL_OCTETS, Body, take
from waypost.intake.http.draft import Refused
from waypost.web import BODY_OCTETS, Failure

MIB = 1024 * 1024
Receive = Callable[[], Awaitable[Any]]


def pieces(*octets: bytes, then: str = "") -> Receive:
    """What a server gives: these, then the end, a disconnect, or nothing for ever."""
    left = list(octets)

    async def receive() -> Any:
        if left:
            piece = left.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(left or then)}
        if then == "silence":
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    return receive


def taken(receive: Receive, folder: Path, memory: Memory) -> Body:
    return asyncio.run(take(receive, folder, memory))


@pytest.mark.parametrize("sizes", [(0,), (5,), (SPILL_OCTETS,), (SPILL_OCTETS, 1), (MIB, 2 * MIB)])
def test_it_comes_whole(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    memory = Memory(10 * MIB)
    sent = [bytes([65 + n]) * size for n, size in enumerate(sizes)]
    body = taken(pieces(*sent), tmp_path, memory)
    assert body.large == (sum(sizes) > SPILL_OCTETS)
    assert memory.used_octets == (0 if body.large else sum(sizes))
    assert body.whole() == b"".join(sent)
    body.close()
    assert memory.used_octets == 0
    assert list(tmp_path.iterdir()) == []


def test_without_memory_it_is_a_file(tmp_path: Path) -> None:
    memory = Memory(100)
    body = taken(pieces(b"a" * 80, b"b" * 80), tmp_path, memory)
    assert (body.large, memory.used_octets, body.whole()) == (True, 0, b"a" * 80 + b"b" * 80)
    body.close()


def test_a_slow_one_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_S", 0.05)
    memory = Memory(MIB)

    async def story() -> None:
        with pytest.raises(Failure) as told:
            async with asyncio.timeout(60):
                await take(pieces(b"{", then="silence"), tmp_path, memory)
        assert (told.value.status, told.value.headers["Connection"]) == (408, "close")

    asyncio.run(story())
    assert memory.used_octets == 0


@pytest.mark.parametrize("octets", [BODY_OCTETS + 1, READ_ON_OCTETS])
def test_one_that_is_too_large_is_read_to_its_end(tmp_path: Path, octets: int) -> None:
    memory = Memory(MIB)
    piece = bytes(MIB)
    sent = [piece] * (octets // MIB) + [piece[: octets % MIB]]
    with pytest.raises(Failure) as told:
        taken(pieces(*sent), tmp_path, memory)
    assert (told.value.status, told.value.headers) == (413, {})
    assert memory.used_octets == 0


def test_one_without_an_end_is_cut(tmp_path: Path) -> None:
    given = 0

    async def receive() -> Any:
        nonlocal given
        given += MIB
        assert given <= READ_ON_OCTETS + MIB, "it is read for ever"
        return {"type": "http.request", "body": bytes(MIB), "more_body": True}

    with pytest.raises(Failure) as told:
        taken(receive, tmp_path, Memory(MIB))
    assert (told.value.status, told.value.headers) == (413, {"Connection": "close"})


@pytest.mark.parametrize("size", [1, MIB])
def test_one_that_is_cut_off(tmp_path: Path, size: int) -> None:
    memory = Memory(10 * MIB)
    with pytest.raises(ConnectionError):
        taken(pieces(bytes(size), then="disconnect"), tmp_path, memory)
    assert memory.used_octets == 0
    assert list(tmp_path.iterdir()) == []


def test_without_a_disk_it_is_told_to_come_again(tmp_path: Path) -> None:
    memory = Memory(10 * MIB)
    with pytest.raises(Refused) as told:
        taken(pieces(bytes(MIB)), tmp_path / "gone", memory)
    assert told.value.refusal.row.http == 503
    assert memory.used_octets == 0
