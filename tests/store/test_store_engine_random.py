"""Random operations of two workers and commands on one file: whatever the order, everything adds
up."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from store.house import House, Taker, attempt
from waypost.core import ident
from waypost.core.lifecycle import State
from waypost.core.message import Committed
from waypost.core.verdict import Refusal
from waypost.store.connect import connect
from waypost.store.contract import Lane
from waypost.store.shared import Shared, changing
from waypost.store.sqlite.ending import Keep, end_recipients

STATES = st.sampled_from([State.SENT, State.FAILED, State.QUEUED])
STEPS = st.one_of(
    st.tuples(st.just("commit"), st.integers(0, 1), st.integers(1, 4), st.integers(1, 6)),
    st.tuples(
        st.just("record"), st.integers(0, 1), st.integers(0, 9), st.lists(STATES, min_size=1)
    ),
    st.tuples(st.just("release"), st.integers(0, 1), st.integers(0, 9)),
    st.tuples(st.just("claim"), st.integers(0, 1), st.integers(1, 4)),
    st.tuples(st.just("cancel"), st.integers(0, 9)),
    st.tuples(st.just("wait"), st.sampled_from([1, 60_000, 43_200_000])),
    st.tuples(st.just("cap"), st.sampled_from([None, 2, 4, 9])),
    st.tuples(st.just("topup"), st.integers(1, 9)),
    st.tuples(st.just("pause")),
)


def cancel(house: House, which: int) -> None:
    """As `queue cancel` does: a message that nobody has claimed."""
    db, shared = connect(house.data), Shared(house.data)
    try:
        with changing(db, shared, facts=True, work=True):
            rows: list[Any] = db.execute("SELECT message_id FROM queue WHERE claim = 0").fetchall()
            if rows:
                message_id = rows[which % len(rows)][0]
                end_recipients(
                    db,
                    house.clock.ms,
                    message_id,
                    range(1, 9),
                    State.CANCELLED,
                    0,
                    "cancelled",
                    Keep(0, 9),
                )
    finally:
        shared.close()
        db.close()


async def play(house: House, steps: list[Any]) -> None:
    """Commands run in a thread: on the loop one would wait for a lock that only the loop frees."""
    stores, takers = [house.first, house.store(1)], [Taker(), Taker()]
    makers = [ident.IdentMaker(0), ident.IdentMaker(1)]
    pending: list[asyncio.Future[Any]] = []
    for store, taker in zip(stores, takers, strict=True):
        store.attach(taker)
    for kind, *rest in steps:
        if kind == "commit":
            worker, count, same = rest
            to = [f"r{number}@x.test" for number in range(count)]
            acceptance = house.acceptance(
                *to, store=stores[worker], maker=makers[worker], message_id=f"m{same}",
                digest=b"%032d" % same,
            )  # fmt: skip
            pending.append(asyncio.ensure_future(stores[worker].commit(acceptance)))
        elif kind == "pause":
            await asyncio.gather(*pending)
        elif kind == "claim":
            worker, limit = rest
            found = await stores[worker].claim(Lane(1, 1, 0), house.clock.ms, limit)
            takers[worker].taken += found
        elif kind in ("record", "release"):
            worker, which, *states = rest
            taken = takers[worker].taken
            if not taken:
                continue
            parcel = taken.pop(which % len(taken))
            due = house.clock.ms + 60_000
            if kind == "record":
                pending.append(stores[worker].record(attempt(parcel, *states[0], next_ms=due)))
            else:
                pending.append(stores[worker].release(parcel, due, "later"))
        elif kind == "cancel":
            await asyncio.to_thread(cancel, house, rest[0])
        elif kind == "wait":
            house.clock.ms += rest[0]
        elif kind == "cap":
            await asyncio.to_thread(house.change, "UPDATE upstream SET daily_cap = ?", rest[0])
        else:
            await asyncio.gather(*pending)
            await asyncio.to_thread(
                house.change,
                "INSERT INTO ledger (account_id, at, amount, reason, balance)"
                " SELECT 1, 0, ?, 'topup', balance + ? FROM account WHERE id = 1",
                rest[0],
                rest[0],
            )
            await asyncio.to_thread(
                house.change, "UPDATE account SET balance = balance + ? WHERE id = 1", rest[0]
            )
    outcomes = await asyncio.gather(*pending)
    assert not [o for o in outcomes if not isinstance(o, Committed | Refusal | None)]


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(STEPS, max_size=40))
def test_everything_adds_up(steps: list[Any]) -> None:
    async def whole(data: Path) -> None:
        house = House(data, credits=20)
        try:
            await asyncio.wait_for(play(house, steps), 60)
        finally:
            await house.close()
        house.adds_up()
        caps = house.sql("SELECT day, used FROM place WHERE scope = 'u'")
        assert all(used > 0 for _, used in caps)

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(whole(Path(folder) / "data"))
