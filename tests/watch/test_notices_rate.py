"""Notices that may not go yet: put off together, and none stands before the others."""

from __future__ import annotations

import asyncio
import collections
from pathlib import Path

from store.house import House
from store.test_store_contract import run
from store.test_store_notices import FAILED, owner, tried
from waypost.core.errors import StoreAway
from waypost.core.message import Submission
from waypost.core.verdict import Reason, Refusal
from waypost.watch.tell import notices
from waypost.watch.tell.notices import DISABLED_MS, HOUR_MS, LATER_MS, Notices


class Post:
    """The door: counts what comes, and answers as it is told."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.about: list[int] = []
        self.broken: set[int] = set()
        self.answer: Refusal | None = None

    async def __call__(self, submission: Submission, message_id: int) -> Refusal | None:
        self.about.append(message_id)
        if message_id in self.broken:
            raise RuntimeError("an odd message")
        if self.answer is None:
            self.house.change("DELETE FROM notice WHERE message_id = ?", message_id)
        return self.answer


def due(house: House) -> dict[int, int]:
    """How long each that is owed waits."""
    now_ms = house.clock.wall_ms()
    return {number: at - now_ms for number, at in house.sql("SELECT message_id, due FROM notice")}


async def owed(house: House, count: int) -> tuple[Notices, Post, list[int]]:
    owner(house)
    found = []
    for _ in range(count):
        house.clock.ms += 1
        found.append(await tried(house, FAILED))
    house.clock.ms += LATER_MS
    house.change("UPDATE meta SET value = value + 1 WHERE name = 'generation'")
    post = Post(house)
    return Notices(house.data, "relay.test", house.first, post, house.clock), post, found


def test_what_is_over_the_hourly_number_waits_for_its_room(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        told, post, found = await owed(house, 5)
        told._sent[1] = collections.deque(
            house.clock.wall_ms() - HOUR_MS // 2 for _ in range(notices.AN_HOUR - 1)
        )
        while await told.step():
            pass
        assert post.about == found[:1]
        assert due(house) == dict.fromkeys(found[1:], HOUR_MS // 2)
        house.clock.ms += HOUR_MS // 2
        while await told.step():
            pass
        assert post.about == found

    run(tmp_path / "data", story)


def test_one_that_breaks_stands_before_no_other(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        told, post, found = await owed(house, 3)
        post.broken = {found[0]}
        while await told.step():
            pass
        assert post.about == found
        assert due(house) == {found[0]: HOUR_MS}

    run(tmp_path / "data", story)


def test_refused_for_now_and_disabled(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        told, post, found = await owed(house, 2)
        post.answer = Refusal(Reason.TROUBLE, "later")
        await told.step()
        assert due(house) == dict.fromkeys(found, LATER_MS)
        house.change("UPDATE account SET enabled = 0")
        house.clock.ms += LATER_MS
        await told.step()
        assert due(house) == dict.fromkeys(found, DISABLED_MS)
        assert len(post.about) == len(found)

    run(tmp_path / "data", story)


def test_a_store_that_is_away_is_told_of(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        told, post, _ = await owed(house, 1)

        async def away(_submission: Submission, _message_id: int) -> Refusal | None:
            raise StoreAway("away")

        told._post = away
        outcome = await asyncio.gather(told.step(), return_exceptions=True)
        assert isinstance(outcome[0], StoreAway)
        assert due(house)
        assert post.about == []

    run(tmp_path / "data", story)
