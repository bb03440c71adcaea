"""Line ends: every input whole, octet by octet and cut at random gives what the rules say."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.policy.line_ends import Flags, Mender

TABLE = [
    (b"", b"", False),
    (b"a\r\n", b"a\r\n", False),
    (b"a\r\nb\r\n\r\n", b"a\r\nb\r\n\r\n", False),
    (b"a\n", b"a\r\n", True),
    (b"a\rb\r\n", b"a b\r\n", True),
    (b"a\r\r\n", b"a\r\n", True),
    (b"a\r\r\r\r\nb\r\n", b"a\r\nb\r\n", True),
    (b"a\r\r\rb\r\n", b"a   b\r\n", True),
    (b"\n\r\n", b"\r\n\r\n", True),
    (b"\r\n.\n\r\n", b"\r\n.\r\n\r\n", True),
    (b"\r\n.\r\r\n", b"\r\n.\r\n", True),
    (b"\r.\r", b" . \r\n", True),
    (b"\n\r", b"\r\n \r\n", True),
    (b"no end", b"no end\r\n", False),
    (b"\r", b" \r\n", True),
]
PIECES = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a", b".", b" ", b"\0", b"\xe9"]))


def mend(data: bytes, cuts: list[int]) -> tuple[bytes, Flags]:
    mender = Mender()
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    out = [mender.feed(data[a:b]) for a, b in itertools.pairwise(edges)]
    out.append(mender.finish())
    return b"".join(out), mender.flags


def plainly(data: bytes) -> bytes:
    """The rules once more, a character at a time, as an oracle."""
    out, at = bytearray(), 0
    while at < len(data):
        run = at
        while data[run : run + 1] == b"\r":
            run += 1
        if data[run : run + 1] == b"\n":
            out += b"\r\n"
            at = run + 1
        elif run > at:
            out += b" " * (run - at)
            at = run
        else:
            out += data[at : at + 1]
            at += 1
    return bytes(out) + (b"" if not out or out.endswith(b"\r\n") else b"\r\n")


@pytest.mark.parametrize(("data", "mended", "bare"), TABLE)
def test_the_rules(data: bytes, mended: bytes, bare: bool) -> None:
    for cuts in ([], list(range(len(data))), [1], [2, 3]):
        got, flags = mend(data, cuts)
        assert got == mended
        assert flags.bare is bare


@given(PIECES, st.lists(st.integers(0, 999), max_size=6))
def test_any_cut_gives_what_the_oracle_gives(pieces: list[bytes], cuts: list[int]) -> None:
    data = b"".join(pieces)
    got, flags = mend(data, cuts)
    assert got == plainly(data)
    assert flags.nul == (b"\0" in data)
    assert flags.eight_bit == (b"\xe9" in data)
    stray = data.replace(b"\r\n", b"")
    assert flags.bare == (b"\r" in stray or b"\n" in stray)
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", got)


def test_a_clean_chunk_is_not_copied() -> None:
    chunk = b"clean\r\n" * 2000
    assert Mender().feed(chunk) is chunk


@pytest.mark.parametrize("unit", [b"\r", b"\n", b"\r\r\n", b"\r\r\rx", b"\n\r"])
def test_long_runs_of_bare_ends(unit: bytes) -> None:
    data = unit * (400_000 // len(unit))
    assert mend(data, [200_001])[0] == plainly(data)


def test_a_run_of_crs_over_many_chunks_is_only_counted() -> None:
    mender = Mender()
    for _ in range(4_000):
        assert mender.feed(b"\r" * 8_192) == b""
    assert mender.feed(b"\n") == b"\r\n"
    assert mender.finish() == b""
    assert mender.flags.bare
