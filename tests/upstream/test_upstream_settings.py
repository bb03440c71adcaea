"""Settings of an upstream: port and encryption follow each other, nonsense is named."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peers.settings import make_upstream
from waypost.core.address import parse
from waypost.core.errors import UsageError
from waypost.core.upstream import Encryption, Validate
from waypost.upstream import presets, settings
from waypost.upstream.settings import Form, complete

SENDER = parse("me@example.com")


@pytest.mark.parametrize(
    ("port", "encryption", "got"),
    [
        (None, None, (587, "starttls")),
        (None, "tls", (465, "tls")),
        (None, "none", (25, "none")),
        (None, "starttls", (587, "starttls")),
        (465, None, (465, "tls")),
        (587, None, (587, "starttls")),
        (25, None, (25, "none")),
        (2525, None, (2525, "starttls")),
        (465, "starttls", (465, "starttls")),
        (2525, "SSL", (2525, "tls")),
    ],
)
def test_port_and_encryption_follow_each_other(
    port: int | None, encryption: str | None, got: tuple[int, str]
) -> None:
    form = Form(host="mx.example.com")
    if port is not None:
        form = msgspec.structs.replace(form, port=port)
    if encryption is not None:
        form = msgspec.structs.replace(form, encryption=encryption)
    made = complete(form, SENDER)
    assert (made.port, made.encryption) == got


@pytest.mark.parametrize(
    ("before", "form", "got"),
    [
        ((587, "starttls"), Form(port=465), (465, "tls")),
        ((587, "starttls"), Form(port=2525), (2525, "starttls")),
        ((587, "starttls"), Form(encryption="tls"), (465, "tls")),
        ((2525, "starttls"), Form(encryption="tls"), (2525, "tls")),
        ((465, "tls"), Form(encryption="tls"), (465, "tls")),
        ((465, "tls"), Form(port=587, encryption="tls"), (587, "tls")),
        ((465, "tls"), Form(username="x"), (465, "tls")),
        ((465, "tls"), Form(host="other.example.com"), (465, "tls")),
    ],
)
def test_an_edit_moves_the_pair_along(
    before: tuple[int, str], form: Form, got: tuple[int, str]
) -> None:
    made = settings.change(make_upstream(port=before[0], encryption=Encryption(before[1])), form)
    assert (made.port, made.encryption) == got


def test_the_user_name_defaults_to_the_sender() -> None:
    assert complete(Form(host="mx.example.com"), SENDER).username == "me@example.com"
    assert complete(Form(host="mx.example.com", username=""), SENDER).username == ""


@pytest.mark.parametrize(
    ("preset", "region", "host", "port", "cap", "recipients"),
    [
        ("gmail", None, "smtp.gmail.com", 587, 500, 100),
        ("google-workspace", None, "smtp.gmail.com", 587, 2000, 100),
        ("Microsoft365", None, "smtp.office365.com", 587, 10_000, 100),
        ("zoho", None, "smtp.zoho.com", 465, None, 100),
        ("zoho", "eu", "smtp.zoho.eu", 465, None, 100),
        ("ses", "eu-west-1", "email-smtp.eu-west-1.amazonaws.com", 587, None, 50),
        ("cpanel", None, "mail.example.com", 465, None, 100),
    ],
)
def test_a_preset_fills_the_form(
    preset: str, region: str | None, host: str, port: int, cap: int | None, recipients: int
) -> None:
    form = Form(preset=preset) if region is None else Form(preset=preset, region=region)
    made = complete(form, SENDER)
    assert (made.host, made.port, made.limits.daily_cap) == (host, port, cap)
    assert made.limits.recipients == recipients


def test_microsoft_365_is_three_connections_and_thirty_a_minute() -> None:
    limits = complete(Form(preset="microsoft365"), SENDER).limits
    assert (limits.connections, limits.per_minute) == (3, 30)


def test_what_is_said_wins_over_the_preset() -> None:
    form = Form(preset="gmail", host="127.0.0.1", port=2525, encryption="none", daily_cap=None)
    made = complete(form, SENDER)
    assert (made.host, made.port, made.encryption) == ("127.0.0.1", 2525, "none")
    assert (made.preset, made.limits.daily_cap) == ("gmail", None)
    assert made.validate is Validate.AUTO


def test_a_host_with_a_preset_is_always_validated() -> None:
    made = complete(Form(host="SMTP.gmail.com.", validate="off"), SENDER)
    assert made.validate is Validate.ON
    assert made.preset == "google-workspace"
    assert any("stays on" in warning for warning in made.warnings)
    assert complete(Form(host="smtp.gmail.com"), parse("me@gmail.com")).preset == "gmail"
    assert settings.change(make_upstream(), Form(host="smtp.zoho.eu")).validate is Validate.ON


def test_what_is_not_protected_is_warned_of() -> None:
    plain = complete(Form(host="mx.example.com", encryption="none"), SENDER)
    blind = complete(Form(host="mx.example.com", validate="off"), SENDER)
    assert "trusted networks" in plain.warnings[0]
    assert "pose as the server" in blind.warnings[0]
    assert complete(Form(host="mx.example.com"), SENDER).warnings == ()


@pytest.mark.parametrize(
    ("form", "field"),
    [
        (Form(), "host"),
        (Form(preset="custom"), "host"),
        (Form(preset="gmial"), "preset"),
        (Form(preset="ses", region="mars-1"), "region"),
        (Form(preset="gmail", region="eu"), "region"),
        (Form(host="mx.example.com", port=0), "port"),
        (Form(host="mx.example.com", port=65536), "port"),
        (Form(host="mx.example.com", encryption="rot13"), "encryption"),
        (Form(host="mx.example.com", validate="maybe"), "validate"),
        (Form(host="mx.example.com", username="a\r\nb"), "username"),
        (Form(host="mx.example.com", connections=0), "connections"),
        (Form(host="mx.example.com", recipients=1001), "recipients"),
        (Form(host="mx.example.com", daily_cap=0), "daily_cap"),
        (Form(host="mx.example.com", per_minute=-1), "per_minute"),
    ],
)
def test_what_is_wrong_names_its_field(form: Form, field: str) -> None:
    with pytest.raises(UsageError) as caught:
        complete(form, SENDER)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("text", "host"),
    [
        (" Mail.Example.COM. ", "mail.example.com"),
        ("localhost", "localhost"),
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]", "::1"),
        ("::1", "::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("bücher.example", "xn--bcher-kva.example"),
    ],
)
def test_a_host_is_made_plain(text: str, host: str) -> None:
    assert settings.host(text) == host


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("smtp://mx.example.com", "URL"),
        ("me@example.com", "email address"),
        ("mx.example.com:587", "port"),
        ("", "give the server's name"),
        ("fd00::1%\r\nSubject: x", "not a server"),
        ("fe80::1%a\nb", "not a server"),
        ("fe80::1%", "not a server"),
        ("a b", "not a server"),
        ("a..b", "not a server"),
        ("2130706433", "not a server"),
        ("127.1", "not a server"),
        ("0x7f.0.0.0x1", "not a server"),
        ("x\r\nRSET", "not a server"),
        ("-a.example", "not a server"),
        ("a" * 64 + ".example", "not a server"),
        ("\ud800.example", "not a server"),
        ("exam\ufeffple.com", "not a server"),
        ("exam\u00adple.com", "not a server"),
    ],
)
def test_a_host_that_is_none_is_refused(text: str, word: str) -> None:
    with pytest.raises(UsageError, match=word):
        settings.host(text)


@given(st.text())
def test_any_host_is_safe_or_refused(text: str) -> None:
    try:
        made = settings.host(text)
    except UsageError as error:
        assert str(error).isprintable()
    else:
        assert made.isascii() and made.isprintable() and " " not in made


@pytest.mark.parametrize(
    ("form", "asks"),
    [
        (Form(host="other.example.com"), True),
        (Form(port=465), True),
        (Form(username="you"), True),
        (Form(encryption="tls"), True),
        (Form(host="MX.example.com."), False),
        (Form(daily_cap=3, validate="off", connections=1), False),
    ],
)
def test_another_door_asks_for_the_password_again(form: Form, asks: bool) -> None:
    before = make_upstream()
    assert settings.asks_password(before, settings.change(before, form)) is asks


@pytest.mark.parametrize("preset", presets.PRESETS.values(), ids=lambda preset: preset.name)
def test_every_preset_is_whole_and_has_a_source(preset: presets.Preset) -> None:
    assert preset.source.startswith("https://")
    assert preset.hints or preset.username
    assert set(preset.logins) <= {"plain", "login", "xoauth2"}
    for region in preset.regions or ("",):
        if preset.host:
            made = preset.host_for("example.com", region)
            assert settings.host(made) == made
            if "{domain}" not in preset.host:
                assert presets.for_host(made) is not None
    for host in preset.hosts():
        assert settings.host(host) == host
        assert presets.for_host(host, "gmail.com") is preset or preset.name == "google-workspace"


@pytest.mark.parametrize(
    ("host", "preset", "include"),
    [
        ("smtp.ionos.com", "ionos", "_spf-us.ionos.com"),
        ("smtp.ionos.de", "ionos", "_spf-eu.ionos.com"),
        ("smtp.ionos.co.uk", "ionos", "_spf-eu.ionos.com"),
        ("smtppro.zoho.eu", "zoho", "zohomail.eu"),
        ("smtp.zohocloud.ca", "zoho", "zohocloud.ca"),
        ("email-smtp.eu-west-1.amazonaws.com", "ses", "amazonses.com"),
        ("smtp.eu.mailgun.org", "mailgun", "mailgun.org"),
        ("smtp.mail.ovh.ca", "ovh", "mx.ovh.com"),
        ("smtp.eu.sendgrid.net", "sendgrid", "sendgrid.net"),
    ],
)
def test_a_host_tells_its_provider_and_what_to_include(
    host: str, preset: str, include: str
) -> None:
    found = presets.for_host(host)
    assert found is not None
    assert (found.name, found.spf_for(host)) == (preset, include)


def test_the_nearest_preset_is_named() -> None:
    with pytest.raises(UsageError, match="did you mean gmail"):
        presets.get("gmial")
