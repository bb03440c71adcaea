"""Whose server it is, and what its provider wants of DNS."""

from __future__ import annotations

import pytest

from waypost.domain.check.source import guess, make
from waypost.upstream.presets import PRESETS


@pytest.mark.parametrize(
    ("host", "preset", "domain", "name", "term"),
    [
        ("smtp.gmail.com", "gmail", "a.example", "gmail", "include:_spf.google.com"),
        ("smtp.gmail.com", "", "a.example", "google-workspace", "include:_spf.google.com"),
        ("smtp-relay.gmail.com", "", "a.example", "google-workspace", "include:_spf.google.com"),
        ("smtp.zoho.eu", "zoho", "a.example", "zoho", "include:zohomail.eu"),
        ("smtppro.zoho.com.au", "custom", "a.example", "zoho", "include:zohomail.com.au"),
        ("mail.shop.com.au", "custom", "a.example", "custom", "a:mail.shop.com.au"),
        ("email-smtp.eu-west-1.amazonaws.com", "", "a.example", "ses", "include:amazonses.com"),
        ("smtp.eu.mailgun.org", "", "a.example", "mailgun", "include:mailgun.org"),
        ("mail.a.example", "cpanel", "a.example", "cpanel", "a:mail.a.example"),
        ("192.0.2.1", "", "a.example", "custom", "ip4:192.0.2.1"),
        ("2001:db8::1", "", "a.example", "custom", "ip6:2001:db8::1"),
        ("localhost", "", "a.example", "custom", ""),
        ("x.example", "no-such-preset", "a.example", "custom", "a:x.example"),
    ],
)
def test_what_allows_it(host: str, preset: str, domain: str, name: str, term: str) -> None:
    source = make("up", host, preset, domain)
    assert (source.preset.name, source.term) == (name, term)


def test_a_providers_own_domain() -> None:
    assert make("up", "smtp.gmail.com", "gmail", "gmail.com").owns("gmail.com")
    assert make("up", "smtp-mail.outlook.com", "", "hotmail.com").signs_for("hotmail.com")
    assert not make("up", "smtp.gmail.com", "gmail", "a.example").signs_for("a.example")


def test_the_provider_of_the_mailboxes_is_likely_to_send() -> None:
    found = guess("a.example", ["a-example.mail.protection.outlook.com"])
    assert found is not None and found.preset.name == "microsoft365"
    assert guess("a.example", ["mx.a.example"]) is None


@pytest.mark.parametrize("name", PRESETS)
def test_a_presets_records_can_be_written(name: str) -> None:
    preset = PRESETS[name]
    facts = {"domain": "a.example", "dashed": "a-example"}
    for _, target in preset.dkim_cnames:
        assert "{" not in target.format(**facts)
    assert "{" not in preset.mx_record.format(**facts)
    for region in preset.regions or ("",):
        assert "{" not in preset.spf_for(preset.host.format(region=region, domain="a.example"))
