"""Verifying DKIM: the RFCs' own messages, dkimpy as an oracle, and everything that may be wrong."""

from __future__ import annotations

import base64
import hashlib

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from dkim.canonicalization import Relaxed, Simple
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.signing import pem, record, rsa_key, signed_by
from waypost.domain.answers import Answer, Status
from waypost.domain.dkim import canonical, keys, signature
from waypost.domain.dkim.check import Body, Checked, Result, check
from waypost.domain.verify import message

NOW_S = 1_800_000_000

# RFC 8463 A.3: one message, signed with Ed25519 and with RSA.
RFC_8463 = b"""\
DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=test; t=1528637909; h=from : to : subject :
 date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3
 DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz
 dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game.  Are you hungry yet?

Joe.
"""
RFC_8463_KEYS = {
    "brisbane._domainkey.football.example.com": "v=DKIM1; k=ed25519;"
    " p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
    "test._domainkey.football.example.com": "v=DKIM1; k=rsa; p="
    "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16"
    "JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2Ee"
    "C3Ip3G+2kryOTIKT+l/K4w3QIDAQAB",
}


class Keys:
    """DNS that holds keys alone."""

    def __init__(self, records: dict[str, str], failing: bool = False) -> None:
        self._records = records
        self._failing = failing

    def ask(self, name: str, kind: str) -> Answer:
        if self._failing:
            return Answer(name, kind, Status.FAILED, why="no name server answered in time")
        text = self._records.get(name)
        if text is None:
            return Answer(name, kind, Status.ABSENT)
        return Answer(name, kind, Status.FOUND, (text,))


def verified(octets: bytes, dns: Keys, now_s: int = NOW_S) -> list[Checked]:
    whole = message.read(octets)
    body = Body(whole.body)
    places = [n for n, field in enumerate(whole.fields) if field.name == "dkim-signature"]
    return [check(dns, whole.fields, place, body, now_s) for place in places]


def by_dkimpy(octets: bytes, records: dict[str, str]) -> bool:
    def dns(name: bytes, timeout: int = 5) -> bytes:
        return records.get(name.decode().rstrip("."), "").encode()

    try:
        passed: bool = dkim.verify(octets, dnsfunc=dns)
    except dkim.DKIMException:
        return False
    return passed


def test_the_message_of_rfc_8463() -> None:
    octets = RFC_8463.replace(b"\n", b"\r\n")
    for form in (octets, RFC_8463):  # as saved on Unix too
        assert [c.result for c in verified(form, Keys(RFC_8463_KEYS))] == [Result.PASS] * 2
    changed = octets.replace(b"hungry", b"thirsty")
    results = verified(changed, Keys(RFC_8463_KEYS))
    assert [c.result for c in results] == [Result.FAIL] * 2
    assert "body was changed" in results[0].why
    changed = octets.replace(b"Is dinner", b"Was dinner")
    results = verified(changed, Keys(RFC_8463_KEYS))
    assert [c.result for c in results] == [Result.FAIL] * 2
    assert "header field was changed" in results[0].why
    # h= names From twice, so that a second From on top breaks the signature.
    added = octets.replace(b"From: Joe", b"From: Eve <eve@evil.example>\r\nFrom: Joe", 1)
    assert [c.result for c in verified(added, Keys(RFC_8463_KEYS))] == [Result.FAIL] * 2


BODIES = st.lists(
    st.sampled_from([b"", b" ", b"\t", b"a", b" b  c\t", b"d \t ", b".", b"x" * 80]), max_size=12
).map(b"\r\n".join)
NAMES = st.sampled_from([b"Subject", b"subject", b"X-One", b"Received", b"To"])
VALUES = st.sampled_from(
    [b" a", b"a", b"", b"  a  b ", b" a\r\n b", b"\ta\r\n\t\tb \r\n c", b" x;y=z", b" \xe4\xff"]
)


@settings(max_examples=150, deadline=None)
@given(
    body=BODIES,
    fields=st.lists(st.tuples(NAMES, VALUES), max_size=6),
    forms=st.tuples(*[st.sampled_from([b"simple", b"relaxed"])] * 2),
    end=st.sampled_from([b"\r\n", b"\r\n\r\n\r\n"]),  # as every message on the wire has
)
def test_what_dkimpy_signs_holds_and_what_is_changed_does_not(
    body: bytes,
    fields: list[tuple[bytes, bytes]],
    forms: tuple[bytes, bytes],
    end: bytes,
) -> None:
    head = b"".join(name + b":" + value + b"\r\n" for name, value in fields)
    octets = b"From: A <a@example.com>\r\n" + head + b"\r\n" + body + end
    signed = dkim.sign(octets, b"s1", b"example.com", pem(rsa_key()), canonicalize=forms) + octets
    records = {"s1._domainkey.example.com": record(rsa_key())}
    (checked,) = verified(signed, Keys(records))
    assert checked.result is Result.PASS, checked.why
    assert by_dkimpy(signed, records)
    for one, other in ((b"<a@", b"<b@"), (b"\r\n\r\n", b"\r\n\r\nz")):
        changed = signed.replace(one, other, 1)
        (checked,) = verified(changed, Keys(records))
        assert checked.result is Result.FAIL
        assert not by_dkimpy(changed, records)


@settings(max_examples=100, deadline=None)
@given(body=BODIES, end=st.sampled_from([b"\r\n", b"\r\n \r\n"]))
def test_the_forms_of_a_body_are_dkimpys(body: bytes, end: bytes) -> None:
    """But where the last line has no end: dkimpy then leaves its blanks, against 3.4.4."""
    octets = body + end
    assert canonical.body(octets, "simple") == Simple.canonicalize_body(octets)
    assert canonical.body(octets, "relaxed") == Relaxed.canonicalize_body(octets)


def test_the_examples_of_rfc_6376() -> None:
    """3.4.5 and 3.4.3."""
    assert canonical.body(b"a ", "relaxed") == b"a\r\n"
    assert canonical.field(b"A: X\r\n", "relaxed") == b"a:X\r\n"
    assert canonical.field(b"B : Y\t\r\n\tZ  \r\n", "relaxed") == b"b:Y Z\r\n"
    assert canonical.field(b"B : Y\t\r\n\tZ  \r\n", "simple") == b"B : Y\t\r\n\tZ  \r\n"
    assert canonical.body(b" C \r\nD \t E\r\n\r\n\r\n", "relaxed") == b" C\r\nD E\r\n"
    assert canonical.body(b" C \r\nD \t E\r\n\r\n\r\n", "simple") == b" C \r\nD \t E\r\n"
    assert canonical.body(b"", "simple") == b"\r\n"
    assert canonical.body(b"", "relaxed") == b""
    empty = base64.b64encode(hashlib.sha256(b"\r\n").digest())
    assert empty == b"frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY="


BASE = "d=example.com; s=s1; h=from:subject"


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
def test_control_ours_is_a_signature(kind: str) -> None:
    key = rsa_key() if kind == "rsa" else ed25519.Ed25519PrivateKey.generate()
    octets = signed_by(key, BASE)
    (checked,) = verified(octets, Keys({"s1._domainkey.example.com": record(key)}))
    assert checked.result is Result.PASS


@pytest.mark.parametrize(
    ("tags", "result", "why"),
    [
        ("d=example.com; s=s1; h=subject", Result.PERMERROR, "does not cover the From"),
        (BASE + "; i=a@other.example", Result.PERMERROR, "i= is not of d="),
        (BASE + "; i=a@sub.example.com", Result.PASS, ""),
        (BASE + f"; t={NOW_S - 10}; x={NOW_S + 10}", Result.PASS, ""),
        (BASE + f"; x={NOW_S - 10}", Result.PERMERROR, "has expired"),
        (BASE + f"; t={NOW_S + 3600}", Result.PERMERROR, "in the future"),
        (BASE + f"; t={NOW_S}; x={NOW_S - 5}", Result.PERMERROR, "expired before it was made"),
        (BASE + "; t=soon", Result.PERMERROR, "not a number"),
        (BASE + "; l=99999", Result.PERMERROR, "more than the body has"),
        (BASE + "; q=dns/other", Result.PERMERROR, "not asked for in DNS"),
        ("d=example.com; s=none; h=from", Result.PERMERROR, "there is no key"),
        ("d=example; s=s1; h=from", Result.PERMERROR, "not a name"),
        ("d=example.com; s=s1; s=s2; h=from", Result.PERMERROR, "stands twice"),
        ("d=example.com; h=from", Result.PERMERROR, "s= is missing"),
        ("d=example.com; s=s1; h=from:" + "x:" * 600, Result.PERMERROR, "more than 500"),
    ],
)
def test_what_a_signature_says(tags: str, result: Result, why: str) -> None:
    octets = signed_by(rsa_key(), tags)
    (checked,) = verified(octets, Keys({"s1._domainkey.example.com": record(rsa_key())}))
    assert checked.result is result
    assert why in checked.why


@pytest.mark.parametrize(
    ("key", "result", "why"),
    [
        (record(rsa_key(), "t=y; "), Result.PASS, "only being tested"),
        (record(rsa_key(), "t=s; "), Result.PASS, ""),
        (record(rsa_key(), "h=sha1; "), Result.PERMERROR, "does not allow sha256"),
        (record(rsa_key(), "s=other; "), Result.PERMERROR, "s= does not allow"),
        (record(rsa_key(), "g=*; n=hello; "), Result.PASS, ""),
        (record(rsa_key(1280)), Result.FAIL, "or the key is another one"),
        (record(ed25519.Ed25519PrivateKey.generate()), Result.PERMERROR, "but the key is ed25519"),
        ("v=DKIM1; p=", Result.PERMERROR, "it is revoked"),
        ("v=DKIM1; p=AAAA", Result.PERMERROR, "not an RSA public key"),
        ("v=spf1 -all", Result.PERMERROR, "there is no key"),
    ],
    # Names of their own: keys differ from process to process.
    ids=["y", "s", "sha1", "service", "old", "other", "ed25519", "revoked", "odd", "none"],
)
def test_what_a_key_says(key: str, result: Result, why: str) -> None:
    octets = signed_by(rsa_key(), BASE)
    (checked,) = verified(octets, Keys({"s1._domainkey.example.com": key}))
    assert (checked.result, why in checked.why) == (result, True), checked.why


def test_a_name_server_that_is_away_is_temporary() -> None:
    (checked,) = verified(signed_by(rsa_key(), BASE), Keys({}, failing=True))
    assert checked.result is Result.TEMPERROR


def test_sha1_is_no_longer_taken() -> None:
    octets = signed_by(rsa_key(), BASE, algorithm="rsa-sha1")
    (checked,) = verified(octets, Keys({"s1._domainkey.example.com": record(rsa_key())}))
    assert (checked.result, "RFC 8301" in checked.why) == (Result.PERMERROR, True)


def test_a_length_leaves_the_rest_unsigned() -> None:
    octets = signed_by(rsa_key(), BASE + "; l=7") + b"added\r\n"
    dns = Keys({"s1._domainkey.example.com": record(rsa_key())})
    (checked,) = verified(octets, dns)
    assert (checked.result, checked.partial) == (Result.PASS, 7)


@given(st.text(alphabet="vabhdsticxlq=;:/ \r\n\t1aZ+.@", max_size=300))
def test_no_field_breaks_the_reader(text: str) -> None:
    signature.parse(text)
    signature.parse(f"v=1; a=rsa-sha256; d=a.b; s=c; h=from; bh=AA==; b=AA==; {text}")


@given(st.text(alphabet='vkphst=;:, DKIM1rsaMIIB+/AQ\\"', max_size=300))
def test_no_key_breaks_the_reader(text: str) -> None:
    assert keys.read(text).text == text
    mended = keys.mended(text)
    assert mended is None or not keys.read(mended).fault
