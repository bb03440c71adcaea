"""What goes out: the client's octets but for the listed changes, shown by comparing octets."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.core.address import Address, parse
from waypost.core.facts import Account, Directory, Sender
from waypost.core.message import Acceptance, Content, Submission
from waypost.policy.grammar import mailbox_list
from waypost.policy.header import split
from waypost.policy.judge import Rules, Stamp, judge

NOW_MS = 1_763_700_005_000
STAMP = Stamp(0x123456789ABCDEF0, NOW_MS)
ALICE = parse("alice@example.com")
BOB = parse("bob@example.net")
EOL = b"\r\n"
TOP = (
    b"Received: from client.example ([192.0.2.1])\r\n"
    b" by relay.example.com with ESMTPSA id 123456789abcdef0;\r\n"
    b" Fri, 21 Nov 2025 04:40:05 +0000\r\n"
)
FULL = b"Date: today\r\nMessage-ID: <x@y>\r\nFrom: alice@example.com\r\n"


def relay(
    message: bytes,
    received: str = "full",
    helo: str = "client.example",
    peer: str = "192.0.2.1",
    channel: str = "smtp",
    mail_from: Address | None = ALICE,
) -> Acceptance:
    head, rest = split(message)
    sender = Sender(1, ALICE, None, True, frozenset(), 1, "Operator", None, "")
    facts = Directory(1, (Account(1, "a", True, False, None, None, None, 0),), (), (sender,), ALICE)
    content = Content(head, rest, len(message), b"", not message.isascii())
    submission = Submission(channel, 1, None, peer, helo, True, mail_from, (BOB,), content)
    got = judge(submission, facts, Rules(hostname="relay.example.com", received=received), STAMP)
    assert isinstance(got, Acceptance), got
    return got


def out(message: bytes) -> bytes:
    got = relay(message)
    assert isinstance(got.rest, bytes)
    return got.head + got.rest


@pytest.mark.parametrize(
    "message",
    [
        FULL + b"\r\nbody\r\n.dots\r\n..\r\n",
        FULL + b"\r\n",
        FULL,
        FULL + b"Subject: caf\xe9 \xff\r\n\tf\r\n \r\n  m\r\nX:\r\n\r\n\xe9" + b"x" * 5000 + EOL,
        FULL + b"to : c@d\r\nCC:\r\n e@f\r\n__proto__: 1\r\nX-Bcc: a\r\nBcc-X: a\r\n\r\nBcc: b\r\n",
        FULL + b"DKIM-Signature: v=1; h=from:to;\r\n\tb=AAA\r\n   BBB\r\nFroma: x\r\n\r\n\r\n\r\n",
        FULL + b"X-Waypos: x\r\nReturn-Paths: x\r\nReceived: by x; y\r\n\r\n",
        FULL + b"Subject:" + b"x" * 5000 + b"\r\n\r\n",
    ],
)  # fmt: skip
def test_all_else_is_octet_for_octet(message: bytes) -> None:
    assert out(message) == TOP + message


@pytest.mark.parametrize(
    "dropped",
    [
        b"Bcc: a@b\r\n",
        b"bCC : a@b,\r\n\tc@d,\r\n \r\n e@f\r\n",
        b"BCC:\r\n",
        b"Resent-Bcc: not even readable\r\n",
        b"Return-Path: <x@y>\r\n",
        b"return-path:<>\r\n",
        b"Content-Length: 5\r\n",
        b"X-Waypost-Anything: x\r\n folded\r\n",
        b"x-wAYPOST-a\t: x\r\n",
        b"X-Waypost-: x\r\n",
    ],
)
def test_fields_are_taken_out_whole(dropped: bytes) -> None:
    for message in (
        dropped + FULL + b"\r\nbody\r\n",
        FULL + dropped + b"\r\nbody\r\n",
        FULL + dropped + b"X: y\r\n" + dropped,
        b"A: b\r\n" + dropped + dropped + FULL + b"\r\n" + dropped,
    ):
        head, rest = split(message)
        assert out(message) == TOP + head.replace(dropped, b"") + rest


def test_what_is_missing_is_put_under_received() -> None:
    date = b"Date: Fri, 21 Nov 2025 04:40:05 +0000\r\n"
    mid = b"Message-ID: <123456789abcdef0@relay.example.com>\r\n"
    origin = b"From: alice@example.com\r\n"
    rest = b"Subject: x\r\n\r\nbody\r\n"
    assert out(rest) == TOP + date + mid + origin + rest
    assert out(b"DATE : x\r\n" + rest) == TOP + mid + origin + b"DATE : x\r\n" + rest
    assert out(b"\r\nbody\r\n") == TOP + date + mid + origin + b"\r\nbody\r\n"
    assert out(b"") == TOP + date + mid + origin
    got = relay(rest)
    assert (got.message_id, got.smtp_message_id) == ("", mid.decode()[13:-3])


@pytest.mark.parametrize(
    ("helo", "peer", "first"),
    [
        ("h", "2001:db8::1", "from h ([IPv6:2001:db8::1])"),
        ("[192.0.2.9]", "192.0.2.1", "from [192.0.2.9] ([192.0.2.1])"),
        ("", "192.0.2.1", "from [192.0.2.1] ([192.0.2.1])"),
        ("a b\r\nBcc: x", "192.0.2.1", "from a?b?Bcc:?x ([192.0.2.1])"),
        ("x (y); \x1c\xe9\\z", "192.0.2.1", "from x?y?z ([192.0.2.1])"),
        ("h" * 900, "192.0.2.1", f"from {'h' * 255} ([192.0.2.1])"),
    ],
)
def test_received_tells_the_client(helo: str, peer: str, first: str) -> None:
    head = relay(FULL + b"\r\n", helo=helo, peer=peer).head.decode("ascii")
    assert head.startswith(f"Received: {first}\r\n by relay.example.com with ESMTPSA id ")
    assert head.count("\n") == 3 + 4


def test_received_may_be_private_and_knows_other_channels() -> None:
    by = b"Received: by relay.example.com with "
    assert relay(FULL, received="private").head.startswith(
        by + b"ESMTPSA id 123456789abcdef0;\r\n "
    )
    assert relay(FULL, channel="command").head.startswith(by + b"LOCAL id ")
    over_http = relay(FULL, channel="http", helo="").head
    assert over_http.startswith(
        b"Received: from [192.0.2.1] ([192.0.2.1])\r\n by relay.example.com with HTTPS id "
    )


LONG = "Ünïcode näme " * 12
NAMES = [
    "N" * 101,
    "word " * 40,
    'quote " and \\ ' * 12,
    LONG,
    "日本語" * 60,
    "x" * 95 + " alice@example.com",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_long_display_name_is_cut(name: str) -> None:
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    fold = b'FROM : "' + quoted.encode() + b'"\r\n <alice@example.com>\r\n'
    message = b"Date: x\r\nMessage-ID: <a@b>\r\n" + fold + b"Subject: s\r\n\r\nb\r\n"
    sent = out(message)
    before, _, after = sent.partition(b"FROM : ")
    assert before == TOP + b"Date: x\r\nMessage-ID: <a@b>\r\n"
    field, _, rest = after.partition(b"Subject: s")
    assert rest == b"\r\n\r\nb\r\n"
    assert field.isascii()
    assert all(len(line) < 200 for line in field.split(b"\r\n"))
    (mailbox,) = mailbox_list(field.decode().replace("\r\n", ""))
    assert mailbox.address == ALICE
    shown = name[:100].strip()
    assert mailbox.name == (shown if "@" not in shown else "x" * 95)


def test_a_display_name_of_a_hundred_is_not_touched() -> None:
    encoded = "=?utf-8?q?" + "=C3=BC" * 10 + "?="
    for name in ("N" * 100, " ".join([encoded] * 10)):
        message = FULL.replace(b"alice@", name.encode() + b" <alice@").replace(
            b".com\r", b".com>\r"
        )
        assert out(message + b"\r\n") == TOP + message + b"\r\n"


VARIANTS = ["Bcc", "BCC", "bcc", "bCc", "Resent-Bcc", "RESENT-BCC", "resent-bCC"]
SPACES = ["", " ", "\t", "  \t"]
FOLDS = ["", " ", "\r\n ", "\r\n\t", " \r\n \r\n  "]


def test_bcc_is_never_visible_in_a_thousand_messages() -> None:
    dice = random.Random(20251121)
    for number in range(1_000):
        secret = f"secret{number}"
        fields = [b"From: alice@example.com\r\n", b"To: bob@example.net\r\n", b"Subject: s\r\n"]
        for _ in range(dice.randint(1, 4)):
            name, space = dice.choice(VARIANTS), dice.choice(SPACES)
            value = ",".join(
                dice.choice(FOLDS) + f"{secret}.{i}@x.example" + dice.choice(FOLDS)
                for i in range(dice.randint(1, 5))
            )
            fields.append(f"{name}{space}:{value}\r\n".encode())
        dice.shuffle(fields)
        message = b"".join(fields) + dice.choice([b"", b"\r\nbody\r\n"])
        got = relay(message)
        assert secret.encode() not in got.head
        assert b"bcc" not in got.head.lower()
        kept = [f for f in fields if b"secret" not in f]
        assert got.head.endswith(b"".join(kept) + (b"\r\n" if b"\r\n\r\nbody" in message else b""))
        named = b"".join(f for f in fields if re.match(rb"bcc", f, re.I))
        expected = {m.decode() for m in re.findall(rb"secret[\d.]+@x\.example", named)}
        assert {str(a.address) for a in got.addressees} == expected | {"bob@example.net"}


NAME = st.from_regex(rb"[!-9;-~]{1,12}", fullmatch=True).filter(
    lambda n: n.lower()
    not in (b"from", b"sender", b"to", b"cc", b"bcc", b"resent-from", b"resent-sender",
            b"resent-bcc", b"return-path", b"content-length", b"date", b"message-id")
    and not n.lower().startswith(b"x-waypost-")
)  # fmt: skip
VALUE = st.lists(
    st.binary(max_size=20).map(
        lambda b: bytes(c for c in b if c not in b"\0\r\n\x0b\x0c\x1c\x1d\x1e")
    ),
    min_size=1,
    max_size=3,
).map(b"\r\n ".join)


@given(st.lists(st.tuples(NAME, VALUE), max_size=8), st.binary(max_size=60))
def test_any_other_field_and_any_body_pass_unchanged(
    fields: list[tuple[bytes, bytes]], body: bytes
) -> None:
    message = FULL + b"".join(n + b":" + v + b"\r\n" for n, v in fields) + b"\r\n" + body + b"\r\n"
    assert out(message) == TOP + message
