"""`domain verify`: received messages as receivers wrote them, read and judged."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.signing import record, rsa_key, signed_by
from peers.dns_server import DnsServer
from waypost.clock import SystemClock
from waypost.core.errors import WaypostError
from waypost.desk.domains.verify import verify
from waypost.desk.domains.views import MessageReadingView
from waypost.domain.answers import Answer, Status
from waypost.domain.resolver import Resolver
from waypost.domain.verify import message, received, results, run
from waypost.values import Endpoint

NOW_MS = 1_800_000_000_000
CAME = "Fri, 15 Jan 2027 08:00:00 +0000"
LETTER = b"From: Ann <ann@corp.example>\r\nTo: bob@there.example\r\nSubject: hi\r\n\r\nhello\r\n"
ZONE = (
    '@ TXT "v=spf1 ip4:192.0.2.10 -all"\n@ MX 10 mx\nmx A 192.0.2.25\n'
    '_dmarc TXT "v=DMARC1; p=reject; rua=mailto:a@corp.example"\n'
)
TAGS = "d=corp.example; s=s1; h=from:to:subject"
TOP = (
    "Authentication-Results: mx.there.example;\r\n"
    " dkim=pass header.i=@corp.example header.s=s1 header.b=abc;\r\n"
    " spf=pass (there.example: domain of ann@corp.example designates 192.0.2.10 as permitted"
    " sender) smtp.mailfrom=ann@corp.example;\r\n"
    " dmarc=pass (p=REJECT sp=REJECT dis=NONE) header.from=corp.example\r\n"
    f"Received: from out.corp.example (out.corp.example. [192.0.2.10])\r\n by mx.there.example with"
    f" ESMTPS id x for <bob@there.example>; {CAME}\r\n"
    "Received: from relay.corp.example ([10.0.0.1]) by out.corp.example with ESMTPA;"
    " Fri, 15 Jan 2027 07:59:58 +0000\r\n"
    "Return-Path: <ann@corp.example>\r\n"
)


def zone(beside: str = "") -> str:
    text = record(rsa_key(2048))
    cut = " ".join(f'"{text[i : i + 250]}"' for i in range(0, len(text), 250))
    return f"{ZONE}s1._domainkey TXT {cut}\n{beside}"


@pytest.fixture
def server() -> Iterator[DnsServer]:
    made = DnsServer()
    made.zone("corp.example", zone())
    yield made
    made.stop()


def read(server: DnsServer, octets: bytes) -> MessageReadingView:
    resolver = Resolver(SystemClock(), [Endpoint("127.0.0.1", server.port)])
    return verify(resolver, octets, NOW_MS)


def letter(top: str = TOP, octets: bytes = LETTER, tags: str = TAGS) -> bytes:
    return top.encode() + signed_by(rsa_key(2048), tags, octets)


def found(view: MessageReadingView, check: str) -> str:
    return " | ".join(f"{f.status}: {f.found}" for f in view.findings if f.check == check)


def test_a_right_message(server: DnsServer) -> None:
    view = read(server, letter())
    assert (view.ok, view.status, view.author) == (True, "ok", "corp.example")
    (signature,) = view.signatures
    assert (signature.result, signature.aligned, signature.key_bits) == ("pass", True, 2048)
    assert (view.spf.result, view.spf.ip, view.spf.aligned) == ("pass", "192.0.2.10", True)
    assert view.spf.stated == "pass"
    assert "passes by DKIM and SPF" in found(view, "dmarc")
    assert view.authentication_results[0].server == "mx.there.example"
    methods = [(r.method, r.result) for r in view.authentication_results[0].results]
    assert methods == [("dkim", "pass"), ("spf", "pass"), ("dmarc", "pass")]
    assert [hop.ip for hop in view.received] == ["192.0.2.10", "10.0.0.1"]
    assert view.received[0].encrypted
    assert view.received_at == "2027-01-15T08:00:00.000Z"


@pytest.mark.parametrize("form", ["crlf", "lf", "mbox", "bom"])
def test_however_it_was_saved(server: DnsServer, form: str) -> None:
    octets = letter()
    if form == "lf":
        octets = octets.replace(b"\r\n", b"\n")
    elif form == "mbox":
        octets = b"From ann@corp.example Fri Jan 15 08:00:00 2027\n" + octets
    elif form == "bom":
        octets = b"\xef\xbb\xbf" + octets
    assert read(server, octets).status == "ok"


def test_a_body_that_was_changed(server: DnsServer) -> None:
    view = read(server, letter().replace(b"hello", b"hello, and a footer"))
    assert "rewrites the text" in found(view, "dkim")
    assert "passes by SPF" in found(view, "dmarc")
    assert not view.ok


def test_a_message_that_was_forwarded(server: DnsServer) -> None:
    """SPF fails for the forwarder, the signature holds: DMARC passes."""
    view = read(server, letter(TOP.replace("192.0.2.10", "198.51.100.1")))
    assert "forwarded" in found(view, "spf")
    assert "passes by DKIM" in found(view, "dmarc")


def test_a_message_of_somebody_else(server: DnsServer) -> None:
    forged = TOP.replace("192.0.2.10", "198.51.100.1").replace("pass", "fail").encode() + LETTER
    view = read(server, forged)
    assert "error: the message has no DKIM signature" in found(view, "dkim")
    assert "error: policy reject of corp.example; fails" in found(view, "dmarc")
    assert "dmarc did not pass there" in found(view, "authentication-results")


def test_a_key_that_was_copied_wrong_comes_with_the_right_record(server: DnsServer) -> None:
    text = record(rsa_key(2048)).replace(";", "\\\\;")
    cut = " ".join(f'"{text[i : i + 240]}"' for i in range(0, len(text), 240))
    server.zone("corp.example", f"{ZONE}s1._domainkey TXT {cut}\n")
    view = read(server, letter())
    finding = next(f for f in view.findings if f.check == "dkim")
    assert finding.publish is not None
    assert finding.publish.value == record(rsa_key(2048))
    assert finding.publish.name == "s1._domainkey.corp.example"


def test_another_organization_is_not_aligned(server: DnsServer) -> None:
    server.zone("other.example", zone())
    view = read(server, letter(tags=TAGS.replace("corp", "other")))
    (signature,) = view.signatures
    assert (signature.result, signature.aligned) == ("pass", False)
    assert "of another domain" in found(view, "dkim")


def test_strict_alignment_counts(server: DnsServer) -> None:
    sub = zone('sub TXT "v=spf1 ip4:192.0.2.10 -all"\n')
    server.zone("corp.example", sub + f"s1._domainkey.sub {zone().split('s1._domainkey ')[1]}")
    octets = letter(TOP.replace("ann@corp", "ann@sub.corp"), tags=TAGS.replace("d=", "d=sub."))
    assert "passes by DKIM and SPF" in found(read(server, octets), "dmarc")
    strict = sub.replace("p=reject", "p=reject; adkim=s; aspf=s")
    server.zone("corp.example", strict + f"s1._domainkey.sub {zone().split('s1._domainkey ')[1]}")
    assert "fails: neither" in found(read(server, octets), "dmarc")


def test_what_expired_since_was_good_when_it_came(server: DnsServer) -> None:
    view = read(server, letter(tags=TAGS + "; x=1800000600"))  # ten minutes after it came
    assert view.signatures[0].result == "pass"
    view = read(server, letter(tags=TAGS + "; x=1799999000"))
    assert (view.signatures[0].result, "expired" in view.signatures[0].reason) == (
        "permerror",
        True,
    )


def test_a_name_server_that_is_away_is_no_failure(server: DnsServer) -> None:
    octets = letter()
    server.fault("corp.example", "servfail")
    view = read(server, octets)
    assert view.ok
    for check in ("dkim", "spf", "dmarc"):
        assert "could not be checked" in found(view, check), view.findings


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (b"From: a@corp.example\r\nFrom: b@corp.example\r\n", "2 From fields"),
        (b"From: a@corp.example, b@other.example\r\n", "From names 2 domains"),
        (b"From: nobody\r\nReceived: by x; now\r\n", "cannot be read"),
        (b"Subject: x\r\nReceived: by x\r\n", "0 From fields"),
    ],
)
def test_who_it_is_from(server: DnsServer, head: bytes, said: str) -> None:
    told = found(read(server, head + b"\r\nx"), "from")
    assert told.startswith("error: ") and said in told


def test_a_message_that_waited(server: DnsServer) -> None:
    view = read(server, letter(TOP.replace("07:59:58", "05:59:58")))
    assert "it waited 120 minutes before mx.there.example" in found(view, "received")
    view = read(server, letter(TOP.replace("07:59:58", "09:59:58")))
    assert "the clock of out.corp.example is 119 minutes off" in found(view, "received")


# As the large receivers write them.
STATED = [
    (
        "mx.google.com; dkim=pass header.i=@example.com header.s=google header.b=Abc/12==;"
        " spf=pass (google.com: domain of a@example.com designates 192.0.2.1 as permitted sender)"
        " smtp.mailfrom=a@example.com; dmarc=pass (p=NONE sp=NONE dis=NONE)"
        " header.from=example.com",
        "mx.google.com",
        ["dkim=pass", "spf=pass", "dmarc=pass"],
    ),
    (
        "spf=pass (sender IP is 192.0.2.1) smtp.mailfrom=example.com; dkim=pass (signature was"
        " verified) header.d=example.com;dmarc=pass action=none header.from=example.com;"
        "compauth=pass reason=100",
        "",  # Microsoft leaves its name out
        ["spf=pass", "dkim=pass", "dmarc=pass", "compauth=pass"],
    ),
    (
        'example.com 1; auth=pass (cram-md5) smtp.auth=a@b; spf=fail reason="a \\"b\\" (c); d"',
        "example.com",
        ["auth=pass", "spf=fail"],
    ),
    ("example.org 1; none", "example.org", []),
    ("a.example; dkim/1=fail (a (nested) word; spf=pass) header.d=x", "a.example", ["dkim=fail"]),
    ("", "", []),
]


@pytest.mark.parametrize(("value", "server_", "methods"), STATED)
def test_stated_results(value: str, server_: str, methods: list[str]) -> None:
    stated = results.parse(value)
    assert stated.server == server_
    assert [f"{m.method}={m.result}" for m in stated.methods] == methods


def test_stated_properties() -> None:
    stated = results.parse(STATED[0][0])
    assert stated.methods[1].properties == {"smtp.mailfrom": "a@example.com"}
    assert results.parse(STATED[2][0]).methods[1].reason == 'a "b" (c); d'


@pytest.mark.parametrize(
    ("value", "ip", "helo", "by"),
    [
        ("from a.example (a.example [192.0.2.1]) by b.example with ESMTPS; x", "192.0.2.1",
         "a.example", "b.example"),
        ("from a.example ([IPv6:2001:db8::1]) by b", "2001:db8::1", "a.example", "b"),
        ("from AM0.prod.outlook.com (2603:10a6:208::17) by AM1.prod.outlook.com with HTTPS",
         "2603:10a6:208::17", "AM0.prod.outlook.com", "AM1.prod.outlook.com"),
        ("by 2002:a05:6a10:: with SMTP id x; Mon, 1 Jan 2024 00:00:00 -0800", "", "",
         "2002:a05:6a10::"),
        ("(qmail 123 invoked by uid 89); 1 Jan 2024 00:00:00 -0000", "", "", "uid"),
        ("from x (unknown [999.1.1.1]) by y", "", "x", "y"),
        ("", "", "", ""),
    ],
)  # fmt: skip
def test_received_fields(value: str, ip: str, helo: str, by: str) -> None:
    hop = received.parse(value)
    assert (hop.ip, hop.helo, hop.by) == (ip, helo, by)


class Nobody:
    """DNS without anything, that counts."""

    def __init__(self) -> None:
        self.asked = 0

    def ask(self, name: str, kind: str) -> Answer:
        self.asked += 1
        return Answer(name, kind, Status.ABSENT)


HOSTILE = {
    "huge header": b"From: a@b.example\r\n" + b"X: y\r\n" * 400_000 + b"\r\n",
    "one huge field": b"From: a@b.example\r\nX: " + b"y" * 20_000_000 + b"\r\n\r\n",
    "many signatures": b"DKIM-Signature: v=1; a=rsa-sha256; d=b.example; s=s; h=from; bh=AA==;"
    b" b=AA==\r\n" * 5_000 + b"From: a@b.example\r\n\r\n",
    "deep comments": b"Authentication-Results: x; spf=pass "
    + b"(" * 30_000
    + b"\r\nFrom: a@b.example\r\n\r\n",
    "words without end": b"Authentication-Results: x; spf=pass "
    + b"a" * 32_000
    + b"\r\nFrom: a@b.example\r\n\r\n",
    "quotes without end": b'Authentication-Results: x; spf=pass a="' + b"\\" * 32_000 + b"\r\n"
    b"From: a@b.example\r\n\r\n",
    "brackets": b"Received: from " + b"([" * 2_000 + b" by\r\nFrom: a@b.example\r\n\r\n",
    "blanks": b"Received: from " + b" " * 60_000 + b"x by\r\nFrom: a@b.example\r\n\r\n",
    "many names": b"DKIM-Signature: v=1; a=rsa-sha256; d=b.example; s=s; bh=AA==; b=AA==; h=from"
    + b":x" * 30_000
    + b"\r\nFrom: a@b.example\r\n\r\n",
    "many addresses": b"From: " + b"a@b.example, " * 60_000 + b"\r\nReceived: x\r\n\r\n",
    "nested From": b"From: " + b"(" * 60_000 + b"\r\nReceived: x\r\n\r\n",
    "empty lines": b"From: a@b.example\r\n\r\n" + b"\r\n" * 5_000_000,
    "blanks in the body": b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=b.example;"
    b" s=s; h=from; bh=AA==; b=AA==\r\nFrom: a@b.example\r\n\r\n" + b" \t" * 5_000_000,
    "zeros": b"\0" * 100_000 + b"\r\nFrom: a@b.example\r\n\r\n",
    "bare returns": b"From: a@b.example\rX: y\r\r\n" * 1_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_messages_cost_little(name: str) -> None:
    nobody = Nobody()
    began_s = time.process_time()
    reading = run.read(nobody, HOSTILE[name], NOW_MS // 1000)
    assert time.process_time() - began_s < 5.0, "linear, whatever it holds: a quarter of one"
    assert nobody.asked < 100
    assert len(reading.signatures) <= message.SIGNATURES
    assert len(reading.findings) < 30
    for finding in reading.findings:
        assert len(finding.found) < 6_000


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400), st.booleans())
def test_no_octets_break_it(octets: bytes, fielded: bool) -> None:
    if fielded:
        octets = b"From: a@b.example\r\nReceived: " + octets + b"\r\nDKIM-Signature: " + octets
    try:
        view = verify(Nobody(), octets, NOW_MS)
    except WaypostError:
        return
    json.dumps(view.ok)


@given(st.text(alphabet='ab=;()" \\./@-', max_size=200))
def test_no_field_breaks_its_reader(text: str) -> None:
    results.parse(text)
    received.parse(text)
