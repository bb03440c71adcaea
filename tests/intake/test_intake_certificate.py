"""The certificate: made, loaded, reloaded, and wrong in every usual way."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import pytest
import trustme
from cryptography import x509

from waypost.core.errors import ConfigError
from waypost.intake.certificate import Certificate, made

NOW_MS = 1_795_000_000_000


def issued(directory: Path, name: str, kind: trustme.KeyType) -> tuple[Path, Path]:
    cert = trustme.CA(key_type=kind).issue_cert("relay.test", key_type=kind)
    certificate, key = directory / f"{name}.pem", directory / f"{name}.key"
    cert.cert_chain_pems[0].write_to_path(certificate)
    cert.private_key_pem.write_to_path(key)
    return certificate, key


def test_one_is_made_once_and_its_key_is_for_the_owner_alone(tmp_path: Path) -> None:
    certificate, key = made(tmp_path, "relay.test", NOW_MS)
    before = certificate.read_bytes()
    assert made(tmp_path, "relay.test", NOW_MS) == (certificate, key)
    assert certificate.read_bytes() == before
    assert key.stat().st_mode & 0o777 == 0o600
    names = (
        x509.load_pem_x509_certificate(before)
        .extensions.get_extension_for_class(x509.SubjectAlternativeName)
        .value.get_values_for_type(x509.DNSName)
    )
    assert names == ["relay.test", "localhost"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([certificate.name, key.name])


@pytest.mark.parametrize("hostname", ["localhost", "192.0.2.1", "büro", "a" * 100])
def test_any_machine_name_gives_a_certificate(tmp_path: Path, hostname: str) -> None:
    Certificate(*made(tmp_path, hostname, NOW_MS))


def test_only_new_protocols_and_aead_ciphers(tmp_path: Path) -> None:
    context = Certificate(*made(tmp_path, "relay.test", NOW_MS)).context
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert all(cipher["aead"] for cipher in context.get_ciphers())
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.options & ssl.OP_NO_COMPRESSION


def test_a_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^tls\.certificate: cannot read .*No such file"):
        Certificate(tmp_path / "no.pem", tmp_path / "no.key")
    certificate, _ = made(tmp_path, "relay.test", NOW_MS)
    with pytest.raises(ConfigError, match=r"^tls\.key: cannot read .*No such file"):
        Certificate(certificate, tmp_path / "no.key")


def test_a_key_of_another_certificate_and_no_pem_at_all(tmp_path: Path) -> None:
    ours = issued(tmp_path, "ours", trustme.KeyType.ECDSA)
    other = issued(tmp_path, "other", trustme.KeyType.ECDSA)
    with pytest.raises(ConfigError, match="is not the key of the certificate"):
        Certificate(ours[0], other[1])
    ours[0].write_text("no certificate")
    with pytest.raises(ConfigError, match="is no PEM certificate"):
        Certificate(*ours)


def test_an_encrypted_key_never_asks_on_a_terminal(tmp_path: Path) -> None:
    certificate, key = issued(tmp_path, "ours", trustme.KeyType.ECDSA)
    from cryptography.hazmat.primitives import serialization

    private = serialization.load_pem_private_key(key.read_bytes(), None)
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(ConfigError, match="is encrypted"):
        Certificate(certificate, key)


@pytest.mark.parametrize(
    ("kind", "same"), [(trustme.KeyType.ECDSA, True), (trustme.KeyType.RSA, False)]
)
def test_a_changed_file_is_loaded_in_place_unless_the_kind_of_key_changed(
    tmp_path: Path, kind: trustme.KeyType, same: bool
) -> None:
    paths = issued(tmp_path, "ours", trustme.KeyType.ECDSA)
    certificate = Certificate(*paths)
    context = certificate.context
    assert certificate.refresh() is None
    for new, old in zip(issued(tmp_path, "new", kind), paths, strict=True):
        new.replace(old)
    assert "loaded again" in str(certificate.refresh())
    assert (certificate.context is context) is same
    assert certificate.refresh() is None


def test_a_broken_renewal_leaves_the_old_one_in_use(tmp_path: Path) -> None:
    paths = issued(tmp_path, "ours", trustme.KeyType.ECDSA)
    certificate = Certificate(*paths)
    context, good = certificate.context, paths[0].read_bytes()
    paths[0].write_text("half a certif")
    assert "the old certificate stays in use" in str(certificate.refresh())
    assert certificate.refresh() is None
    assert certificate.context is context
    os.unlink(paths[0])  # noqa: PTH108
    assert "cannot read" in str(certificate.refresh())
    paths[0].write_bytes(good)
    assert "loaded again" in str(certificate.refresh())
