"""Signatures made for tests, the long way."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

from waypost.domain.dkim import canonical
from waypost.domain.verify import message

PrivateKey = rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
LETTER = b"From: a@example.com\r\nSubject: s\r\n\r\nhello\r\n"


@cache
def rsa_key(bits: int = 1024) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65_537, bits)


def pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


def record(key: PrivateKey, beside: str = "") -> str:
    """The record of its public key; `beside`: further tags, each with its semicolon."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        raw = key.public_key().public_bytes_raw()
        return f"v=DKIM1; k=ed25519; {beside}p={base64.b64encode(raw).decode()}"
    der = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return f"v=DKIM1; {beside}p={base64.b64encode(der).decode()}"


def signed_by(key: PrivateKey, text: str, octets: bytes = LETTER, algorithm: str = "") -> bytes:
    """A message with a signature on top: `text` are the tags but v=, a=, c=, bh= and b=."""
    whole = message.read(octets)
    bh = base64.b64encode(hashlib.sha256(canonical.body(whole.body, "relaxed")).digest()).decode()
    kind = "rsa" if isinstance(key, rsa.RSAPrivateKey) else "ed25519"
    algorithm = algorithm or f"{kind}-sha256"
    field = f"DKIM-Signature: v=1; a={algorithm}; c=relaxed/relaxed; {text}; bh={bh}; b="
    names = re.search(r"\bh=([^;]*)", text)
    assert names is not None
    left = list(whole.fields)
    data = b""
    for name in names[1].lower().split(":"):
        found = [one for one in left if one.name == name.strip()]
        if found:
            left.remove(found[-1])
            data += canonical.field(found[-1].raw, "relaxed")
    data += canonical.field(field.encode() + b"\r\n", "relaxed").removesuffix(b"\r\n")
    if isinstance(key, rsa.RSAPrivateKey):
        made = key.sign(data, PKCS1v15(), hashes.SHA256())
    else:
        made = key.sign(hashlib.sha256(data).digest())
    return field.encode() + base64.b64encode(made) + b"\r\n" + octets
