"""One message while it arrives: whole, byte by byte, to disk, too large, without memory or disk."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from waypost.core.message import Content, SpoolPart
from waypost.core.verdict import Reason, Refusal
from waypost.intake.bounds import Memory
from waypost.intake.receive import SPOOL_OCTETS, Receiver
from waypost.policy.header import HEAD_OCTETS
from waypost.store.connect import prepare
from waypost.store.spool import Spool

HEAD = b"From: a@example.com\r\nTo: b@example.com\r\n\r\n"
LIMIT = 31_457_280


class Place:
    """A spool on disk and a bound of memory."""

    def __init__(self, data: Path, memory: int = 10**8) -> None:
        prepare(data)
        self.data = data
        self.memory = Memory(memory)
        self.spool = Spool(data, 0)

    def receiver(self, limit: int = LIMIT) -> Receiver:
        return Receiver(self.spool, self.memory, limit)

    def files(self) -> list[Path]:
        return list((self.data / "incoming").iterdir())

    def octets(self, content: Content | Refusal) -> bytes:
        assert isinstance(content, Content)
        if isinstance(content.rest, bytes):
            return content.head + content.rest
        assert content.rest.octets == (self.data / content.rest.name).stat().st_size
        return content.head + (self.data / content.rest.name).read_bytes()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def fed(receiver: Receiver, data: bytes, step: int) -> Content | Refusal:
    for at in range(0, len(data), step):
        receiver.feed(data[at : at + step])
    return receiver.finish()


@pytest.mark.parametrize("step", [1, 7, 10_000])
@pytest.mark.parametrize(
    "message", [HEAD, HEAD + b"body\r\n", b"\r\nbody\r\n", b"no end: x\r\n", b""]
)
def test_a_small_message_stays_in_memory(place: Place, message: bytes, step: int) -> None:
    content = fed(place.receiver(), message, step)
    assert place.octets(content) == message
    assert isinstance(content, Content)
    assert content.digest == hashlib.sha256(message).digest()
    assert content.raw_octets == len(message)
    assert place.files() == []


def test_the_digest_is_of_the_octets_before_mending(place: Place) -> None:
    raw = HEAD + b"one\ntwo\r\r\nthree \xe9\r"
    receiver = place.receiver()
    content = fed(receiver, raw, 5)
    assert place.octets(content) == HEAD + b"one\r\ntwo\r\nthree \xe9 \r\n"
    assert isinstance(content, Content)
    assert content.digest == hashlib.sha256(raw).digest()
    assert content.raw_octets == len(raw)
    assert content.eight_bit
    assert receiver.flags.bare


@pytest.mark.parametrize("step", [1_000, 65_536, 10_000_000])
def test_a_large_one_goes_to_disk_while_it_arrives(place: Place, step: int) -> None:
    message = HEAD + b"x" * 78 + b"\r\n" + b"y" * 700_000 + b"\r\n"
    receiver = place.receiver()
    content = fed(receiver, message, step)
    assert isinstance(content, Content)
    assert isinstance(content.rest, SpoolPart)
    assert content.head == HEAD
    assert place.octets(content) == message
    assert place.memory.used_octets == len(HEAD)
    receiver.release()
    assert place.memory.used_octets == 0


def test_memory_is_counted_while_it_is_held_and_given_back(place: Place) -> None:
    receiver = place.receiver()
    receiver.feed(HEAD + b"x" * 1000)
    assert place.memory.used_octets == len(HEAD) + 1000
    receiver.discard()
    receiver.discard()
    assert place.memory.used_octets == 0


def test_with_no_memory_left_it_goes_to_disk_early(tmp_path: Path) -> None:
    place = Place(tmp_path, 500)
    receiver = place.receiver()
    content = fed(receiver, HEAD + b"x" * 2000 + b"\r\n", 100)
    assert isinstance(content, Content)
    assert isinstance(content.rest, SpoolPart)
    assert place.octets(content) == HEAD + b"x" * 2000 + b"\r\n"
    receiver.discard()
    assert place.memory.used_octets == 0
    assert place.files() == []


def test_with_no_memory_for_a_header_it_is_452(tmp_path: Path) -> None:
    place = Place(tmp_path, 500)
    content = fed(place.receiver(), b"X: " + b"x" * 2000 + b"\r\n" + HEAD, 100)
    assert isinstance(content, Refusal)
    assert content.smtp_line.startswith("452 4.3.1")
    assert place.memory.used_octets == 0


@pytest.mark.parametrize("step", [3_000, 400_000])
def test_a_header_that_does_not_end_holds_a_megabyte_at_most(place: Place, step: int) -> None:
    receiver = place.receiver()
    content = fed(receiver, b"X: y\r\n" * 500_000, step)
    assert isinstance(content, Content)
    assert HEAD_OCTETS < len(content.head) <= HEAD_OCTETS + max(step, SPOOL_OCTETS)
    assert content.rest == b""
    assert place.files() == []


def test_one_that_grows_too_large_is_thrown_away_as_it_comes(place: Place) -> None:
    receiver = place.receiver(limit=1_000_000)
    content = fed(receiver, HEAD + b"x" * 1_500_000, 100_000)
    assert isinstance(content, Refusal)
    assert content.reason is Reason.TOO_LARGE
    assert content.smtp_line.startswith("550 5.3.4")
    assert receiver.raw_octets == len(HEAD) + 1_500_000
    assert place.memory.used_octets == 0
    assert place.files() == []


@pytest.mark.parametrize(
    ("number", "code"), [(errno.ENOSPC, "452 4.3.1"), (errno.EIO, "451 4.3.0")]
)
def test_a_disk_that_fails_is_said_and_nothing_is_left(
    place: Place, monkeypatch: pytest.MonkeyPatch, number: int, code: str
) -> None:
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("waypost.store.spool.os.write", fail)
    content = fed(place.receiver(), HEAD + b"x" * 2_000_000, 50_000)
    assert isinstance(content, Refusal)
    assert content.smtp_line.startswith(code)
    assert place.memory.used_octets == 0
    assert place.files() == []


def test_a_spool_that_is_gone_is_trouble(tmp_path: Path) -> None:
    place = Place(tmp_path)
    (tmp_path / "incoming").rmdir()
    content = fed(place.receiver(), HEAD + b"x" * 500_000, 50_000)
    assert isinstance(content, Refusal)
    assert content.reason is Reason.TROUBLE


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=20), st.sampled_from([40, 10**6]))
def test_cut_anywhere_and_spilled_or_not_the_same_octets_come_out(
    tmp_path: Path, chunks: list[bytes], memory: int
) -> None:
    whole = HEAD + b"".join(chunks)
    place = Place(tmp_path, memory + len(HEAD))
    at_once, cut = place.receiver(), place.receiver()
    cut.feed(HEAD)
    for chunk in chunks:
        if chunk:
            cut.feed(chunk)
    one, two = fed(at_once, whole, len(whole)), cut.finish()
    assert place.octets(one) == place.octets(two)
    assert isinstance(one, Content)
    assert isinstance(two, Content)
    assert one.digest == two.digest == hashlib.sha256(whole).digest()
    at_once.discard()
    cut.discard()
    assert place.memory.used_octets == 0
