"""Which provider an address is with, by records that a test gives."""

from __future__ import annotations

from collections.abc import Sequence

import dns.exception
import dns.resolver
import pytest

from waypost.core.errors import UsageError
from waypost.desk.connection.detect import detect
from waypost.transport.check.lookup import DnsLookup, LookupFailed
from waypost.upstream.detection import Service


class Given:
    """Answers as told; `asked` counts the questions."""

    def __init__(self, mx: Sequence[str] = (), services: Sequence[Service] = ()) -> None:
        self._mx = mx
        self._services = services
        self.asked = 0

    def mx(self, domain: str) -> Sequence[str]:
        self.asked += 1
        return self._mx

    def services(self, domain: str) -> Sequence[Service]:
        self.asked += 1
        return self._services


@pytest.mark.parametrize(
    ("mx", "preset", "host"),
    [
        ("aspmx.l.google.com.", "google-workspace", "smtp.gmail.com"),
        ("ALT1.ASPMX.L.GOOGLE.COM", "google-workspace", "smtp.gmail.com"),
        ("acme-com.mail.protection.outlook.com.", "microsoft365", "smtp.office365.com"),
        ("acme-com.k-v1.mx.microsoft.", "microsoft365", "smtp.office365.com"),
        ("acme.olc.protection.outlook.com.", "outlook", "smtp-mail.outlook.com"),
        ("mx.zoho.com.", "zoho", "smtp.zoho.com"),
        ("mx.zoho.eu.", "zoho", "smtp.zoho.eu"),
        ("mx2.zoho.com.au.", "zoho", "smtp.zoho.com.au"),
        ("inbound-smtp.eu-west-1.amazonaws.com.", "ses", "email-smtp.eu-west-1.amazonaws.com"),
        ("mta5.am0.yahoodns.net.", "yahoo", "smtp.mail.yahoo.com"),
        ("mx01.mail.icloud.com.", "icloud", "smtp.mail.me.com"),
        ("in1-smtp.messagingengine.com.", "fastmail", "smtp.fastmail.com"),
        ("mx1.mail.ovh.net.", "ovh", "ssl0.ovh.net"),
        ("mx00.ionos.de.", "ionos", "smtp.ionos.de"),
        ("mx00.kundenserver.de.", "ionos", "smtp.ionos.de"),
        ("mail.acme.example.", "cpanel", "mail.acme.example"),
        ("acme.example.", "cpanel", "mail.acme.example"),
        ("mx.elsewhere.example.", "custom", None),
        ("evilgoogle.com.", "custom", None),
    ],
)
def test_by_mx(mx: str, preset: str, host: str | None) -> None:
    found = detect(Given([mx]), "Someone@ACME.example")
    assert (found.preset, found.host) == (preset, host)
    assert found.domain == "acme.example"
    assert found.found_by == ("guess" if preset in ("cpanel", "custom") else "mx")
    assert found.mx == (mx.rstrip(".").lower(),)


@pytest.mark.parametrize(
    ("address", "preset"),
    [("a@gmail.com", "gmail"), ("a@googlemail.com", "gmail"), ("a@hotmail.com", "outlook"),
     ("a@yahoo.de", "yahoo"), ("a@me.com", "icloud"), ("a@zohomail.eu", "zoho")],
)  # fmt: skip
def test_a_providers_own_domains_ask_nobody(address: str, preset: str) -> None:
    given = Given()
    found = detect(given, address)
    assert (found.preset, found.found_by, given.asked) == (preset, "domain", 0)
    assert found.hints or preset == "zoho"


@pytest.mark.parametrize(
    ("services", "wanted"),
    [
        ([Service(0, 1, "smtp.acme.example.", 587, False)], ("smtp.acme.example", 587, "starttls")),
        ([Service(0, 1, "smtp.acme.example.", 465, True)], ("smtp.acme.example", 465, "tls")),
        (
            [Service(0, 1, "b.example.", 587, False), Service(0, 1, "a.example.", 465, True)],
            ("a.example", 465, "tls"),
        ),
        (
            [Service(10, 1, "b.example.", 465, True), Service(5, 1, "a.example.", 2587, False)],
            ("a.example", 2587, "starttls"),
        ),
    ],
)
def test_by_srv(services: list[Service], wanted: tuple[str, int, str]) -> None:
    found = detect(Given(["mx.elsewhere.example."], services), "a@acme.example")
    assert (found.host, found.port, found.encryption) == wanted
    assert found.found_by == "srv"


def test_srv_that_says_no_service() -> None:
    found = detect(Given([], [Service(0, 0, ".", 0, False)]), "a@acme.example")
    assert (found.preset, found.found_by) == ("cpanel", "guess")


def test_what_is_no_address() -> None:
    with pytest.raises(UsageError):
        detect(Given(), "nobody")


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (dns.resolver.NXDOMAIN, "there is no domain acme.example"),
        (dns.exception.Timeout, "in time"),
        (dns.resolver.NoNameservers, "no name server could answer"),
    ],
)
def test_a_domain_that_cannot_be_looked_up(
    monkeypatch: pytest.MonkeyPatch, raised: type[Exception], words: str
) -> None:
    def resolve(*_: object, **__: object) -> None:
        raise raised()

    monkeypatch.setattr(dns.resolver.Resolver, "resolve", resolve)
    with pytest.raises(LookupFailed, match=words):
        detect(DnsLookup(), "a@acme.example")
    if raised is dns.resolver.NXDOMAIN:
        assert list(DnsLookup().services("acme.example")) == []
