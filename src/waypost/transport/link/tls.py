"""How an upstream's certificate is trusted: contexts, and the pins of `auto`.

Promises TLS 1.2 or newer. A pin is empty (decide now), `verified`, `name:HOST` or `key:HEX`. Knows
nothing of SMTP and opens no connection.
"""

from __future__ import annotations

import enum
import hashlib
import ssl

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from waypost.core.upstream import Validate

# OpenSSL x509_vfy.h
_SELF_SIGNED_LEAF = 18
_HOSTNAME_MISMATCH = 62
_IP_MISMATCH = 64


class Trust(enum.Enum):
    """What is asked of a certificate in one handshake."""

    FULL = "chain and name"
    CHAIN = "chain, another name"
    ANY = "anything; the public key may be compared afterwards"


class Mismatch(Exception):
    """The certificate is not the pinned one; the text shows what was expected and what was seen."""


class Contexts:
    """The TLS contexts of one upstream, each made once. `authorities`: PEM of further roots."""

    def __init__(self, authorities: str | None = None) -> None:
        self._authorities = authorities
        self._made: dict[Trust, ssl.SSLContext] = {}

    def get(self, trust: Trust) -> ssl.SSLContext:
        context = self._made.get(trust)
        if context is None:
            context = self._made[trust] = self._make(trust)
        return context

    def _make(self, trust: Trust) -> ssl.SSLContext:
        context = ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self._authorities is not None:
            context.load_verify_locations(self._authorities)
        context.check_hostname = trust is Trust.FULL
        context.verify_mode = ssl.CERT_NONE if trust is Trust.ANY else ssl.CERT_REQUIRED
        return context


def trust_of(validate: Validate, pin: str) -> Trust:
    """What the first handshake asks for."""
    if validate is Validate.OFF:
        return Trust.ANY
    if validate is Validate.ON or not pin or pin == "verified":
        return Trust.FULL
    return Trust.CHAIN if pin.startswith("name:") else Trust.ANY


def weaker(error: ssl.SSLCertVerificationError) -> Trust | None:
    """What an undecided `auto` asks for next, once full trust failed so; None: it is refused."""
    if error.verify_code in (_HOSTNAME_MISMATCH, _IP_MISMATCH):
        return Trust.CHAIN
    return Trust.ANY if error.verify_code == _SELF_SIGNED_LEAF else None


def pin_of(trust: Trust, certificate: bytes) -> str:
    """The pin that a certificate (DER) which passed this trust is kept by."""
    if trust is Trust.FULL:
        return "verified"
    if trust is Trust.ANY:
        return f"key:{key_digest(certificate)}"
    return f"name:{next(iter(names(certificate)), '')}"


def check_pin(pin: str, certificate: bytes) -> None:
    """Raises `Mismatch` where the certificate (DER) is not the pinned one."""
    kind, _, value = pin.partition(":")
    if kind == "name" and not any(_covers(name, value) for name in names(certificate)):
        seen = ", ".join(names(certificate)[:5]) or "no name"
        raise Mismatch(f"certificate changed: it was for {value}, now it is for {seen}")
    if kind == "key" and key_digest(certificate) != value:
        seen = key_digest(certificate)
        raise Mismatch(f"certificate changed: its key was {value}, now it is {seen}")


def key_digest(certificate: bytes) -> str:
    """SHA-256 of the public key (SubjectPublicKeyInfo, DER) in lower-case hex."""
    key = x509.load_der_x509_certificate(certificate).public_key()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()


def names(certificate: bytes) -> list[str]:
    """The names (DNS and addresses) a certificate is for, RFC 6125 6.4: from its SAN only."""
    parsed = x509.load_der_x509_certificate(certificate)
    try:
        held = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    found = [name.lower() for name in held.get_values_for_type(x509.DNSName)]
    return found + [str(address) for address in held.get_values_for_type(x509.IPAddress)]


def _covers(name: str, wanted: str) -> bool:
    """RFC 6125 6.4.3: equal, or a wildcard for the whole left-most label."""
    wanted = wanted.lower()
    if name == wanted:
        return True
    rest = wanted.partition(".")[2]
    return name.startswith("*.") and bool(rest) and name[2:] == rest
