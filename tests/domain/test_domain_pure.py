"""The parts that only return: the tree walk, reading and mending records."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.domain import tags
from waypost.domain.answers import Answer, Status
from waypost.domain.dkim import keys
from waypost.domain.dmarc import record as records
from waypost.domain.dmarc.walk import aligned, names, walk
from waypost.domain.spf import mend, terms
from waypost.domain.spf.macros import Session, expand

REJECT, NOT_PUBLIC, PUBLIC = "v=DMARC1; p=reject", "v=DMARC1; psd=n", "v=DMARC1; psd=y"


class Records:
    """DMARC records by domain; FAIL is a name that cannot be asked."""

    def __init__(self, found: dict[str, str]) -> None:
        self._found = found
        self.asked: list[str] = []

    def ask(self, name: str, kind: str) -> Answer:
        self.asked.append(name)
        text = self._found.get(name.removeprefix("_dmarc."))
        if text is None:
            return Answer(name, kind, Status.ABSENT)
        if text == "FAIL":
            return Answer(name, kind, Status.FAILED, why="SERVFAIL")
        return Answer(name, kind, Status.FOUND, tuple(text.split("|")))


def test_the_names_of_a_walk() -> None:
    """RFC 9989 4.10: at most 8, and the domain itself is the first."""
    assert names("example.com") == ["example.com", "com"]
    assert names("a.b.c.example.com") == [
        *("a.b.c.example.com", "b.c.example.com", "c.example.com", "example.com", "com")
    ]
    assert names("a.b.c.d.e.f.g.h.i.j.mail.example.com") == [
        "a.b.c.d.e.f.g.h.i.j.mail.example.com",
        *("g.h.i.j.mail.example.com", "h.i.j.mail.example.com"),
        *("i.j.mail.example.com", "j.mail.example.com", "mail.example.com", "example.com", "com"),
    ]
    for count in range(1, 30):
        assert len(names(".".join(["x"] * count))) <= 8


@pytest.mark.parametrize(
    ("domain", "found", "policy", "organizational"),
    [
        ("example.com", {}, None, "example.com"),
        ("example.com", {"example.com": REJECT}, "example.com", "example.com"),
        ("a.example.com", {"example.com": REJECT}, "example.com", "example.com"),
        ("a.example.com", {"a.example.com": REJECT}, "a.example.com", "a.example.com"),
        (
            "a.example.com",
            {"a.example.com": REJECT, "example.com": REJECT},
            "a.example.com",
            "example.com",
        ),
        # RFC 9989 4.10.2: psd=n ends the walk, psd=y is above the organization.
        ("b.a.com", {"b.a.com": NOT_PUBLIC, "a.com": REJECT}, "b.a.com", "b.a.com"),
        ("c.b.a.com", {"b.a.com": NOT_PUBLIC, "a.com": REJECT}, "b.a.com", "b.a.com"),
        ("b.a.bank", {"bank": PUBLIC}, "bank", "a.bank"),
        ("b.a.bank", {"bank": PUBLIC, "a.bank": REJECT}, "a.bank", "a.bank"),
        ("a.bank", {"a.bank": PUBLIC, "bank": PUBLIC}, "a.bank", "a.bank"),
        ("bank", {"bank": PUBLIC}, "bank", "bank"),
        # Several records are as good as none.
        ("a.com", {"a.com": f"{REJECT}|{REJECT}"}, None, "a.com"),
        ("b.a.com", {"b.a.com": f"{REJECT}|{REJECT}", "a.com": REJECT}, "a.com", "a.com"),
        ("a.com", {"a.com": "v=DMARC2; p=reject|other"}, None, "a.com"),
        # The record of a name between is not looked for once the walk found one further up.
        ("c.b.a.com", {"b.a.com": REJECT, "a.com": REJECT}, "a.com", "a.com"),
        # A long name: eight questions.
        (".".join(["x"] * 12) + ".a.com", {"a.com": REJECT}, "a.com", "a.com"),
    ],
)
def test_the_walk(
    domain: str, found: dict[str, str], policy: str | None, organizational: str
) -> None:
    ask = Records(found)
    walked = walk(ask, domain)
    assert (walked.policy.domain if walked.policy else None) == policy
    assert walked.organizational == organizational
    assert len(ask.asked) <= 8


def test_what_could_not_be_asked_is_not_missing() -> None:
    assert walk(Records({"a.com": "FAIL"}), "b.a.com").unsure
    assert walk(Records({"b.a.com": "FAIL", "a.com": REJECT}), "b.a.com").unsure
    assert not walk(Records({"com": "FAIL"}), "b.a.com").unsure, "a top label may be refused"


@pytest.mark.parametrize(
    ("identity", "strict", "same"),
    [
        ("a.com", False, True),
        ("A.com.", True, True),
        ("b.a.com", False, True),
        ("b.a.com", True, False),
        ("c.com", False, False),
        ("own.a.com", False, False),  # psd=n
        ("a.org", False, False),
    ],
)
def test_alignment(identity: str, strict: bool, same: bool) -> None:
    ask = Records({"a.com": REJECT, "own.a.com": NOT_PUBLIC, "c.com": REJECT})
    assert aligned(ask, walk(ask, "a.com"), identity, strict=strict) is same


SPF_TEXT = st.lists(
    st.sampled_from(
        ["v=spf1", "a", "mx", "+all", "-all", "~all", "?all", "all", "include:a.example", "ptr",
         "ip4:1.2.3.4", "ipv4:1.2.3.4", "include=b.example", "redirect=c.example", "exp=d.example",
         "ip4:1", "include:", "e.example", "x=y", '"', ";", "v=spf1;", "ip6:::1", "IP4:1.2.3.4"]
    ), max_size=8).map(" ".join)  # fmt: skip


@given(st.lists(SPF_TEXT, max_size=3))
def test_a_mended_spf_record_is_right(texts: list[str]) -> None:
    made = mend.mended(texts, ["include:mine.example"])
    record = terms.parse(made)
    assert terms.is_record(made)
    assert record.problems == ()
    assert "include:mine.example" in made.split()
    assert record.all is None or record.all.qualifier in "-~"
    assert record.all is not None or record.redirect is not None
    assert record.all is None or record.directives[-1] is record.all
    assert mend.mended([made]) == made, "and stays as it is"


@given(st.text(alphabet="v=spf1DMARC ;:\\\"'.-_alincudepqt,@!", max_size=120))
def test_no_record_breaks_its_reader(text: str) -> None:
    record = terms.parse(f"v=spf1 {text}")
    assert all(problem.why for problem in record.problems)
    made = records.mended((text,), "postmaster@a.example")
    mended = records.parse(made)
    assert records.is_record(made)
    assert (mended.bad, mended.retired, mended.unknown, mended.problem) == ((), (), (), "")
    assert mended.p in records.POLICIES
    assert any(report.domain for report in mended.rua)
    tags.parse(text)
    mend.near_miss(text)
    records.near_miss(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # RFC 7208 7.4
        ("%{s}", "strong-bad@email.example.com"),
        ("%{o}", "email.example.com"),
        ("%{d}", "email.example.com"),
        ("%{d4}", "email.example.com"),
        ("%{d3}", "email.example.com"),
        ("%{d2}", "example.com"),
        ("%{d1}", "com"),
        ("%{dr}", "com.example.email"),
        ("%{d2r}", "example.email"),
        ("%{l}", "strong-bad"),
        ("%{l-}", "strong.bad"),
        ("%{lr}", "strong-bad"),
        ("%{lr-}", "bad.strong"),
        ("%{l1r-}", "strong"),
        ("%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"),
        ("%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"),
        (
            "%{lr-}.lp.%{ir}.%{v}._spf.%{d2}",
            "bad.strong.lp.3.2.0.192.in-addr._spf.example.com",
        ),
        (
            "%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}",
            "3.2.0.192.in-addr.strong.lp._spf.example.com",
        ),
        ("%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net"),
        ("%%%_%-", "% %20"),
        ("%{S}", "strong-bad%40email.example.com"),
    ],
)
def test_the_macros_of_the_rfc(text: str, value: str) -> None:
    session = Session(
        ipaddress.ip_address("192.0.2.3"), "strong-bad@email.example.com", "mx.example.org"
    )
    assert expand(terms.macro_string(text), session, "email.example.com", str) == value


@pytest.mark.parametrize("size", [70_000])
def test_huge_records_are_read_in_no_time(size: int) -> None:
    for text in ("a:" + "x." * size, "include:" + "x" * size + ".!", "a " * size, "=" * size):
        terms.parse("v=spf1 " + text)
        mend.near_miss(text)
        tags.parse(text)
        records.near_miss(text)


def test_nothing_odd_is_proposed() -> None:
    """What a record holds is somebody's text, and a proposal is copied without a look."""
    text = 'v=DMARC1; p=none; fo=\x1b[31m1; rua=mailto:\x1b@a.example,mailto:b@a.example; sp=no"ne'
    value = "v=DMARC1; p=none; rua=mailto:b@a.example"
    assert records.mended((text,), "postmaster@a.example") == value
    assert mend.mended(["v=spf1 a:\x1b.example ip4:192.0.2.1 -all"]) == "v=spf1 ip4:192.0.2.1 -all"
    assert keys.mended("v=DKIM1; n=\x1b[31m\\; p=AAAA") is None
