"""The verdict: every refusal with its answer, recipients, and what an acceptance carries."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.core.address import parse
from waypost.core.facts import Account, Directory, Key, RecipientsFrom, Sender
from waypost.core.message import Acceptance, Content, SpoolPart, Submission
from waypost.core.verdict import Reason, Refusal
from waypost.policy.header import split
from waypost.policy.judge import (
    Rules,
    Stamp,
    judge,
    key_refusal,
    known_at_mail,
    needs_body,
    rate_per_minute,
)
from waypost.policy.line_ends import Flags, Mender

RULES = Rules(hostname="relay.example.com")
STAMP = Stamp(0x123456789ABCDEF0, 1_763_700_005_000)
ALICE = parse("alice@example.com")
FROM = b"From: alice@example.com\r\n"
HEADERS, ENVELOPE, DISABLED, OTHERS, LOST = 1, 2, 3, 4, 99


def key(number: int, account: int, enabled: bool, kind: RecipientsFrom) -> Key:
    return Key(number, account, "k", bytes([number]) * 32, "last", enabled, kind, 0)


ACCOUNTS = (
    Account(1, "a", True, False, None, None, None, 0),
    Account(2, "off", False, False, 7, None, None, 0),
    Account(3, "none", True, True, 0, None, None, 0),
)
KEYS = (
    key(HEADERS, 1, True, RecipientsFrom.HEADERS),
    key(ENVELOPE, 1, True, RecipientsFrom.ENVELOPE),
    key(DISABLED, 1, False, RecipientsFrom.HEADERS),
    key(OTHERS, 2, True, RecipientsFrom.HEADERS),
)
SENDERS = (Sender(5, ALICE, None, True, frozenset(), 50, "Alice", None, ""),)
FACTS = Directory(42, ACCOUNTS, KEYS, SENDERS, None)


def submission(message: bytes, *rcpt: str, key_id: int | None = HEADERS, **more: Any) -> Submission:
    head, rest = split(message)
    content = Content(head, rest, len(message), b"d" * 32, not message.isascii())
    made = Submission(
        "smtp", 1, key_id, "192.0.2.1", "h", True, ALICE, tuple(map(parse, rcpt)), content
    )
    return msgspec.structs.replace(made, **more)


def verdict(
    message: bytes, *rcpt: str, key_id: int | None = HEADERS, rules: Rules = RULES
) -> Acceptance | Refusal:
    mender = Mender()
    mended = mender.feed(message) + mender.finish()
    return judge(submission(mended, *rcpt, key_id=key_id), FACTS, rules, STAMP, None, mender.flags)


def accepted(message: bytes, *rcpt: str, key_id: int | None = HEADERS) -> Acceptance:
    got = verdict(message, *rcpt, key_id=key_id)
    assert isinstance(got, Acceptance), got
    return got


def goes_to(message: bytes, *rcpt: str, key_id: int | None = HEADERS) -> list[tuple[str, bool]]:
    got = accepted(message, *rcpt, key_id=key_id)
    return [(str(a.address), a.header_only) for a in got.addressees]


MANY = b",".join(b"u%d@x.example" % n for n in range(101))
REFUSED = [
    (b"Subject: x\r\n\r\na\0b\r\n", ["b@c"], "550 5.6.0"),
    (b"From\0: alice@example.com\r\n\r\n", ["b@c"], "550 5.6.0"),
    (FROM + b"Subject: hi\x1cBcc: x@y\r\n\r\n", ["b@c"], "550 5.6.0"),
    (b" " + FROM + b"\r\n", ["b@c"], "550 5.6.0"),
    (b"Hello,\r\n\r\nno header at all\r\n", ["b@c"], "550 5.6.0"),
    (b"X: " + b"y" * (1 << 20) + b"\r\n\r\n", ["b@c"], "550 5.3.4"),
    (FROM + b"Received: x\r\n" * 51 + b"\r\n", ["b@c"], "550 5.4.6"),
    (FROM + FROM + b"\r\n", ["b@c"], "550 5.7.1"),
    (b"From: eve@example.com\r\n\r\n", ["b@c"], "550 5.7.1"),
    (FROM + b"To: not an address\r\n\r\n", ["b@c"], "550 5.1.3"),
    (FROM + b"Cc: ok@x.example, <broken\r\n\r\n", ["b@c"], "550 5.1.3"),
    (FROM + b"Bcc: a b c\r\n\r\n", ["b@c"], "550 5.1.3"),
    (FROM + b"To: ok@x.example\r\nTo: nonsense\r\n\r\n", ["b@c"], "550 5.1.3"),
    ("From: alice@example.com\r\nTo: jürgen@x.example\r\n\r\n".encode(), ["b@c"], "550 5.6.7"),
    (FROM + b"To: undisclosed-recipients:;\r\n\r\n", [], "550 5.5.3"),
    (FROM + b"To: " + MANY + b"\r\n\r\n", [], "550 5.5.3"),
    (FROM + b"To: " + MANY[:-13] + b"\r\nCc: z@y\r\n\r\n", ["b@c"], "550 5.5.3"),
    (FROM + b"\r\n", [f"u{n}@x.example" for n in range(101)], "550 5.5.3"),
    (FROM + b"\r\n" + b"x" * 31_457_280 + b"\r\n", ["b@c"], "550 5.3.4"),
    (FROM + b"\r\n" + b"x" * 10_485_761 + b"\r\n", ["b@c"], "550 5.3.4"),
]


@pytest.mark.parametrize(("message", "rcpt", "answer"), REFUSED)
def test_refusals(message: bytes, rcpt: list[str], answer: str) -> None:
    got = verdict(message, *rcpt)
    assert isinstance(got, Refusal), got
    assert got.smtp_line.startswith(answer + " ")
    assert len(got.smtp_line) <= 510
    assert got.smtp_line.isprintable()
    assert got.smtp_line.endswith(got.text)


def test_bare_line_ends_by_configuration() -> None:
    message = FROM + b"To: b@c\n\r\nbody\r\n"
    assert accepted(message).head.endswith(FROM + b"To: b@c\r\n\r\n")
    strict = msgspec.structs.replace(RULES, bare_newline="refuse")
    got = verdict(message, rules=strict)
    assert isinstance(got, Refusal)
    assert got.smtp_line.startswith("550 5.6.11 ")
    assert isinstance(verdict(message.replace(b"c\n", b"c\r\n"), rules=strict), Acceptance)


def test_a_mended_line_cannot_hide_a_field() -> None:
    assert goes_to(FROM + b"Subject: x\nBcc: b@c\r\n\r\n") == [("b@c", True)]
    got = verdict(FROM + b"Subject: x\nFrom: eve@example.com\r\n\r\n", "b@c")
    assert isinstance(got, Refusal)


def test_rcpt_first_then_to_cc_bcc_each_once_in_any_case() -> None:
    message = (
        FROM
        + b"Bcc: h@x.example, B@c.example\r\nCc: g@x.example\r\nTo: e@x.example, E@X.example\r\n"
        b"To: Group: f@x.example, g@x.example;\r\n\r\n"
    )
    assert goes_to(message, "d@c.example", "b@c.example", "D@C.example") == [
        ("d@c.example", False),
        ("b@c.example", False),
        ("e@x.example", True),
        ("f@x.example", True),
        ("g@x.example", True),
        ("h@x.example", True),
    ]


def test_an_envelope_key_reads_no_header() -> None:
    message = FROM + b"To: nonsense, list@x.example\r\nBcc: z@x.example\r\n\r\n"
    assert goes_to(message, "b@c", key_id=ENVELOPE) == [("b@c", False)]
    got = verdict(message, key_id=ENVELOPE)
    assert isinstance(got, Refusal)
    assert got.reason is Reason.RECIPIENTS
    assert b"Bcc" not in accepted(message, "b@c", key_id=ENVELOPE).head


def test_the_command_line_reads_headers() -> None:
    assert goes_to(FROM + b"To: b@c\r\n\r\n", key_id=None) == [("b@c", True)]


@pytest.mark.parametrize("empty", [b"", b"To:\r\n", b"To: undisclosed-recipients:;\r\nCc: \r\n"])
def test_an_empty_to_names_nobody(empty: bytes) -> None:
    assert goes_to(FROM + empty + b"\r\n", "b@c") == [("b@c", False)]


def test_a_hundred_pass_however_often_they_are_named() -> None:
    hundred = MANY.rpartition(b",")[0]
    message = FROM + b"To: " + hundred + b"\r\nCc: " + hundred.upper() + b"\r\n\r\n"
    assert len(goes_to(message, *[f"u{n}@x.example" for n in range(100)] * 5)) == 100


@given(st.lists(st.integers(0, 9), max_size=9), st.lists(st.integers(0, 9), min_size=1))
def test_the_set_is_distinct_and_complete(header: list[int], rcpt: list[int]) -> None:
    to = b", ".join(b"U%d@x.example" % n for n in header)
    got = goes_to(FROM + b"To: " + to + b"\r\n\r\n", *[f"u{n}@x.example" for n in rcpt])
    assert [int(a[1]) for a, only in got if not only] == list(dict.fromkeys(rcpt))
    assert {int(a[1]) for a, only in got if only} == set(header) - set(rcpt)


def test_what_an_acceptance_carries() -> None:
    got = accepted(
        FROM + b"Subject: =?utf-8?q?J=C3=BC=0A_x?=\r\nMessage-ID:\r\n <a.b@c>\r\n\r\nb\xe9\r\n",
        "b@c",
    )
    assert (got.id, got.generation, got.sender_id, got.upstream_id) == (STAMP.id, 42, 5, 50)
    assert (got.envelope_from, got.subject, got.null_sender) == (ALICE, "Jü  x", False)
    assert (got.message_id, got.smtp_message_id) == ("a.b@c", "a.b@c")
    assert (got.eight_bit, got.rate_per_minute, got.repeat_window_ms) == (True, 120, 86_400_000)
    assert got.rest == b"b\xe9\r\n"


@pytest.mark.parametrize(
    ("field", "ids"),
    [
        (b"Message-ID: <x@y> \r\n", ("x@y", "x@y")),
        (b"message-id : x@y\r\n", ("x@y", "x@y")),
        (b"Message-ID:\r\n", ("", "")),
        (b"Message-ID: <" + b"x" * 2000 + b">\r\n", ("", "x" * 998)),
        (b"", ("", "123456789abcdef0@relay.example.com")),
    ],
)
def test_message_ids(field: bytes, ids: tuple[str, str]) -> None:
    got = accepted(FROM + field + b"\r\n", "b@c")
    assert (got.message_id, got.smtp_message_id) == ids
    assert got.head.lower().count(b"message-id") == 1


def test_subjects_are_one_line_of_bounded_length() -> None:
    assert len(accepted(FROM + b"Subject: " + b"x" * 90_000 + b"\r\n\r\n", "b@c").subject) == 988
    for raw in (b"a\tb\r\n\tc", b"a\x01\x7fb", b"\xff\xe2\x80\xa8x", b"=?utf-8?b?AAECGw==?=x"):
        subject = accepted(FROM + b"Subject: " + raw + b"\r\n\r\n", "b@c").subject
        assert subject.isprintable()
        subject.encode()


def test_a_null_sender_is_kept_and_the_sender_named_by_from() -> None:
    made = submission(FROM + b"\r\n", "b@c", mail_from=None)
    got = judge(made, FACTS, RULES, STAMP)
    assert isinstance(got, Acceptance)
    assert got.null_sender
    assert got.envelope_from == ALICE


def test_mail_from_of_another_does_not_matter_beside_a_from() -> None:
    made = submission(FROM + b"\r\n", "b@c", mail_from=parse("x@elsewhere.example"))
    got = judge(made, FACTS, RULES, STAMP)
    assert isinstance(got, Acceptance)
    assert got.envelope_from == ALICE


@pytest.mark.parametrize(
    ("account", "key_id", "reason"),
    [
        (1, HEADERS, None),
        (1, None, None),
        (1, DISABLED, Reason.KEY_DISABLED),
        (1, LOST, Reason.KEY_UNKNOWN),
        (1, OTHERS, Reason.KEY_UNKNOWN),
        (2, OTHERS, Reason.ACCOUNT_DISABLED),
        (2, None, Reason.ACCOUNT_DISABLED),
        (9, None, Reason.KEY_UNKNOWN),
    ],
)
def test_keys_and_accounts(account: int, key_id: int | None, reason: Reason | None) -> None:
    refused = key_refusal(FACTS, account, key_id)
    assert (refused.reason if refused else None) is reason
    made = submission(FROM + b"\r\n", "b@c", key_id=key_id, account_id=account)
    got = judge(made, FACTS, RULES, STAMP)
    assert (got.reason if isinstance(got, Refusal) else None) is reason
    at_mail = known_at_mail(FACTS, RULES, account, key_id, 1, None)
    assert (at_mail.reason if at_mail else None) is reason


def test_known_at_mail() -> None:
    assert known_at_mail(FACTS, RULES, 1, HEADERS, 1, 1) is None
    no_room = known_at_mail(FACTS, RULES, 1, HEADERS, 0, 1)
    assert no_room is not None
    assert no_room.smtp_line.startswith("421 4.7.0 More than 120 ")
    broke = known_at_mail(FACTS, RULES, 1, HEADERS, 1, 0)
    assert broke is not None
    assert broke.smtp_line.startswith("451 4.7.1 ")
    assert known_at_mail(FACTS, RULES, 3, None, 0, None) is None  # no rate


@pytest.mark.parametrize(("account", "rate"), [(1, 120), (2, 7), (3, 0), (9, 120)])
def test_rates(account: int, rate: int) -> None:
    assert rate_per_minute(FACTS, RULES, account) == rate


def test_a_large_spooled_message_is_walked_from_its_offset() -> None:
    rules = msgspec.structs.replace(RULES, body_bytes=100)
    spooled = b"?" * 500 + b"x" * 90 + b"\r\n"
    content = Content(FROM + b"\r\n", SpoolPart("f", 500, 92), 600, b"", False)
    made = submission(FROM + b"\r\n", "b@c", content=content)
    assert needs_body(made, rules)
    assert not needs_body(made, RULES)
    assert isinstance(judge(made, FACTS, rules, STAMP, spooled), Acceptance)
    refused = judge(made, FACTS, rules, STAMP, spooled + b"x" * 9)
    assert isinstance(refused, Refusal)
    assert refused.reason is Reason.TOO_LARGE
    with pytest.raises(ValueError, match="spooled"):
        judge(made, FACTS, rules, STAMP)


def test_a_large_message_of_attachments_passes() -> None:
    part = b"--b\r\nContent-Type: image/png\r\n\r\n" + b"x" * 11_000_000 + b"\r\n--b--\r\n"
    got = verdict(FROM + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + part, "b@c")
    assert isinstance(got, Acceptance)


@given(st.binary(max_size=300), st.sampled_from([b"", FROM, b"To: "]))
def test_any_message_gets_a_verdict(data: bytes, start: bytes) -> None:
    got = verdict(start + data, "b@c")
    assert isinstance(got, Acceptance | Refusal)
    if isinstance(got, Refusal):
        assert len(got.smtp_line) <= 510
        assert got.smtp_line.isprintable()


def test_flags_are_clean_unless_told() -> None:
    assert Flags() == Flags(bare=False, nul=False, eight_bit=False)
