"""Verifying one signature (RFC 6376 6.1, RFC 8301, RFC 8463).

Promises a result with its reason for every signature, at a bounded cost. Knows nothing of sockets.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
from collections.abc import Sequence

import msgspec

from waypost.domain.answers import Ask
from waypost.domain.dkim import canonical, keys, signature
from waypost.domain.dkim.keys import Key
from waypost.domain.dkim.signature import Signature

SKEW_S = 300  # a signer's clock may be ahead by so much
KEYS_TRIED = 3  # of several at one name


class Result(enum.StrEnum):
    """RFC 8601 2.7.1."""

    PASS = "pass"
    FAIL = "fail"
    NEUTRAL = "neutral"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


class Field(msgspec.Struct, frozen=True):
    """A header field: its name in lower case, and all of its octets with the last CR LF."""

    name: str
    raw: bytes

    @property
    def value(self) -> str:
        """After the colon, an octet a character, folds and all."""
        return self.raw.partition(b":")[2].decode("latin-1")


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one signature. `partial`: octets of the body that it does not cover."""

    signature: Signature
    result: Result
    why: str
    key: Key | None = None
    partial: int = 0


class Body:
    """The body's hashes, each made once whatever signatures ask."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._forms: dict[str, bytes] = {}
        self._hashes: dict[tuple[str, int | None], bytes] = {}

    def hashed(self, form: str, length: int | None) -> bytes:
        if (form, length) not in self._hashes:
            whole = self.form(form)
            part = whole if length is None else memoryview(whole)[:length]
            self._hashes[form, length] = hashlib.sha256(part).digest()
        return self._hashes[form, length]

    def form(self, form: str) -> bytes:
        if form not in self._forms:
            self._forms[form] = canonical.body(self._octets, form)
        return self._forms[form]


def check(ask: Ask, fields: Sequence[Field], number: int, body: Body, now_s: int) -> Checked:
    """The signature in `fields[number]`."""
    signed = signature.parse(fields[number].value)

    def ended(result: Result, why: str, key: Key | None = None) -> Checked:
        return Checked(signature=signed, result=result, why=why, key=key)

    if signed.fault:
        return ended(Result.PERMERROR, signed.fault)
    if signed.algorithm == "rsa-sha1":
        return ended(Result.PERMERROR, "rsa-sha1 is no longer taken (RFC 8301)")
    if signed.algorithm not in ("rsa-sha256", "ed25519-sha256"):
        return ended(Result.PERMERROR, f"a={signed.algorithm[:30]} is unknown")
    if signed.expires_s is not None and signed.expires_s < now_s:
        return ended(Result.PERMERROR, "it has expired (x=)")
    if signed.made_s is not None and signed.made_s > now_s + SKEW_S:
        return ended(Result.PERMERROR, "it was made in the future (t=)")
    name = f"{signed.selector}._domainkey.{signed.domain}"
    answer = ask.ask(name, "TXT")
    if answer.failed:
        return ended(Result.TEMPERROR, answer.could_not)
    found = [text for text in answer.records if keys.is_record(text)]
    if not found:
        return ended(Result.PERMERROR, f"there is no key at {name}")
    whole = body.form(signed.body_form)
    if signed.length is not None and signed.length > len(whole):
        return ended(Result.PERMERROR, "l= is more than the body has")
    hashed = body.hashed(signed.body_form, signed.length)
    data = _signed_data(fields, number, signed)
    last = ended(Result.PERMERROR, "")
    for text in found[:KEYS_TRIED]:
        key = keys.read(text)
        last = _with_key(signed, key, hashed, data)
        if last.result is Result.PASS:
            break
    left = 0 if signed.length is None else len(whole) - signed.length
    return msgspec.structs.replace(last, partial=left)


def _with_key(signed: Signature, key: Key, hashed: bytes, data: bytes) -> Checked:
    def ended(result: Result, why: str) -> Checked:
        return Checked(signature=signed, result=result, why=why, key=key)

    if key.fault:
        return ended(Result.PERMERROR, f"its key cannot be used: {key.fault}")
    if not signed.algorithm.startswith(f"{key.type}-"):
        return ended(Result.PERMERROR, f"a={signed.algorithm}, but the key is {key.type}")
    if key.hashes and "sha256" not in key.hashes:
        return ended(Result.PERMERROR, "the key does not allow sha256")
    if key.strict and signed.identity != signed.domain:
        return ended(Result.PERMERROR, "the key (t=s) does not allow a subdomain in i=")
    if not hmac.compare_digest(hashed, signed.body_hash):
        return ended(Result.FAIL, "the body was changed after it was signed")
    if not _verifies(key, signed.octets, data):
        return ended(
            Result.FAIL,
            "a signed header field was changed after it was signed, or the key is another one",
        )
    if key.testing:
        return ended(Result.PASS, "the key says that it is only being tested (t=y)")
    return ended(Result.PASS, "")


def _verifies(key: Key, octets: bytes, data: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    try:
        if isinstance(key.public, RSAPublicKey):
            key.public.verify(octets, data, PKCS1v15(), hashes.SHA256())
        elif isinstance(key.public, Ed25519PublicKey):
            key.public.verify(octets, hashlib.sha256(data).digest())  # RFC 8463 3
        else:
            return False
    except (InvalidSignature, ValueError):
        return False
    return True


def _signed_data(fields: Sequence[Field], number: int, signed: Signature) -> bytes:
    """3.7 and 5.4.2: of fields of one name the lowest first; one that is not there is nothing."""
    places: dict[str, list[int]] = {}
    for place, one in enumerate(fields):
        if place != number:
            places.setdefault(one.name, []).append(place)
    parts = []
    for name in signed.signed:
        left = places.get(name)
        if left:
            parts.append(canonical.field(fields[left.pop()].raw, signed.header_form))
    own = canonical.field(canonical.unsigned(fields[number].raw), signed.header_form)
    return b"".join([*parts, own.removesuffix(b"\r\n")])
