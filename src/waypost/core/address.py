"""One mail address (RFC 5321 4.1.2 Mailbox), parsed once and never parsed again.

The domain is kept in lower case as IDNA A-labels (RFC 5891), the local part as it was written,
quoted only where it must be. Addresses are equal when their `key` is: case-insensitive, whole.
"""

from __future__ import annotations

import functools
import re

import idna
import msgspec

from waypost.core.errors import AddressError, NonAsciiLocalPart

ADDRESS_OCTETS = 320  # 64 + "@" + 255, RFC 5321 4.5.3.1.1 and .2
LOCAL_OCTETS = 64  # RFC 5321 4.5.3.1.1
DOMAIN_OCTETS = 255  # RFC 5321 4.5.3.1.2
LABEL_OCTETS = 63  # RFC 1035 2.3.4
NAME_CHARACTERS = 4 * DOMAIN_OCTETS  # looked at one by one; UTS 46 makes one of several at times
KEPT_ADDRESSES = 1_024  # a recipient is read twice in a row, a sender again and again

_ATEXT = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
_DOT_ATOM = re.compile(rf"{_ATEXT}+(?:\.{_ATEXT}+)*")
_QUOTED = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\[\x20-\x7e])*)"')
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?")
_HOST = re.compile(
    r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*"
)
_IPV4 = re.compile(r"\[\d{1,3}(?:\.\d{1,3}){3}\]")
_IPV6 = re.compile(r"\[ipv6:[0-9a-f:.]{2,45}\]")


class Address(msgspec.Struct, frozen=True, order=True):
    """A mailbox; `local` is in its wire form (quoted where needed), `domain` in A-labels."""

    local: str
    domain: str

    def __str__(self) -> str:
        return f"{self.local}@{self.domain}"

    @property
    def key(self) -> str:
        """What addresses are compared by."""
        return f"{self.local}@{self.domain}".lower()


def parse(text: str) -> Address:
    """The address that the whole text is, else `NonAsciiLocalPart` or `AddressError`."""
    return _kept(text) if len(text) <= ADDRESS_OCTETS else _parsed(text)


def _parsed(text: str) -> Address:
    local, at, domain = text.rpartition("@")
    if not at:
        raise AddressError(f"{_shown(text)} has no @")
    if not (local and domain):
        missing = "after" if local else "before"
        raise AddressError(f"{_shown(text)} has nothing {missing} the @")
    return make(local, domain)


_kept = functools.lru_cache(KEPT_ADDRESSES)(_parsed)


def sought(text: str) -> str:
    """What may be an address, or part of one, as it is looked for among `Address.key`s."""
    try:
        return parse(text.strip()).key
    except AddressError:
        return text.lower()


def make(local: str, domain: str) -> Address:
    """The address of a local part in wire form and a domain in any form."""
    return Address(_local(local), _domain(domain))


def _local(local: str) -> str:
    if not local.isascii():
        raise NonAsciiLocalPart(f"the local part of {_shown(local)}@... is not ASCII")
    if _DOT_ATOM.fullmatch(local):
        kept = local
    else:
        quoted = _QUOTED.fullmatch(local)
        if quoted is None:
            raise AddressError(f"{_shown(local)} is not a local part")
        content = re.sub(r"\\(.)", r"\1", quoted.group(1))
        escaped = re.sub(r'(["\\])', r"\\\1", content)
        kept = content if _DOT_ATOM.fullmatch(content) else f'"{escaped}"'
    if len(kept) > LOCAL_OCTETS:
        raise AddressError(f"the local part {_shown(kept)} is longer than {LOCAL_OCTETS} octets")
    return kept


def _domain(domain: str) -> str:
    lowered = domain.lower()
    if len(lowered) <= DOMAIN_OCTETS and _HOST.fullmatch(lowered):
        return lowered
    if lowered.startswith("["):
        if _IPV4.fullmatch(lowered) or _IPV6.fullmatch(lowered):
            return lowered
        raise AddressError(f"{_shown(domain)} is not an address literal")
    if not lowered.isascii():
        lowered = a_labels(lowered)
    if not lowered or len(lowered) > DOMAIN_OCTETS:
        raise AddressError(f"{_shown(domain)} is not a domain name")
    for label in lowered.split("."):
        if len(label) > LABEL_OCTETS or not _LABEL.fullmatch(label):
            raise AddressError(f"{_shown(domain)} is not a domain name")
    return lowered


def a_labels(name: str) -> str:
    """A domain name that is not ASCII in its A-labels (RFC 5891), mapped as UTS 46 says before.

    But for what UTS 46 leaves out without a word (U+FEFF, U+00AD, U+200B, variation selectors):
    no label may hold it (RFC 5892 2.13), and it shows one name to us and another to who reads the
    header next. Raises `AddressError`.
    """
    if len(name) > NAME_CHARACTERS:
        raise AddressError(f"{_shown(name)} is not a domain name")
    try:
        for unseen in (sign for sign in name if not idna.uts46_remap(sign, std3_rules=False)):
            raise AddressError(
                f"{_shown(name)} holds the invisible character U+{ord(unseen):04X}, which no"
                " domain name has"
            )
        return idna.encode(name, uts46=True).decode("ascii")
    except (idna.IDNAError, UnicodeError) as error:
        raise AddressError(f"{_shown(name)} is not a domain name") from error


def _shown(text: str) -> str:
    plain = text.encode("ascii", "backslashreplace").decode()
    plain = re.sub(r"[^\x20-\x7e]", "?", plain)
    return plain if len(plain) <= 80 else plain[:77] + "..."
