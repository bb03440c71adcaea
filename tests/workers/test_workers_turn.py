"""Turns to write, owners of upstreams and bells, each with two workers in one process."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from waypost.core.ident import IdentMaker
from waypost.store.several.crew import Crew, Ground, Word
from waypost.store.several.owners import Owners
from waypost.store.several.turn import WRITE, Turn, alone, in_turn

ROUNDS = 40


def test_one_writes_at_a_time(tmp_path: Path) -> None:
    one, two = Turn(tmp_path), Turn(tmp_path)
    assert one.try_take()
    assert one.try_take(), "it is held already"
    assert not two.try_take()
    assert not two.take_within(0.01)
    one.release()
    one.release()
    assert two.take_within(0.01)
    assert not one.try_take()
    two.close()  # as the kernel does it for the dead
    assert one.try_take()
    one.close()


def test_whoever_waits_is_next(tmp_path: Path) -> None:
    busy, other = Turn(tmp_path), Turn(tmp_path)
    turns = [0]
    ending = threading.Event()

    def write_on() -> None:
        while not ending.is_set():
            busy.take()
            turns[0] += 1
            busy.release()

    thread = threading.Thread(target=write_on)
    thread.start()
    waited = []
    for _ in range(ROUNDS):
        before = turns[0]
        other.take()
        waited.append(turns[0] - before)
        other.release()
    ending.set()
    thread.join()
    # Nobody promises when a thread gets to run; that it is not starved shows in the middle.
    assert sorted(waited)[ROUNDS // 2] < 20, waited
    busy.close()
    other.close()


def test_commands_wait_their_turn_only_where_there_are_turns(tmp_path: Path) -> None:
    with in_turn(tmp_path):
        assert list(tmp_path.iterdir()) == []
    worker = Turn(tmp_path)
    worker.take()
    order: list[str] = []

    def command() -> None:
        with in_turn(tmp_path):
            order.append("command")

    thread = threading.Thread(target=command)
    thread.start()
    thread.join(0.1)
    order.append("worker")
    worker.release()
    thread.join()
    assert order == ["worker", "command"]
    worker.close()
    alone(tmp_path)
    alone(tmp_path)
    assert not (tmp_path / WRITE).exists()


@pytest.mark.parametrize(
    ("up", "owners"),
    [
        ([1, 1, 1], [0, 1, 2, 0, 1, 2]),
        ([1, 0, 1], [0, 2, 2, 0, 2, 2]),
        ([1, 1, 0], [0, 1, 0, 0, 1, 0]),
        ([0, 1, 0], [1, 1, 1, 1, 1, 1]),
        ([0, 0, 0], [0, 1, 2, 0, 1, 2]),
    ],
)
def test_whose_an_upstream_should_be(up: list[int], owners: list[int]) -> None:
    ground = Ground(3)
    for number, there in enumerate(up):
        ground.set_up(number, bool(there))
    assert [ground.owner_of(upstream) for upstream in range(6)] == owners


def test_one_owner(tmp_path: Path) -> None:
    ground = Ground(2)
    one, two = Owners(tmp_path, Crew(ground, 0)), Owners(tmp_path, Crew(ground, 1))
    assert one.take(7)
    assert one.take(8)
    assert one.owns(7)
    assert not two.take(7)
    one.leave(7)
    assert not one.owns(7)
    assert not two.take(7), "its connections are still open"
    one.free(7)
    assert two.take(7)
    assert not two.take(8)
    one.close()  # as the kernel does it for the dead
    assert two.take(8)
    two.close()


class Ears:
    """Writes down what it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[object, ...]] = []

    def work(self, message_id: int, sender_id: int, account_id: int) -> None:
        self.heard.append(("work", message_id, sender_id, account_id))

    def ended(self, message_id: int) -> None:
        self.heard.append(("ended", message_id))

    def no_try(self, message_id: int) -> None:
        self.heard.append(("no_try", message_id))

    def changed(self) -> None:
        self.heard.append(("changed",))

    def broken(self) -> None:
        self.heard.append(("broken",))


def test_bells() -> None:
    async def story() -> None:
        ground = Ground(2)
        ground.set_up(0, True)
        ground.set_up(1, True)
        one, two = Crew(ground, 0), Crew(ground, 1)
        hearing_one, hearing_two = Ears(), Ears()
        one.listen(hearing_one, lambda: None)
        two.listen(hearing_two, lambda: None)
        mine, theirs = IdentMaker(0).make(1_000), IdentMaker(1).make(1_000)
        command = IdentMaker(255).make(1_000)
        assert one.tell_work(mine, 3, (4, 5))
        assert not one.tell_work(mine, 2, (4, 5)), "it is ours"
        two.tell_ended(mine)
        two.tell_no_try(mine)
        two.tell_ended(theirs)
        two.tell_ended(command)
        one.tell_changed()
        ground.tell_all(Word.BROKEN)
        await asyncio.sleep(0.05)
        assert hearing_two.heard == [("changed",), ("broken",), ("work", mine, 4, 5)]
        assert hearing_one.heard == [("broken",), ("ended", mine), ("no_try", mine)]
        one.close()
        two.close()

    asyncio.run(story())


def test_a_full_pipe_is_told_of_and_loses_nothing_that_fitted() -> None:
    async def story() -> None:
        ground = Ground(2)
        ground.set_up(1, True)
        one, two = Crew(ground, 0), Crew(ground, 1)
        lost = []
        one.listen(Ears(), lambda: lost.append(True))
        for _ in range(40):
            for number in range(100):
                one.tell_work(number, 1, (1, 1))
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert lost
        ears = Ears()
        two.listen(ears, lambda: None)
        await asyncio.sleep(0.05)
        assert len(ears.heard) > 1_000
        assert all(word[0] == "work" and word[2:] == (1, 1) for word in ears.heard)
        one.close()
        two.close()

    asyncio.run(story())
