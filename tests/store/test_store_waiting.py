"""What waits, as it is counted for people: by upstream, in the order of the queue's own index."""

from __future__ import annotations

import asyncio
from pathlib import Path

from store.house import NOW_MS, House
from waypost.store.connect import connect
from waypost.store.contract import Lane
from waypost.store.read import waiting
from waypost.store.read.book import Look


def test_lines_of_upstreams(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        store = house.first
        house.account(2)
        house.sender(2, "other@example.org")
        house.change("UPDATE sender SET held = 'refused' WHERE id = 2")
        first = house.acceptance()
        await store.commit(first)
        house.clock.ms += 5
        for account_id in (1, 2, 2):
            await store.commit(house.acceptance(account_id=account_id))
        await store.adopt(house.clock.ms)
        both = await store.claim(Lane(1, 2, 0), house.clock.ms, 2)
        assert store.begin(both[0])
        db = connect(house.data, readonly=True)
        try:
            look = Look(db)
            (line,) = waiting.lines(look, None)
            assert (line.upstream, line.queued) == ("main", 4)
            assert (line.oldest, line.due, line.held) == (first.id, NOW_MS, "")
            (line,) = waiting.lines(look, 2)
            assert (line.queued, line.due) == (2, None)
            claims = waiting.claimed(look, account_id=2)
            assert {row.message_id for row in claims} == {parcel.id for parcel in both}
            assert waiting.on_wire(look, claims) == {both[0].id}
            assert waiting.claimed(look, account_id=1) == []
        finally:
            db.close()

    async def whole() -> None:
        house = House(tmp_path / "data")
        await story(house)
        await house.close()

    asyncio.run(whole())
