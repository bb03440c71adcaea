"""A DKIM-Signature field (RFC 6376 3.5). Pure: text in, a signature or its fault out.

Knows nothing of keys and of whether it verifies.
"""

from __future__ import annotations

import base64
import binascii
import re

import msgspec

from waypost.domain import tags

FIELD_CHARACTERS = 65_536
SIGNED_MOST = 500  # names in h=; more is an attempt on the verifier
_DOMAIN = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})+")
_SELECTOR = re.compile(r"[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*")
_NUMBER = re.compile(r"\d{1,12}")


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """`fault`: why it cannot be verified at all. `header_form`, `body_form`: simple or relaxed.
    `length`: octets of the body that are signed, None: all. Times: seconds since 1970."""

    domain: str = ""
    selector: str = ""
    algorithm: str = ""
    header_form: str = "simple"
    body_form: str = "simple"
    signed: tuple[str, ...] = ()
    identity: str = ""
    body_hash: bytes = b""
    octets: bytes = b""
    length: int | None = None
    made_s: int | None = None
    expires_s: int | None = None
    fault: str = ""


def parse(text: str) -> Signature:
    """The signature of a field's value, folds and all."""
    if len(text) > FIELD_CHARACTERS:
        return Signature(fault="the field is too long")
    found = tags.parse(text)
    domain, selector = found.get("d").lower(), _unfolded(found.get("s"))
    made = Signature(domain=domain, selector=selector, algorithm=found.get("a").lower())
    fault = found.problem or _fault(found, domain, selector)
    if fault:
        return msgspec.structs.replace(made, fault=fault)
    forms = found.get("c", "simple/simple").lower().split("/")
    signed = tuple(name.strip().lower() for name in _unfolded(found.get("h")).split(":"))
    body_hash, octets = _decoded(found.get("bh")), _decoded(found.get("b"))
    if body_hash is None or octets is None:
        return msgspec.structs.replace(made, fault="bh= or b= is not base64")
    identity = found.get("i", f"@{domain}").rpartition("@")[2].lower()
    made = msgspec.structs.replace(
        made,
        header_form=forms[0],
        body_form=forms[1] if len(forms) > 1 else "simple",
        signed=signed,
        identity=identity,
        body_hash=body_hash,
        octets=octets,
        length=int(found.get("l")) if "l" in found.values else None,
        made_s=_time(found.get("t")),
        expires_s=_time(found.get("x")),
    )
    return msgspec.structs.replace(made, fault=_at_odds(made))


def _fault(found: tags.Tags, domain: str, selector: str) -> str:
    for name in ("v", "a", "b", "bh", "d", "h", "s"):
        if not found.get(name):
            return f"{name}= is missing"
    if found.get("v") != "1":
        return f"v={found.get('v')[:10]} is not 1"
    if _DOMAIN.fullmatch(domain) is None or _SELECTOR.fullmatch(selector) is None:
        return "d= or s= is not a name"
    if found.get("h").count(":") >= SIGNED_MOST:
        return f"h= names more than {SIGNED_MOST} fields"
    if found.get("q", "dns/txt").lower() != "dns/txt":
        return "its key is not asked for in DNS"
    numbers = ("l", "t", "x")
    if any(n in found.values and _NUMBER.fullmatch(found.get(n)) is None for n in numbers):
        return "l=, t= or x= is not a number"
    return ""


def _at_odds(made: Signature) -> str:
    if {made.header_form, made.body_form} - {"simple", "relaxed"}:
        return "c= is not of simple and relaxed"
    if "from" not in made.signed:
        return "it does not cover the From field"  # 5.4
    if made.identity != made.domain and not made.identity.endswith(f".{made.domain}"):
        return "i= is not of d="  # 3.5
    if made.made_s is not None and made.expires_s is not None and made.expires_s < made.made_s:
        return "it expired before it was made"
    return ""


def _decoded(text: str) -> bytes | None:
    try:
        plain = re.sub(r"[ \t\r\n]", "", text).encode("latin-1")
        return base64.b64decode(plain, validate=True)
    except (binascii.Error, ValueError):
        return None


def _time(text: str) -> int | None:
    return int(text) if text else None


def _unfolded(text: str) -> str:
    return re.sub(r"[ \t\r\n]", "", text)
