"""Addresses: what is one, how it is kept, and that reading what was shown gives the same."""

from __future__ import annotations

import idna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.core.address import ADDRESS_OCTETS, Address, make, parse
from waypost.core.errors import AddressError, NonAsciiLocalPart

GOOD = {
    "a@b": "a@b",
    "Alice.B+tag@Example.COM": "Alice.B+tag@example.com",
    '"a b"@example.com': '"a b"@example.com',
    '"plain"@example.com': "plain@example.com",
    '"a@b"@example.com': '"a@b"@example.com',
    '"a\\"b"@example.com': '"a\\"b"@example.com',
    '"a\\b"@example.com': "ab@example.com",
    '""@example.com': '""@example.com',
    "a@bücher.example": "a@xn--bcher-kva.example",
    "a@BÜCHER.example": "a@xn--bcher-kva.example",
    "a@xn--bcher-kva.example": "a@xn--bcher-kva.example",
    "a@STRASSE.Straße.example": "a@strasse.xn--strae-oqa.example",
    "a@bu\u0308cher.example": "a@xn--bcher-kva.example",  # composed, RFC 5895 2
    "a@ＥＸ．example": "a@ex.example",  # full width
    "a@bücher。example": "a@xn--bcher-kva.example",  # an ideographic full stop
    "a@क्\u200dष.example": "a@xn--11b2ezcw70k.example",  # a joiner where one may be, RFC 5892 A.2
    "a@[192.0.2.1]": "a@[192.0.2.1]",
    "a@[IPv6:2001:DB8::1]": "a@[ipv6:2001:db8::1]",
    "a@_dmarc.example": "a@_dmarc.example",
    "x" * 64 + "@b.example": "x" * 64 + "@b.example",
}

BAD = [
    "",
    "@",
    "a",
    "a@",
    "@b",
    "a@b@c",
    "a b@c",
    ".a@b",
    "a.@b",
    "a..b@c",
    "a@b.",
    "a@.b",
    "a@b..c",
    "a@-b",
    "a@b-",
    "a@b c",
    "a@b\r\nRCPT TO:<x@y>",
    "a\n@b",
    "a\0@b",
    '"a\r\n"@b',
    '"a"b@c',
    "<a@b>",
    "a@[1.2.3]",
    "a@[x]",
    "a@[192.0.2.1",
    "x" * 65 + "@b",
    "a@" + "b" * 64,
    "a@" + ".".join(["b" * 50] * 6),
    "a@b\u202e",
    "a@\ufeff\u202eb",
    "a@b\udc80",
    "a@b\0",
]


@pytest.mark.parametrize(("text", "shown"), GOOD.items())
def test_good_ones(text: str, shown: str) -> None:
    address = parse(text)
    assert str(address) == shown
    assert parse(str(address)) == address
    assert len(str(address).encode()) <= ADDRESS_OCTETS


@pytest.mark.parametrize("text", BAD)
def test_bad_ones(text: str) -> None:
    with pytest.raises(AddressError) as caught:
        parse(text)
    assert caught.value.public.isascii()
    assert caught.value.public.isprintable()


@pytest.mark.parametrize(
    "sign",
    [
        *("\u00ad", "\u034f", "\u061c", "\u115f", "\u1160", "\u17b4", "\u180b", "\u180e"),
        *("\u200b", "\u200c", "\u200d", "\u200e", "\u200f", "\u202a", "\u202d", "\u202e"),
        *("\u2060", "\u2064", "\u2066", "\u2067", "\u2069", "\u206f", "\u3164", "\ufe00"),
        *("\ufe0f", "\ufeff", "\uffa0", "\ufff0", "\U0001d173", "\U000e0001", "\U000e0041"),
        *("\U000e0100", "\U000e0fff", "\x85", "\u2028", "\u2029", "\ue000", "\U0001f600"),
    ],
    ids=ascii,
)
@pytest.mark.parametrize("place", ["{}a.example", "a{}b.example", "ü{}.example", "a.example{}"])
def test_no_domain_holds_what_cannot_be_seen(place: str, sign: str) -> None:
    """Default-ignorable, bidi control and formatting characters: RFC 5892 2.8 and 2.13."""
    with pytest.raises(AddressError) as caught:
        parse("a@" + place.format(sign))
    assert caught.value.public.isascii()


def test_a_name_as_long_as_a_message_is_not_looked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []

    def remap(sign: str, **_: object) -> str:
        looked.append(sign)
        return sign

    monkeypatch.setattr(idna, "uts46_remap", remap)
    with pytest.raises(AddressError, match="is not a domain name"):
        parse("a@" + "ü" * 100_000 + ".example")
    assert not looked
    with pytest.raises(AddressError):
        parse("a@" + "ü" * 200 + ".example")
    assert looked  # what was counted is what is called


def test_an_invisible_character_is_named() -> None:
    with pytest.raises(AddressError, match=r"holds the invisible character U\+FEFF"):
        parse("a@exam\ufeffple.com")


@pytest.mark.parametrize("local", ["jürgen", '"ü"', "用户", "a\udce9"])
def test_a_local_part_that_is_not_ascii(local: str) -> None:
    with pytest.raises(NonAsciiLocalPart):
        make(local, "example.com")


def test_addresses_are_compared_whole_and_in_any_case() -> None:
    assert parse("Bob@Example.com").key == parse("bOB@eXAMPLE.COM").key
    assert parse("bob@example.com").key != parse("bob@example.com.evil").key
    assert parse('"bob"@example.com').key == parse("bob@example.com").key


@given(st.text(max_size=80))
def test_any_text_is_an_address_or_our_error(text: str) -> None:
    try:
        address = parse(text)
    except AddressError:
        return
    assert str(address).isascii()
    assert str(address).isprintable()
    assert parse(str(address)) == address


@given(st.from_regex(r"[a-z0-9]{1,9}(\.[a-z0-9]{1,9}){0,3}", fullmatch=True))
def test_every_host_name_is_kept(domain: str) -> None:
    assert make("a", domain.upper()) == Address("a", domain)
