"""Who a mail is from: a table of hostile From fields, each refused; honest ones, each read as it is
shown.
"""

from __future__ import annotations

import pytest

from waypost.core.address import Address, parse
from waypost.core.facts import Account, Directory, Sender
from waypost.core.message import Content, Submission
from waypost.core.verdict import Reason, Refusal
from waypost.policy import header, sender
from waypost.policy.sender import Origin, foreign

GOOD = parse("good@a.example")


def directory(default: str = "", global_sender: str = "") -> Directory:
    addresses = ["good@a.example", "other@a.example", "g@a.example", '"a@b "@a.example']
    senders = [
        Sender(n, parse(a), None, True, frozenset(), 10 + n, "", None, "")
        for n, a in enumerate(addresses, 1)
    ]
    theirs = Sender(9, parse("theirs@b.example"), 2, False, frozenset(), 1, "", None, "")
    chosen = parse(default) if default else None
    accounts = (
        Account(1, "one", True, False, None, chosen, None, 0),
        Account(2, "two", True, False, None, None, None, 0),
    )
    everyones = parse(global_sender) if global_sender else None
    return Directory(1, accounts, (), (*senders, theirs), everyones)


def find(
    head: bytes, facts: Directory | None = None, mail_from: Address | None = GOOD
) -> Origin | Refusal:
    scanned = header.scan(head)
    if isinstance(scanned, Refusal):
        return scanned
    content = Content(head, b"", len(head), b"", False)
    submission = Submission("smtp", 1, None, "192.0.2.1", "h", True, mail_from, (), content)
    return sender.find(scanned, submission, facts or directory())


HOSTILE = [
    # several fields, odd spellings of the name
    b"From: good@a.example\r\nFrom: evil@b.example\r\n",
    b"From: evil@b.example\r\nFrom: good@a.example\r\n",
    b"From: good@a.example\r\nFrom: good@a.example\r\n",
    b"From: good@a.example\r\nfrom : evil@b.example\r\n",
    b"From\t: evil@b.example\r\nFROM: good@a.example\r\n",
    b"From : evil@b.example\r\n",
    b"From:\r\n evil@b.example\r\nFrom: good@a.example\r\n",
    b" From: evil@b.example\r\nFrom: good@a.example\r\n",
    b"From: good@a.example\r\nFrom:\r\n",
    b"From: good@a.example\r\n \r\nFrom: evil@b.example\r\n",
    # nothing, or no address
    b"From:\r\n",
    b"From: \t\r\n",
    b"From: (good@a.example)\r\n",
    b"From: <>\r\n",
    b"From: good\r\n",
    b"From: Good <good>\r\n",
    b"From: @a.example\r\n",
    b"From: good@\r\n",
    b"From: undisclosed:;\r\n",
    # several addresses
    b"From: good@a.example, evil@b.example\r\n",
    b"From: evil@b.example, good@a.example\r\n",
    b"From: good@a.example, other@a.example\r\n",
    b"From: good@a.example,\r\n",
    b"From: ,good@a.example\r\n",
    b"From: <good@a.example>, <evil@b.example>\r\n",
    b"From: <good@a.example> <evil@b.example>\r\n",
    b"From: <evil@b.example> <good@a.example>\r\n",
    b"From: good@a.example evil@b.example\r\n",
    b"From: good@a.example\r\n evil@b.example\r\n",
    b"From: good@a.example; evil@b.example\r\n",
    b"From: <evil@b.example>good@a.example\r\n",
    b"From: good@a.example <evil@b.example>\r\n",
    b"From: evil@b.example <good@a.example>\r\n",
    b"From: evil@b.example <good@a.example> (x)\r\n",
    b"From: <good@a.example>evil@b.example\r\n",
    b"From: <<good@a.example>>\r\n",
    b"From: <good@a.example><evil@b.example>\r\n",
    # groups, routes, obsolete forms
    b"From: team: good@a.example;\r\n",
    b"From: team: good@a.example, evil@b.example;\r\n",
    b"From: <@evil.example:good@a.example>\r\n",
    b"From: <@evil.example,@b.example:good@a.example>\r\n",
    b"From: @evil.example,@b.example:good@a.example\r\n",
    b"From: good . x@a.example\r\n",
    b"From: good @ a.example\r\n",
    b"From: good@(evil)a.example\r\n",
    b"From: good(evil@b.example)@a.example\r\n",
    b"From: <good@a.example(>evil@b.example<)>\r\n",
    # names and comments that show another address
    b'From: "evil@b.example" <good@a.example>\r\n',
    b'From: "Evil evil@b.example" <good@a.example>\r\n',
    b'From: "<evil@b.example>" <good@a.example>\r\n',
    b'From: "evil@b.example\\" <x" <good@a.example>\r\n',
    b"From: good@a.example (evil@b.example)\r\n",
    b"From: (evil@b.example) good@a.example\r\n",
    b"From: (a (b evil@b.example)) good@a.example\r\n",
    b"From: good@a.example ((evil)@b.example x@y.z)\r\n",
    b"From: =?utf-8?q?evil=40b=2Eexample?= <good@a.example>\r\n",
    b"From: =?utf-8?b?ZXZpbEBiLmV4YW1wbGU=?= <good@a.example>\r\n",
    b"From: =?utf-8?q?evil?= =?utf-8?q?=40b=2Eexample?= <good@a.example>\r\n",
    b"From: =?utf-7?q?evil+AEA-b.example?= <good@a.example>\r\n",
    b"From: =?nothing?q?evil=40b.example?= <good@a.example>\r\n",
    b"From: =?utf-16?b?AGUAdgBpAGwAQABiAC4AZQB4AGEAbQBwAGwAZQ==?= <good@a.example>\r\n",
    b"From: =?utf-16?b?ZQB2AGkAbABAAGIALgBlAHgAYQBtAHAAbABlAA==?= <good@a.example>\r\n",
    b'From: "=?utf-8?q?x?=" =?utf-8?q?evil=40b.example?= <good@a.example>\r\n',
    b"From: =?utf-8?q?evil=40b.example=3E_=3C?= <good@a.example>\r\n",
    b"From: =?utf-8?q?evil@b.example,?= <good@a.example>\r\n",
    b"From: =?utf-8?q?a=00b?= <good@a.example>\r\n",
    b"From: =?utf-8?q?a=0D=0ABcc:_x?= <good@a.example>\r\n",
    "From: evil＠b.example <good@a.example>\r\n".encode(),
    "From: evil\u200b@\u200bb.example <good@a.example>\r\n".encode(),
    b"From: good@a.example.evil <good@a.example>\r\n",
    b'From: "evil@b.example@" <good@a.example>\r\n',
    b'From: "evil@b.example"@ <good@a.example>\r\n',
    b"From: *@b.example <good@a.example>\r\n",
    b'From: "!@b.example" <good@a.example>\r\n',
    b"From: evil @ b.example <good@a.example>\r\n",
    b"From: evil@ b.example <good@a.example>\r\n",
    b"From: evil\r\n @b.example <good@a.example>\r\n",
    b'From: "evil" @(x) b.example <good@a.example>\r\n',
    b"From: evil (x) @ b . example <good@a.example>\r\n",
    b'From: "=?utf-8?q?evil=40b.example?=" <good@a.example>\r\n',
    b'From: "=?utf-8?q?a=0D=0ABcc:_x?=" <good@a.example>\r\n',
    # addresses that only look right
    b"From: good@a.example.\r\n",
    b"From: good@a.example@b.example\r\n",
    b"From: good@b.example@a.example\r\n",
    b"From: good%b.example@c.example\r\n",
    b'From: "good@a.example"@b.example\r\n',
    b'From: "good@a.example>"@b.example\r\n',
    b"From: good@[192.0.2.1]\r\n",
    b"From: good@a.example\\@b.example\r\n",
    "From: good@a.example\u202e\r\n".encode(),
    "From: good@\u202ea.example\r\n".encode(),
    "From: good@a\ufeff.example\r\n".encode(),
    "From: Good <good@a\u00ad.example>\r\n".encode(),
    "From: good@a.exam\u200bple\r\n".encode(),
    "From: good@a.example\ufe0f\r\n".encode(),
    "From: good@\u0430.example\r\n".encode(),  # a Cyrillic a
    b"From: good@a.example\x01\r\n",
    b"From: good@a.example\x7f\r\n",
    b"From: good@a..example\r\n",
    b"From: theirs@b.example\r\n",
    # strings and comments that do not end
    b'From: "Good <good@a.example>\r\n',
    b"From: Good (x <good@a.example>\r\n",
    b"From: Good) <good@a.example>\r\n",
    b"From: Good <good@a.example\r\n",
    b"From: =?utf-8?q?a(b?= <good@a.example>\r\n",
    b"From: " + b"(" * 500_000 + b"\r\n",
    b"From: mailto:good@a.example\r\n",
    # another identity beside a good From
    b"From: good@a.example\r\nSender: evil@b.example\r\n",
    b"From: good@a.example\r\nSender : theirs@b.example\r\n",
    b"From: good@a.example\r\nSender: not readable\r\n",
    b"From: good@a.example\r\nSender: evil@b.example <good@a.example>\r\n",
    b"From: good@a.example\r\nResent-From: other@a.example, evil@b.example\r\n",
    b"From: good@a.example\r\nRESENT-SENDER: evil@b.example\r\n",
    b"From: good@a.example\r\nSender: good@a.example\r\nSender: evil@b.example\r\n",
]


@pytest.mark.parametrize("lines", HOSTILE)
def test_hostile_from(lines: bytes) -> None:
    got = find(lines + b"Subject: x\r\n\r\n")
    assert isinstance(got, Refusal), got
    assert got.reason in (Reason.SENDER, Reason.MALFORMED)
    line = got.smtp_line
    assert line.startswith(("550 5.7.1 ", "550 5.6.0 "))
    assert line.isprintable()
    assert line[10:] == got.text  # nothing was cut or replaced


def test_the_table_is_long_enough() -> None:
    assert len(set(HOSTILE)) == len(HOSTILE) >= 60


HONEST = {
    b"good@a.example": "",
    b"<good@a.example>": "",
    b"GOOD@A.Example": "",
    b"Good <good@a.example>": "Good",
    b"Good\r\n\t<good@a.example>": "Good",
    b'"Good, Inc. <x>" <good@a.example>': "Good, Inc. <x>",
    b"Good Q. Name Inc. <good@a.example>": "Good Q. Name Inc.",
    b"good@a.example <good@a.example>": "good@a.example",
    b'"GOOD@a.example" <good@a.example>': "GOOD@a.example",
    b"\"'good@a.example'\" <good@a.example>": "'good@a.example'",
    b"=?utf-8?q?J=C3=BC_=40_work?= <good@a.example>": "Jü @ work",
    "Jürgen <good@a.example>".encode(): "Jürgen",
    b"J\xfcrgen <good@a.example>": "J\udcfcrgen",
    b"@good <good@a.example>": "@good",
    b"'@good' <good@a.example>": "'@good'",
    b'"@good.example" <good@a.example>': "@good.example",
    b"Sales @ Acme <good@a.example>": "Sales @ Acme",
    b"Sales @ Acme. <good@a.example>": "Sales @ Acme.",
    b'"Sales @ b.example" <good@a.example>': "Sales @ b.example",
    b"good @ a.example <good@a.example>": "good@a.example",
    b'"=?utf-8?q?J=C3=BC?=" <good@a.example>': "=?utf-8?q?J=C3=BC?=",
    b"good@a.example (Good)": "",
    b"good@a.example (good@a.example)": "",
    b" (x) Good (y) <good@a.example> (z)": "Good",
}


@pytest.mark.parametrize(("value", "name"), HONEST.items())
def test_honest_from(value: bytes, name: str) -> None:
    got = find(b"From: " + value + b"\r\n\r\n")
    assert isinstance(got, Origin), got
    assert got.sender.id == 1
    assert got.mailbox is not None
    assert got.mailbox.name == name


def test_a_quoted_local_part_stays_itself() -> None:
    got = find(b'From: "a@b "@a.example\r\n\r\n')
    assert isinstance(got, Origin)
    assert got.sender.id == 4


def test_a_local_part_that_is_not_ascii() -> None:
    got = find("From: gööd@a.example\r\n\r\n".encode())
    assert isinstance(got, Refusal)
    assert got.smtp_line.startswith("550 5.6.7 ")


def test_other_identities_that_are_allowed() -> None:
    got = find(
        b"From: good@a.example\r\nSender: O <other@a.example>\r\n"
        b"Resent-From: good@a.example, other@a.example\r\nReply-To: evil@b.example\r\n\r\n"
    )
    assert isinstance(got, Origin)


@pytest.mark.parametrize(
    ("mail_from", "default", "global_sender", "used"),
    [
        ("other@a.example", "good@a.example", "g@a.example", 2),
        ("evil@b.example", "good@a.example", "g@a.example", None),
        ("theirs@b.example", "good@a.example", "g@a.example", None),
        ("", "good@a.example", "g@a.example", 1),
        ("", "", "g@a.example", 3),
        ("", "theirs@b.example", "g@a.example", 3),
        ("", "", "", None),
        ("", "", "evil@b.example", None),
    ],
)
def test_without_a_from(mail_from: str, default: str, global_sender: str, used: int | None) -> None:
    got = find(
        b"Subject: x\r\n\r\n",
        directory(default, global_sender),
        parse(mail_from) if mail_from else None,
    )
    if used is None:
        assert isinstance(got, Refusal)
        assert got.reason is Reason.SENDER
    else:
        assert isinstance(got, Origin)
        assert got.sender.id == used
        assert got.mailbox is None


def test_a_refusal_names_the_address_and_what_to_do() -> None:
    got = find(b"From: evil@b.example\r\n\r\n")
    assert isinstance(got, Refusal)
    assert "evil@b.example in From" in got.text
    assert "have it added" in got.text


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a b", ""), ("x@y", "x@y"), ("mail good@a.example now", ""), ("@", ""), ("a@", ""),
     ("GOOD@A.EXAMPLE, z@w", "z@w"), ("good@a.example.", ""), ("x＠y", "x@y")],
)  # fmt: skip
def test_foreign(text: str, shown: str) -> None:
    assert foreign(text, GOOD) == shown
