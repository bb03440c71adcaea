"""Sealing: what is sealed opens in its own row, under its own key, and nowhere else."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.core.errors import Secret
from waypost.upstream.seal import KeyRing, Sealer, SealError

ROW = b"upstream:7:password"


def ring() -> KeyRing:
    return KeyRing.first(os.urandom)


@given(st.text(), st.binary())
def test_what_is_sealed_opens_in_its_row(text: str, row: bytes) -> None:
    sealer = Sealer(ring(), os.urandom)
    blob = sealer.seal(Secret(text), row)
    assert sealer.open(blob, row).reveal() == text
    assert len(text) < 8 or text.encode() not in blob
    with pytest.raises(SealError):
        sealer.open(blob, row + b"x")


def test_every_changed_octet_is_noticed() -> None:
    sealer = Sealer(ring(), os.urandom)
    blob = sealer.seal(Secret("hunter2"), ROW)
    for place in range(len(blob)):
        changed = bytearray(blob)
        changed[place] ^= 1
        with pytest.raises(SealError):
            sealer.open(bytes(changed), ROW)
    for length in range(len(blob)):
        with pytest.raises(SealError):
            sealer.open(blob[:length], ROW)


def test_the_same_secret_is_never_sealed_alike() -> None:
    sealer = Sealer(ring(), os.urandom)
    assert len({sealer.seal(Secret("x"), ROW) for _ in range(50)}) == 50


def test_another_ring_with_the_same_numbers_opens_nothing() -> None:
    blob = Sealer(ring(), os.urandom).seal(Secret("x"), ROW)
    with pytest.raises(SealError, match="does not open"):
        Sealer(ring(), os.urandom).open(blob, ROW)


def test_after_a_rotation_the_old_opens_and_the_new_seals() -> None:
    old = Sealer(ring(), os.urandom)
    blob = old.seal(Secret("x"), ROW)
    new = Sealer(old.ring.rotated(os.urandom), os.urandom)
    assert new.open(blob, ROW).reveal() == "x"
    assert new.stale(blob)
    fresh = new.seal(new.open(blob, ROW), ROW)
    assert not new.stale(fresh)
    with pytest.raises(SealError, match="key 2"):
        old.open(fresh, ROW)


def test_a_key_that_another_process_added_is_looked_up() -> None:
    first = ring()
    second = first.rotated(os.urandom)
    blob = Sealer(second, os.urandom).seal(Secret("x"), ROW)
    assert Sealer(first, os.urandom, lambda: second).open(blob, ROW).reveal() == "x"


def test_the_file_of_a_ring_reads_back() -> None:
    made = ring().rotated(os.urandom)
    read = KeyRing.parse(made.text())
    assert read.numbers() == (1, 2)
    assert read.current == 2
    assert [read.key(n) for n in (1, 2)] == [made.key(n) for n in (1, 2)]


@pytest.mark.parametrize("text", ["", "# no key\n", "1 short\n", "x\n", "0 " + "A" * 43 + "=\n"])
def test_a_broken_file_is_said_so(text: str) -> None:
    with pytest.raises(SealError):
        KeyRing.parse(text)


def test_a_repeated_number_is_refused() -> None:
    line = ring().text().splitlines()[-1]
    with pytest.raises(SealError, match="repeats"):
        KeyRing.parse(f"{line}\n{line}\n")


def test_nothing_secret_shows() -> None:
    sealer = Sealer(ring(), os.urandom)
    secret = sealer.ring.text().split()[-1]
    assert secret not in repr(sealer) + str(sealer.ring) + repr(sealer.ring)
