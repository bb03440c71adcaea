"""What a token server is asked and what its answers mean, by tables; nothing secret is shown."""

from __future__ import annotations

import json

import msgspec
import pytest

from peers.settings import make_upstream
from waypost.core.errors import Secret, UsageError
from waypost.core.upstream import Login, Upstream
from waypost.transport.link.mask import MASK, hide, masker
from waypost.transport.oauth.http import checked_url
from waypost.upstream import oauth, presets
from waypost.upstream.oauth import Grant, Kind, TokenAway, TokenRefused

GRANT = Grant(
    provider="google",
    kind=Kind.CONSENT,
    client_id="app",
    client_secret="planted-one",
    token_url="https://oauth2.googleapis.com/token",
    scope="https://mail.google.com/",
    refresh_token="planted-two",
    access_token="planted-three",
    renew_ms=5_000,
)


def body(**said: object) -> bytes:
    return json.dumps(said).encode()


def test_a_grant_shows_no_secret_and_comes_back_whole() -> None:
    assert "planted" not in repr(GRANT) + str([GRANT])
    assert msgspec.json.decode(msgspec.json.encode(GRANT), type=Grant) == GRANT
    assert GRANT.fresh(4_999)
    assert not GRANT.fresh(5_000)


def test_pkce_is_that_of_the_rfc() -> None:
    # RFC 7636, appendix B.
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    assert oauth.challenge(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


@pytest.mark.parametrize(
    ("life", "renewed_after_s"),
    [
        *((3600, 3480), (100, 50), ("3600", 3480), ("\N{SUPERSCRIPT TWO}", 3480), (None, 3480)),
        *((-5, 0), (1e99, 7 * 86400 - 120)),
    ],
)
def test_tokens_are_renewed_before_they_end(life: object, renewed_after_s: int) -> None:
    said = body(access_token="new", token_type="bearer", expires_in=life)
    after = oauth.renewed(GRANT, 200, said, 1_000)
    assert (after.access_token, after.refresh_token) == ("new", "planted-two")
    assert after.renew_ms == 1_000 + renewed_after_s * 1000


def test_a_rotated_refresh_token_takes_the_place_of_the_old() -> None:
    said = body(access_token="new", refresh_token="newer", expires_in=60)
    assert oauth.renewed(GRANT, 200, said, 0).refresh_token == "newer"


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, body(error="invalid_grant", error_description="Token has been expired or revoked.")),
        (400, body(error="invalid_grant", error_description="AADSTS700082: expired. \r\nTrace: 1")),
        (401, body(error="invalid_client")),
        (400, body(error="unauthorized_client")),
        (400, body(error="interaction_required")),
        (403, body(error="access_denied")),
    ],
)
def test_only_a_person_mends_these(status: int, said: bytes) -> None:
    with pytest.raises(TokenRefused) as told:
        oauth.renewed(GRANT, status, said, 0)
    assert told.value.public.isprintable()


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (503, b"busy"),
        (500, body(error="invalid_grant")),
        (429, body(error="invalid_grant")),
        (400, body(error="temporarily_unavailable")),
        (400, body(error="something_new")),
        (400, body(error={"code": 400})),
        (404, b"<html>"),
        (200, b""),
        (200, b"[]"),
        (200, b"\xff\xfe"),
        (200, b"[" * 60_000),
        (200, body(access_token="")),
        (200, body(access_token=7)),
        (200, body(access_token="with\x01control")),
        (200, body(access_token="x" * 9_000)),
        (200, body(access_token="mac", token_type="mac")),
    ],
)
def test_these_pass_by_themselves(status: int, said: bytes) -> None:
    with pytest.raises(TokenAway):
        oauth.renewed(GRANT, status, said, 0)


def test_what_is_posted() -> None:
    assert oauth.code_form(GRANT, "c", "http://127.0.0.1:1/", "v") == {
        "grant_type": "authorization_code",
        "code": "c",
        "redirect_uri": "http://127.0.0.1:1/",
        "code_verifier": "v",
        "client_id": "app",
        "client_secret": "planted-one",
    }
    assert oauth.renewal_form(GRANT, 0)["refresh_token"] == "planted-two"
    client = msgspec.structs.replace(GRANT, kind=Kind.CLIENT, refresh_token="")
    assert oauth.renewal_form(client, 0)["grant_type"] == "client_credentials"
    with pytest.raises(TokenRefused):
        oauth.renewal_form(msgspec.structs.replace(GRANT, refresh_token=""), 0)


def test_providers_are_those_of_presets_that_take_tokens() -> None:
    for provider in oauth.PROVIDERS.values():
        for name in provider.presets:
            assert "xoauth2" in presets.get(name).logins
            assert oauth.provider_for(name) is provider
        assert provider.source.startswith("https://")
    with pytest.raises(UsageError):
        oauth.provider_for("custom")
    with pytest.raises(UsageError):
        oauth.provider_for("gmail", "elsewhere")


@pytest.mark.parametrize("tenant", ["a/b", "a?b", "..", "a b", "a#", "-a", "a\n", "{tenant}"])
def test_a_tenant_is_no_way_to_another_url(tenant: str) -> None:
    with pytest.raises(UsageError):
        oauth.endpoints(oauth.PROVIDERS["microsoft"], tenant)


def test_tenants() -> None:
    authorize, token = oauth.endpoints(oauth.PROVIDERS["microsoft"], "contoso.example")
    assert authorize.split("/")[3] == token.split("/")[3] == "contoso.example"
    with pytest.raises(UsageError):
        oauth.endpoints(oauth.PROVIDERS["google"], "contoso.example")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "token.example",
        "http://token.example/",
        "ftp://token.example/",
        "https://",
        "https://user:pw@token.example/",
        "https://token.example/\r\nX: y",
        "https://token.example:99999/",
        "http://127.0.0.1.example/",
        "http://10.0.0.1/",
        "file:///etc/passwd",
    ],
)
def test_addresses_that_are_not_asked(url: str) -> None:
    with pytest.raises(UsageError):
        checked_url(url, "token_url")


@pytest.mark.parametrize(
    "url", ["https://t.example/a?b=c", "http://localhost:1/", "http://[::1]:1/x"]
)
def test_addresses_that_are_asked(url: str) -> None:
    assert checked_url(url, "token_url") == url


@pytest.mark.parametrize(
    "octets", [b"", b"[]", b"{}", b'{"client_email":1}', b"\xff", b"[" * 9_999]
)
def test_keys_of_service_accounts_that_are_none(octets: bytes) -> None:
    with pytest.raises(UsageError):
        oauth.service_account(octets, "a@x.example", oauth.PROVIDERS["google"])
    said = {"client_email": "a@b", "private_key": "no key", "token_uri": "https://t.example/"}
    with pytest.raises(UsageError):
        oauth.service_account(body(**said), "a@x.example", oauth.PROVIDERS["google"])


def upstream(password: str | None) -> Upstream:
    return make_upstream(
        username="me@x.example",
        password=None if password is None else Secret(password),
        login=Login.PASSWORD if password else Login.XOAUTH2,
    )


@pytest.mark.parametrize(
    "said",
    [
        "535 no: Sesame-77 is wrong",
        "535 no: SESAME-77",
        "535 AG1lQHguZXhhbXBsZQBTZXNhbWUtNzc=",
        "535 U2VzYW1lLTc3",
    ],
)
def test_a_password_is_masked_in_every_form(said: str) -> None:
    masked = masker(upstream("Sesame-77"))(said)
    assert MASK in masked
    assert masked != said


def test_a_token_is_masked_in_every_form() -> None:
    mask = masker(upstream(None), Secret("ya29.Planted"))
    frame = "dXNlcj1tZUB4LmV4YW1wbGUBYXV0aD1CZWFyZXIgeWEyOS5QbGFudGVkAQE="
    for said in ("bad ya29.planted", frame, "eWEyOS5QbGFudGVk"):
        assert MASK in mask(said)
    assert mask("250 2.0.0 OK queued as 4Zx") == "250 2.0.0 OK queued as 4Zx"
    assert hide()("anything") == "anything"
    # A short one is taken for the secret only where it stands alone.
    short = masker(upstream("a1"))
    assert short("a1 data1 a1.") == f"{MASK} data1 {MASK}."
