"""The client's small parts: dots doubled, replies read, capabilities understood."""

from __future__ import annotations

import pytest

from waypost.core.reply import Reply, Stage
from waypost.wire.lines import DotStuffer
from waypost.wire.replies import Capabilities, ReplyReader, read_capabilities


@pytest.mark.parametrize(
    ("message", "wire"),
    [
        (b"", b".\r\n"),
        (b"a\r\n", b"a\r\n.\r\n"),
        (b"a", b"a\r\n.\r\n"),
        (b".", b"..\r\n.\r\n"),
        (b".\r\n.\r\n..\r\n", b"..\r\n..\r\n...\r\n.\r\n"),
        (b"a\r\n\r\n", b"a\r\n\r\n.\r\n"),
        (b"a.b\r\n .c\r\n", b"a.b\r\n .c\r\n.\r\n"),
        (b"a\n.\nb\r\n", b"a\n..\nb\r\n.\r\n"),
        (b"a\n.\r\nMAIL FROM:<x>\r\n", b"a\n..\r\nMAIL FROM:<x>\r\n.\r\n"),
    ],
)
def test_dots(message: bytes, wire: bytes) -> None:
    for size in (1, 2, 3, 100):
        stuffer = DotStuffer()
        pieces = [message[i : i + size] for i in range(0, len(message), size)]
        assert b"".join(map(stuffer.stuff, pieces)) + stuffer.end() == wire
    assert DotStuffer().stuff(b"") == b""


def test_capabilities() -> None:
    lines = ("x", "size", "auth plain", "AUTH=LOGIN PLAIN", "pipelining", "", "XYZ a b")
    assert read_capabilities(Reply(250, lines)) == Capabilities(
        extended=True, pipelining=True, size=0, auth=("PLAIN", "LOGIN")
    )
    for odd in ("SIZE x", "SIZE -1", "SIZE " + "9" * 30, "SIZE ²"):
        assert read_capabilities(Reply(250, ("x", odd))).size == 0


def test_replies_of_lax_servers() -> None:
    reader = ReplyReader()
    reader.feed(b"250\r\n250-\n250 caf\xc3\xa9 \xff\n221 x\r\n")
    assert reader.next(Stage.IDLE) == Reply(250, ("",))
    assert reader.next(Stage.IDLE) == Reply(250, ("", "café \ufffd"))
    assert reader.next(Stage.IDLE) == Reply(221, ("x",))
    assert reader.next(Stage.IDLE) is None
    assert reader.empty()
