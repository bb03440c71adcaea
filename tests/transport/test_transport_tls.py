"""Certificates: what each way of validating takes, over real handshakes; no login leaves before."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from pathlib import Path

import msgspec
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from transport.fake_store import make_upstream
from transport.scripted import Scripted
from waypost.core.errors import Secret
from waypost.core.upstream import Encryption, Upstream, Validate
from waypost.transport.link import tls as our_tls
from waypost.transport.link.connect import Dialer, SignedIn
from waypost.transport.link.guard import Guard
from waypost.transport.trouble import Scope, TransportError

Made = tuple[dict[str, ssl.SSLContext], str]


def self_signed(path: Path, name: str) -> ssl.SSLContext:
    """A server's context with a certificate that nobody but itself signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=36_500))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = path / f"{name}.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    pem.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Server contexts by what is wrong with them, and the file of roots that is trusted."""
    path = tmp_path_factory.mktemp("tls")
    ours, other = trustme.CA(), trustme.CA()
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    contexts = {}
    for name, certificate in {
        "good": ours.issue_cert("localhost"),
        "good too": ours.issue_cert("localhost"),
        "wrong name": ours.issue_cert("mail.hoster.example", "www.hoster.example"),
        "wildcard": ours.issue_cert("*.hoster.example"),
        "another name": ours.issue_cert("mail.elsewhere.example"),
        "expired": ours.issue_cert("localhost", not_after=past),
        "unknown authority": other.issue_cert("localhost"),
    }.items():
        contexts[name] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(contexts[name])
    contexts["self-signed"] = self_signed(path, "localhost")
    contexts["self-signed anew"] = self_signed(path, "mail.example")
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.issue_cert("localhost").configure_cert(old)
    old.minimum_version = ssl.TLSVersion.TLSv1_3
    contexts["only 1.3"] = old
    roots = path / "roots.pem"
    ours.cert_pem.write_to_path(str(roots))
    return contexts, str(roots)


def sign_in(
    made: Made, which: str, validate: Validate, pin: str = "", implicit: bool = False
) -> tuple[str, str, list[str]]:
    """(pin that was decided, reason of a refusal, commands that the server saw)."""

    async def play() -> tuple[str, str, list[str]]:
        contexts, roots = made
        dialer = Dialer("relay.test", Guard(), authorities=roots)
        async with Scripted(tls=contexts[which], implicit=implicit) as server:
            upstream = make_upstream(
                server.port,
                host="localhost",
                encryption=Encryption.TLS if implicit else Encryption.STARTTLS,
                validate=validate,
                pin=pin,
                username="user",
                password=Secret("pass"),
            )
            try:
                signed = await dialer.sign_in(upstream, dialer.contexts())
            except TransportError as error:
                assert error.trouble is not None
                assert error.trouble.scope is Scope.UPSTREAM_PAUSED
                assert "pass" not in error.transcript.replace("password", "")
                return "", error.public, server.commands
            signed.stream.close()
            return signed.pin, "", server.commands

    return asyncio.run(play())


TAKEN = [
    ("good", Validate.ON, "", ""),
    ("only 1.3", Validate.ON, "", ""),
    ("good", Validate.AUTO, "", "verified"),
    ("good too", Validate.AUTO, "verified", ""),
    ("wrong name", Validate.AUTO, "", "name:mail.hoster.example"),
    ("wrong name", Validate.AUTO, "name:mail.hoster.example", ""),
    ("wildcard", Validate.AUTO, "name:mail.hoster.example", ""),
    *((which, Validate.OFF, "", "") for which in ("good", "expired", "self-signed", "wrong name")),
    ("unknown authority", Validate.OFF, "", ""),
]


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize(("which", "validate", "pin", "decided"), TAKEN)
def test_taken(
    made: Made, which: str, validate: Validate, pin: str, decided: str, implicit: bool
) -> None:
    assert sign_in(made, which, validate, pin, implicit)[:2] == (decided, "")


REFUSED = [
    ("expired", Validate.ON, "", "expired"),
    ("wrong name", Validate.ON, "", "not valid for"),
    ("self-signed", Validate.ON, "", "self-signed"),
    ("unknown authority", Validate.ON, "", "unable to get local issuer"),
    ("expired", Validate.AUTO, "", "expired"),
    ("unknown authority", Validate.AUTO, "", "unable to get local issuer"),
    ("wrong name", Validate.AUTO, "verified", "not valid for"),
    ("self-signed", Validate.AUTO, "verified", "self-signed"),
    ("another name", Validate.AUTO, "name:mail.hoster.example", "mail.elsewhere.example"),
    ("self-signed", Validate.AUTO, "name:localhost", "self-signed"),
    ("good", Validate.AUTO, "key:" + "ab" * 32, "ab" * 32),
]


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize(("which", "validate", "pin", "words"), REFUSED)
def test_refused_before_any_login(
    made: Made, which: str, validate: Validate, pin: str, words: str, implicit: bool
) -> None:
    decided, reason, commands = sign_in(made, which, validate, pin, implicit)
    assert decided == ""
    assert words in reason
    assert not [line for line in commands if line.startswith(("AUTH", "MAIL"))]


def test_a_self_signed_key_is_pinned_and_a_new_one_is_shown(made: Made) -> None:
    pin, _, _ = sign_in(made, "self-signed", Validate.AUTO)
    assert pin.startswith("key:")
    assert sign_in(made, "self-signed", Validate.AUTO, pin)[1] == ""
    new, _, _ = sign_in(made, "self-signed anew", Validate.AUTO)
    _, reason, commands = sign_in(made, "self-signed anew", Validate.AUTO, pin)
    assert pin[4:] in reason
    assert new[4:] in reason
    assert not [line for line in commands if line.startswith("AUTH")]


def test_old_versions_of_tls_are_not_spoken() -> None:
    for trust in our_tls.Trust:
        context = our_tls.Contexts().get(trust)
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def outcome(server: Scripted, upstream: Upstream) -> TransportError | SignedIn:
    async def play() -> TransportError | SignedIn:
        dialer = Dialer("relay.test", Guard())
        async with server:
            there = msgspec.structs.replace(upstream, port=server.port)
            try:
                return await dialer.sign_in(there, dialer.contexts())
            except TransportError as error:
                return error

    return asyncio.run(play())


def test_no_starttls_no_login() -> None:
    server = Scripted()
    wanted = make_upstream(
        1, encryption=Encryption.STARTTLS, username="user", password=Secret("secret-word")
    )
    error = outcome(server, wanted)
    assert isinstance(error, TransportError)
    assert error.trouble is not None
    assert error.trouble.scope is Scope.UPSTREAM_PAUSED
    assert "STARTTLS" in error.public
    assert not [line for line in server.commands if line.startswith("AUTH")]


def test_tls_spoken_to_a_plain_port_pauses() -> None:
    error = outcome(Scripted(), make_upstream(1, encryption=Encryption.TLS))
    assert isinstance(error, TransportError)
    assert error.trouble is not None
    assert error.trouble.scope is Scope.UPSTREAM_PAUSED


def test_without_encryption_the_login_goes_in_the_clear() -> None:
    server = Scripted()
    signed = outcome(server, make_upstream(1, username="user", password=Secret("s3same")))
    assert isinstance(signed, SignedIn)
    assert "s3same" not in signed.stream.session.transcript.text()
    assert [line for line in server.commands if line.startswith("AUTH")]


def test_what_follows_the_answer_to_starttls_is_not_read_inside(made: Made) -> None:
    contexts, _ = made
    server = Scripted({"starttls": "early"}, tls=contexts["good"])
    error = outcome(server, make_upstream(1, encryption=Encryption.STARTTLS))
    assert isinstance(error, TransportError)
