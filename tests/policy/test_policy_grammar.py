"""The address grammar: tables, agreement with Python where the input is sound, cost by counted
steps.
"""

from __future__ import annotations

import email.policy
import email.utils
from collections.abc import Iterator
from email.headerregistry import AddressHeader

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.core.errors import AddressError, NonAsciiLocalPart
from waypost.policy import grammar
from waypost.policy.grammar import address_list, mailbox_list

LISTS = {
    "": [],
    "  \t ": [],
    "(nobody)": [],
    "undisclosed-recipients:;": [],
    "undisclosed-recipients: ;": [],
    "Undisclosed recipients:": [],
    "a@b": ["a@b"],
    "a@b,c@d": ["a@b", "c@d"],
    "a@b,": ["a@b"],
    ",, a@b ,,c@d,": ["a@b", "c@d"],
    "A <a@b>, <c@d>": ["a@b", "c@d"],
    '"Last, First" <a@b>, c@d': ["a@b", "c@d"],
    '"a@x, b" <a@b>': ["a@b"],
    "John Q. Public <a@b>": ["a@b"],
    "bob@example.com <a@b>": ["a@b"],
    "Sales @ Acme Inc. <a@b>": ["a@b"],
    "Jürgen Ü <a@b>": ["a@b"],
    "J\udcfcrgen <a@b>": ["a@b"],
    "=?utf-8?q?J=C3=BC?= <a@b>": ["a@b"],
    "=?utf-8?q?a,b@c.d,?= <a@b>, c@d": ["a@b", "c@d"],
    "=?utf-8?q?Foo_(Bar)?= <a@b>": ["a@b"],
    "a@b (comment (nested) \\) more)": ["a@b"],
    "(c) a (c) @ (c) b (c), (c) N (c) < (c) e@f (c) > (c)": ["a@b", "e@f"],
    "a . b @ c . d": ["a.b@c.d"],
    '"a"."b c"@d': ['"a.b c"@d'],
    '"a b"@c': ['"a b"@c'],
    '"a@b"@c': ['"a@b"@c'],
    "<@x,@y:a@b>": ["a@b"],
    "N <@x.example:a@b>": ["a@b"],
    "a@[192.0.2.1]": ["a@[192.0.2.1]"],
    "a@[IPv6:2001:db8::1], b@c": ["a@[ipv6:2001:db8::1]", "b@c"],
    "Team: a@b, N <c@d>;": ["a@b", "c@d"],
    'Team: a@b;, c@d, "T: 2": e@f,;': ["a@b", "c@d", "e@f"],
    "a@bücher.example": ["a@xn--bcher-kva.example"],
    "o'neil+x=1@b": ["o'neil+x=1@b"],
    "Bob\t\t<a@b>": ["a@b"],
    "bob<a@b>": ["a@b"],
}
UNREADABLE = [
    "a",
    "a b",
    "a b@c",
    "a@b c@d",
    "a@b; c@d",
    "a@b@c",
    "<a@b",
    "a@b>",
    "<>",
    "N <>",
    "<a@b> x",
    "<a@b> <c@d>",
    "<<a@b>>",
    '"open <a@b>',
    "(open a@b",
    "a@b)",
    "a..b@c",
    ".a@b",
    "a.@b",
    "a@b.",
    "a@",
    "@b",
    "a@b\x01",
    "T: a@b",
    "T: U: a@b;;",
    "T: a@b; c@d",
    ": a@b;",
    "mailto:a@b",
    "[x] <a@b>",
    "a\\b@c",
    "<@x a@b>",
    "(" * 40 + ")" * 40 + "a@b",
    "ü " * 1_100 + "<a@b>",
]


@pytest.mark.parametrize(("text", "addresses"), LISTS.items())
def test_address_lists(text: str, addresses: list[str]) -> None:
    assert [str(a) for a in address_list(text)] == addresses


@pytest.mark.parametrize("text", UNREADABLE)
def test_what_cannot_be_read_is_an_error_and_never_skipped(text: str) -> None:
    for whole in (text, f"ok@x, {text}", f"{text}, ok@x"):
        with pytest.raises(AddressError):
            list(address_list(whole))


@pytest.mark.parametrize("text", ["jürgen@b", "N <ü@b>", "a@b, 用户@c", "\udcfc@b"])
def test_local_parts_that_are_not_ascii(text: str) -> None:
    with pytest.raises(NonAsciiLocalPart):
        list(address_list(text))


STRICT = {
    "a@b": ("a@b", ""),
    " Alice  Example <a@b> ": ("a@b", "Alice Example"),
    '"Alice, E. \\"x\\"" <a@b>': ("a@b", 'Alice, E. "x"'),
    '"A  B" <a@b>': ("a@b", "A  B"),
    "Acme Inc. <a@b>": ("a@b", "Acme Inc."),
    "=?utf-8?q?J=C3=BCrgen?= <a@b>": ("a@b", "Jürgen"),
    '"=?utf-8?q?x?=" <a@b>': ("a@b", "=?utf-8?q?x?="),
    'A "b c" =?utf-8?q?d?= <a@b>': ("a@b", "A b c d"),
    "Jürgen <a@b>": ("a@b", "Jürgen"),
    "< a@b >": ("a@b", ""),
    "a@b (Alice)": ("a@b", ""),
    "x@y <a@b>": ("a@b", "x@y"),
}


@pytest.mark.parametrize(("text", "seen"), STRICT.items())
def test_mailboxes_with_names(text: str, seen: tuple[str, str]) -> None:
    (mailbox,) = mailbox_list(text)
    assert (str(mailbox.address), mailbox.name) == seen


@pytest.mark.parametrize(
    "text",
    ["", "()", ",a@b", "a@b,", "T: a@b;", "<@x:a@b>", "a @b", "a@ b", "a(c)@b", "<a@b(c)>",
     "a . b@c", "=?utf-8?q?a,b?= <a@b>", "=?utf-8?q?a<b?= <a@b>", *UNREADABLE],
)  # fmt: skip
def test_strict_refuses_obsolete_and_ambiguous_forms(text: str) -> None:
    with pytest.raises(AddressError):
        mailbox_list(text)


ATOM = st.from_regex(r"[A-Za-z0-9!#$%&'*+/=^_`{|}~-]{1,8}", fullmatch=True)
DOTTED = st.lists(ATOM, min_size=1, max_size=3).map(".".join)
HOST = st.from_regex(r"[a-z][a-z0-9]{0,8}(\.[a-z][a-z0-9]{1,5}){0,2}", fullmatch=True)
ADDRESS = st.builds("{}@{}".format, DOTTED, HOST)
NAME = st.lists(ATOM, min_size=1, max_size=3).map(" ".join) | st.from_regex(
    r'"[A-Za-z0-9 ,.;:@<>()]{1,12}"', fullmatch=True
)
MEMBER = ADDRESS | st.builds("{} <{}>".format, NAME, ADDRESS) | st.builds("<{}>".format, ADDRESS)


@given(st.lists(MEMBER, min_size=1, max_size=6))
def test_python_agrees_on_sound_lists(members: list[str]) -> None:
    text = ", ".join(members)
    ours = [str(a) for a in address_list(text)]
    old = [address for _, address in email.utils.getaddresses([text])]
    header = email.policy.default.header_factory("To", text)
    assert isinstance(header, AddressHeader)
    new = [a.addr_spec for a in header.addresses]
    assert ours == old == new
    assert [str(m.address) for m in mailbox_list(text)] == ours


SOUP = st.lists(
    st.sampled_from(
        ["a", "b.c", "@", "<", ">", ",", ";", ":", " ", '"x y"', '"', "(c)", "(", ".", "[1.2.3.4]",
         "=?utf-8?q?x,y?=", "=?utf-8?q?x?=", "ü", "\\", "\x01", "a@b", "N <c@d>", "\t"]
    ),
    max_size=14,
).map("".join)  # fmt: skip


@given(SOUP | st.lists(MEMBER | SOUP, max_size=4).map(",".join))
def test_the_short_cut_reads_as_the_grammar_does(text: str) -> None:
    assert outcome(lambda: [(str(a), "") for a in address_list(text)]) == outcome(
        lambda: [(str(a), "") for a, _, _ in grammar._Reader(text, grammar.Form.LENIENT).members()]
    )
    assert outcome(lambda: [(str(m.address), m.name) for m in mailbox_list(text)]) == outcome(
        lambda: [
            (str(a), grammar._plain(n))
            for a, n, _ in grammar._Reader(text, grammar.Form.STRICT).members()
        ]
    )


def outcome(read: object) -> object:
    assert callable(read)
    try:
        return read()
    except AddressError as error:
        return type(error)


class Counted:
    """Counts the tokens that were asked for."""

    def __init__(self) -> None:
        self.steps = 0

    def match(self, text: str, start: int) -> object:
        self.steps += 1
        return REAL_TOKEN.match(text, start)


REAL_TOKEN = grammar._TOKEN
BOMBS = [
    lambda n: "a (c) <x@y>," * n,
    lambda n: '"' + "\\" * n,
    lambda n: "(" + "\\(" * n,
    lambda n: "(c)" * n,
    lambda n: '""' * n,
    lambda n: "=?a?q?," * n,
    lambda n: "T:;," * n,
    lambda n: "<" * n,
    lambda n: "@" * n,
    lambda n: "." * n,
    lambda n: "a " * n,
]


@pytest.mark.parametrize("bomb", range(len(BOMBS)))
def test_steps_grow_no_faster_than_the_text(bomb: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def steps(n: int) -> int:
        counted = Counted()
        monkeypatch.setattr(grammar, "_TOKEN", counted)
        outcome(lambda: list(address_list(BOMBS[bomb](n))))
        return counted.steps

    assert steps(4_000) <= 4 * steps(1_000) + 50
    assert steps(4_000) <= len(BOMBS[bomb](4_000)) + 1


def test_reading_stops_where_the_caller_stops() -> None:
    given_out = address_list(",".join(f"a{i}@example.com" for i in range(60_000)))
    assert isinstance(given_out, Iterator)
    assert [str(next(given_out)) for _ in range(2)] == ["a0@example.com", "a1@example.com"]


def test_eight_thousand_addresses() -> None:
    text = ", ".join(f"u{i}@example{i}.com" for i in range(8_000))
    assert len(list(address_list(text))) == 8_000
