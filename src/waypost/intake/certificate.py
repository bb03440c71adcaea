"""The certificate of the listeners: made where none is configured, loaded, reloaded when its file
changes.

Promises a context of TLS 1.2 and newer with AEAD ciphers only, and that a reload never breaks a
running session or a working certificate. Knows nothing of sockets and sessions.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from waypost.core.errors import ConfigError

SELF_SIGNED_DAYS = (
    3650  # nobody verifies it by date; an expired one would only break strict clients
)
BACKDATED_DAYS = 1  # a client's clock may be behind
COMMON_NAME_CHARACTERS = 64  # RFC 5280 appendix A.1, ub-common-name
CERTIFICATE_FILE = "certificate.pem"
KEY_FILE = "certificate-key.pem"

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"  # of TLS 1.2; those of 1.3 are all AEAD (RFC 8446 B.4)


def made(directory: Path, hostname: str, now_ms: int) -> tuple[Path, Path]:
    """The self-signed certificate and key (mode 0600) of this directory, made where missing."""
    certificate, key = directory / CERTIFICATE_FILE, directory / KEY_FILE
    if not (certificate.exists() and key.exists()):
        _make(certificate, key, hostname, now_ms)
    return certificate, key


def _make(certificate: Path, key: Path, hostname: str, now_ms: int) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hostname[:COMMON_NAME_CHARACTERS])])
    now = datetime.datetime.fromtimestamp(now_ms / 1000, datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=BACKDATED_DAYS))
        .not_valid_after(now + datetime.timedelta(days=SELF_SIGNED_DAYS))
        .add_extension(x509.SubjectAlternativeName(_names(hostname)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(private, hashes.SHA256())
    )
    _write(
        key,
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )
    _write(certificate, built.public_bytes(serialization.Encoding.PEM))


def _names(hostname: str) -> list[x509.GeneralName]:
    loopback = ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")
    names: list[x509.GeneralName] = []
    try:
        names.append(x509.IPAddress(ipaddress.ip_address(hostname.strip("[]"))))
    except ValueError:
        if hostname.isascii() and hostname.lower() != "localhost":
            names.append(x509.DNSName(hostname))
    return [*names, x509.DNSName("localhost"), *(x509.IPAddress(address) for address in loopback)]


def _write(path: Path, octets: bytes) -> None:
    """Whole or not at all: two processes that start together must not leave half a key."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(octets)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error


class Certificate:
    """A certificate and its key on disk, and the context that new handshakes use.

    Ask for `context` at each handshake. It stays the same object while the kind of key stays the
    same, so that session tickets outlive a renewal. Raises `ConfigError` with one clear line.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate = certificate
        self._key = key
        self._stamp = self._stamped()
        self._kind, self.ends_at_ms, self.context = self._load()

    def refresh(self) -> str | None:
        """Looks at the files again: None where nothing changed, else what happened in plain words.

        Files that do not load leave the old certificate in use, until they change again.
        """
        stamp = self._stamped()
        if stamp == self._stamp:
            return None
        self._stamp = stamp
        try:
            kind, ends_at_ms, fresh = self._load()
        except ConfigError as error:
            return f"the old certificate stays in use: {error.public}"
        if kind == self._kind:
            self.context.load_cert_chain(self._certificate, self._key, password=_no_password)
        else:
            # A context keeps one certificate of each kind: the old one would still be served.
            self.context = fresh
        self._kind, self.ends_at_ms = kind, ends_at_ms
        return f"the certificate {self._certificate} was loaded again"

    def _stamped(self) -> tuple[tuple[int, int, int] | None, ...]:
        """What changes when a file does; links are followed, as ACME clients replace those."""
        stamps: list[tuple[int, int, int] | None] = []
        for path in (self._certificate, self._key):
            try:
                seen = path.stat()
            except OSError:
                stamps.append(None)
            else:
                stamps.append((seen.st_mtime_ns, seen.st_ino, seen.st_size))
        return tuple(stamps)

    def _load(self) -> tuple[str, int, ssl.SSLContext]:
        """Kind of key, end in milliseconds since 1970, and a new context."""
        pem = _read("tls.certificate", self._certificate)
        _read("tls.key", self._key)
        try:
            leaf = x509.load_pem_x509_certificate(pem)
        except ValueError as error:
            raise ConfigError(
                f"tls.certificate: {self._certificate} is no PEM certificate"
            ) from error
        context = _context()
        try:
            context.load_cert_chain(self._certificate, self._key, password=_no_password)
        except ssl.SSLError as error:
            raise ConfigError(_explained(error, self._certificate, self._key)) from error
        except OSError as error:
            raise ConfigError(f"tls.key: cannot read {self._key}: {error.strerror}") from error
        ends_at_ms = int(leaf.not_valid_after_utc.timestamp() * 1000)
        return type(leaf.public_key()).__name__, ends_at_ms, context


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8996
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.num_tickets = 1  # a client keeps one; the second only costs
    return context


def _no_password() -> str:
    """OpenSSL must never ask on the terminal of a service."""
    return ""


def _read(setting: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{setting}: cannot read {path}: {error.strerror}") from error


def _explained(error: ssl.SSLError, certificate: Path, key: Path) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"tls.key: {key} is not the key of the certificate {certificate}"
    if b"ENCRYPTED" in key.read_bytes():
        return f"tls.key: {key} is encrypted; give a key without a password"
    return f"tls: {certificate} with {key} cannot be used: {error.reason or 'not a PEM key'}"
