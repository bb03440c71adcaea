"""A DKIM key record (RFC 6376 3.6.1, RFC 8301, RFC 8463). Pure: text in, a key or its fault out.

Promises that no record costs more than a bounded time to read or to verify with. Knows nothing of
DNS and signatures.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING

import msgspec

from waypost.domain import tags

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

BITS_LEAST = 1_024  # RFC 8301 3.2: a verifier must not take less
BITS_ADVISED = 2_048  # RFC 8301 3.2: a signer should use
BITS_MOST = 8_192  # a verification beyond it is an attack
RECORD_CHARACTERS = 8_192
EXPONENT_MOST = 2**32


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """`fault`: why no signature verifies with it, "" where one may. `public`: the key itself."""

    text: str
    type: str = "rsa"
    bits: int = 0
    revoked: bool = False
    testing: bool = False
    strict: bool = False  # t=s: the identity must be of the domain itself
    hashes: tuple[str, ...] = ()
    services: tuple[str, ...] = ("*",)
    fault: str = ""
    public: object | None = None


def is_record(text: str) -> bool:
    """It may be a key: it has a p tag, and its version, where it has one, is DKIM1."""
    found = tags.parse(text[:RECORD_CHARACTERS])
    return found.get("v", "DKIM1").upper() == "DKIM1" and (
        "p" in found.values or text[:7].upper() == "V=DKIM1"
    )


def read(text: str) -> Key:
    """The key. Whatever is wrong with it is its `fault`."""
    if len(text) > RECORD_CHARACTERS:
        return Key(text=text, fault=f"it is longer than {RECORD_CHARACTERS} characters")
    found = tags.parse(text)
    kind = found.get("k", "rsa").lower()
    flags = {flag.strip().lower() for flag in found.get("t").split(":")}
    key = Key(
        text=text,
        type=kind,
        testing="y" in flags,
        strict="s" in flags,
        hashes=_list(found.get("h")),
        services=_list(found.get("s")) or ("*",),
    )
    fault = found.problem or _fault(found)
    if fault:
        return msgspec.structs.replace(key, fault=fault)
    octets = re.sub(r"[ \t\r\n]", "", found.get("p"))
    if not octets:
        return msgspec.structs.replace(key, revoked=True, fault="it is revoked (p= is empty)")
    try:
        raw = base64.b64decode(octets.encode("latin-1"), validate=True)
    except (binascii.Error, ValueError):
        return msgspec.structs.replace(key, fault="what stands in p= is not base64")
    return _loaded(key, raw)


def _fault(found: tags.Tags) -> str:
    if "v" in found.values and (found.get("v") != "DKIM1" or next(iter(found.values)) != "v"):
        return "v= must be DKIM1 and stand first"
    if "p" not in found.values:
        return "it has no p=, where the key belongs"
    if found.get("k", "rsa").lower() not in ("rsa", "ed25519"):
        return f"the key type {found.get('k')[:20]} is unknown"
    services = _list(found.get("s")) or ("*",)
    if "*" not in services and "email" not in services:
        return "s= does not allow it for email"
    return ""


def _loaded(key: Key, raw: bytes) -> Key:
    if key.type == "ed25519":
        return _ed25519(key, raw)
    public = _rsa(raw)
    if public is None:
        return msgspec.structs.replace(key, fault="what stands in p= is not an RSA public key")
    bits = public.key_size
    fault = ""
    if bits < BITS_LEAST:
        fault = f"it has {bits} bits: receivers take none below {BITS_LEAST}"
    elif bits > BITS_MOST or public.public_numbers().e > EXPONENT_MOST:
        fault = f"it has {bits} bits: receivers need not take one this large"
    return msgspec.structs.replace(key, bits=bits, fault=fault, public=public)


def _ed25519(key: Key, raw: bytes) -> Key:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if len(raw) != 32:  # RFC 8463 4
        return msgspec.structs.replace(key, fault="an ed25519 key is 32 octets in base64")
    public: Ed25519PublicKey = Ed25519PublicKey.from_public_bytes(raw)
    return msgspec.structs.replace(key, bits=256, public=public)


def _rsa(raw: bytes) -> RSAPublicKey | None:
    """SubjectPublicKeyInfo, or the bare RSAPublicKey that RFC 6376 names."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    bare = b"-----BEGIN RSA PUBLIC KEY-----\n" + base64.encodebytes(raw)
    for load, octets in (
        (serialization.load_der_public_key, raw),
        (serialization.load_pem_public_key, bare + b"-----END RSA PUBLIC KEY-----\n"),
    ):
        try:
            public = load(octets)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            continue
        if isinstance(public, RSAPublicKey):
            return public
    return None


def mended(text: str) -> str | None:
    """The record with the usual slips of copying put right, if it then holds a good key."""
    fixed = text.strip(" \t\"'").replace("\\;", ";").replace('"', "")
    fixed = re.sub(r"-----(?:BEGIN|END)[A-Z ]*-----", "", fixed)
    if not re.search(r"(?:^|;)\s*p\s*=", fixed) and re.fullmatch(r"[A-Za-z0-9+/=\s]{100,}", fixed):
        fixed = "p=" + fixed
    values = tags.parse(fixed).values
    if "p" not in values:
        return None
    values = {n: v for n, v in values.items() if n != "v" and tags.PLAIN.fullmatch(v) is not None}
    if "p" not in values:
        return None
    values["p"] = re.sub(r"\s", "", values["p"])
    made = "; ".join(["v=DKIM1", *(f"{name}={value}" for name, value in values.items())])
    return made if made != text and not read(made).fault else None


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip().lower() for part in text.split(":") if part.strip())
