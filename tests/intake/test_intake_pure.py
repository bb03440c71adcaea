"""Keys, throttling, bounds and answers: no socket, no clock."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.core.errors import Secret
from waypost.core.facts import Directory, Key
from waypost.core.verdict import Reason, Refusal, Settled
from waypost.intake import answer
from waypost.intake.auth import (
    ADDRESSES,
    FORGET_S,
    AuthRefusal,
    Throttle,
    admit,
    dead,
    guesses_octets,
)
from waypost.intake.bounds import (
    DISK_CHECK_S,
    MEMORY_RESERVE_BYTES,
    Disk,
    Memory,
    SessionCaps,
    free_octets,
    shared_octets,
)

DIRECTORY = Directory(1, (), (), (), None)


def test_an_unknown_key_is_535_and_shows_nothing_of_it() -> None:
    found = admit(DIRECTORY, Secret("hyd-mail-nothing"))
    assert isinstance(found, AuthRefusal)
    assert found.reason is Reason.KEY_UNKNOWN
    assert found.smtp_line.startswith("535 5.7.8 ")
    assert "nothing" not in found.smtp_line + repr(found)


def test_surrogates_in_a_password_are_only_a_wrong_key() -> None:
    found = admit(DIRECTORY, Secret("\udc80\udcff"))
    assert not isinstance(found, Key)
    assert dead(DIRECTORY, 7) is Reason.KEY_UNKNOWN


def test_wrong_keys_are_answered_ever_later_up_to_ten_seconds() -> None:
    throttle = Throttle()
    assert [throttle.failed("192.0.2.1", 0.0) for _ in range(6)] == [1, 2, 4, 8, 10, 10]
    assert throttle.failed("192.0.2.2", 0.0) == 1
    assert throttle.failed("192.0.2.1", FORGET_S + 1) == 1


def test_one_ipv6_network_is_one_address() -> None:
    throttle = Throttle()
    assert throttle.failed("2001:db8::1", 0.0) == 1
    assert throttle.failed("2001:db8::ffff:2", 0.0) == 2
    assert throttle.failed("2001:db8:0:1::2", 0.0) == 1
    assert throttle.failed("no address", 0.0) == 1


def test_a_wrong_key_counts_with_every_worker() -> None:
    shared = bytearray(guesses_octets(3))
    workers = [Throttle(shared, number) for number in range(3)]
    delays = [workers[number % 3].failed("192.0.2.1", 5.0) for number in range(6)]
    assert delays == [1, 2, 4, 8, 10, 10]
    assert workers[0].failed("192.0.2.99", 5.0) == 1
    assert workers[1].failed("192.0.2.1", FORGET_S + 6) == 1
    workers[0] = Throttle(shared, 0)  # a successor has seen nobody, the others have
    assert workers[0].failed("192.0.2.1", 10.0) >= 4


def test_strangers_are_counted_over_all_workers() -> None:
    shared = bytearray(shared_octets(2))
    one, two = SessionCaps(30, 20, shared, 0), SessionCaps(30, 20, shared, 1)
    one.strange(1)
    two.strange(1)
    assert (one.strangers, two.strangers) == (2, 2)
    one.strange(-1)
    two = SessionCaps(30, 20, shared, 1)  # a successor
    assert (one.strangers, two.strangers) == (0, 0)


def test_the_throttle_forgets_the_longest_quiet_address_first() -> None:
    throttle = Throttle()
    throttle.failed("first", 0.0)
    for number in range(ADDRESSES):
        throttle.failed(f"other {number}", 1.0)
    assert len(throttle) == ADDRESSES
    assert throttle.failed("first", 2.0) == 1


def test_sessions_are_capped_in_all_and_by_address() -> None:
    caps = SessionCaps(3, 2)
    assert caps.enter("a") is None
    assert caps.enter("a") is None
    assert "your address" in str(caps.enter("a"))
    assert caps.enter("b") is None
    assert "too many sessions" in str(caps.enter("c"))
    caps.leave("a")
    assert caps.enter("c") is None


def test_caps_hold_over_all_workers_and_a_successor_starts_at_none() -> None:
    shared = bytearray(shared_octets(2))
    one, two = SessionCaps(3, 2, shared, 0), SessionCaps(3, 2, shared, 1)
    assert one.enter("a") is None
    assert two.enter("a") is None
    assert one.enter("a") is not None
    assert two.enter("b") is None
    assert one.enter("c") is not None
    two = SessionCaps(3, 2, shared, 1)
    assert one.enter("a") is None


def test_memory_is_bounded_and_small_messages_that_say_so_still_pass() -> None:
    memory = Memory(100_000)
    assert memory.take(90_000)
    assert not memory.take(20_000)
    assert memory.used_octets == 90_000
    assert not memory.room_for(0)
    assert memory.room_for(5_000)
    assert not memory.room_for(MEMORY_RESERVE_BYTES)
    memory.give(90_000)
    assert memory.room_for(10**9)


@pytest.mark.parametrize(
    ("free", "total", "room"),
    [(2**30, 10**12, True), (2**30 - 1, 10**12, False), (5, 100, True), (4, 100, False)],
)
def test_disk_is_nearly_full_below_a_gigabyte_or_a_twentieth(
    free: int, total: int, room: bool
) -> None:
    assert Disk(lambda: (free, total)).room(0.0) is room


@pytest.mark.parametrize(("inodes", "left", "free"), [(1000, 10, 400), (1000, 0, 0), (0, 0, 400)])
def test_a_disk_without_inodes_has_nothing_free(
    inodes: int, left: int, free: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ext4 does; btrfs counts none, and says 0 of 0."""
    seen = SimpleNamespace(f_files=inodes, f_favail=left, f_bavail=100, f_blocks=1000, f_frsize=4)
    monkeypatch.setattr(os, "statvfs", lambda _: seen)
    assert free_octets(Path("/anywhere")) == (free, 4000)


def test_the_disk_is_looked_at_once_a_second_and_a_sick_one_is_full() -> None:
    looks: list[int] = []

    def look() -> tuple[int, int]:
        looks.append(1)
        if len(looks) > 1:
            raise OSError("gone")
        return (10**12, 10**12)

    disk = Disk(look)
    assert disk.room(0.0)
    assert disk.room(DISK_CHECK_S / 2)
    assert not disk.room(DISK_CHECK_S)
    assert len(looks) == 2


@pytest.mark.parametrize(
    ("outcome", "line"),
    [
        (Settled(1, 0, 2, 0), "250 OK: 0000000000000001"),
        (Settled(1, 0, 1, 1), "250 OK: 0000000000000001"),
        (Settled(1, 1, 1, 1), "250 queued: 0000000000000001"),
        (Settled(1, 1, 0, 0), "250 queued: 0000000000000001"),
        (
            Settled(1, 0, 0, 1, code=550, enhanced="5.1.1", words="5.1.1 No such user"),
            "550 5.1.1 No such user (0000000000000001)",
        ),
        (
            Settled(1, 0, 0, 1, code=554, enhanced="", words="go away\r\n250 OK"),
            "550 5.0.0 go away 250 OK (0000000000000001)",
        ),
        (Settled(1, 0, 0, 1), "550 5.0.0 refused by the upstream (0000000000000001)"),
        (Settled(1, 0, 0, 0, cancelled=1), "550 5.0.0 cancelled (0000000000000001)"),
    ],
)
def test_the_answer_tells_what_is_committed(outcome: Settled, line: str) -> None:
    assert answer.answered(outcome) == line


@given(st.text(), st.sampled_from(["", "5.1.1", "4.2.0", "5.999.999"]), st.sampled_from(Reason))
def test_an_answer_is_one_line_of_at_most_512_octets(
    text: str, enhanced: str, reason: Reason
) -> None:
    for line in (
        answer.settled(Settled(1, 0, 0, 1, code=550, enhanced=enhanced, words=text * 40)),
        answer.refused(Refusal(reason, text * 40)),
    ):
        assert len(line) <= 510
        assert line.isascii()
        assert line.isprintable()
