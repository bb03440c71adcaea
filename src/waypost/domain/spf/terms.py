"""An SPF record as its terms (RFC 7208 4.6.1 and 12). Pure: text in, terms and problems out.

Promises to read every term, also behind one that is wrong, and to say what is wrong with each, so
that advice can be given where a receiver would only say permerror. Knows nothing of DNS.
"""

from __future__ import annotations

import ipaddress
import re

import msgspec

VERSION = "v=spf1"
SPEC_CHARACTERS = 1_000  # four times what a name can have
QUERYING = frozenset({"include", "a", "mx", "ptr", "exists"})  # 4.6.4, with redirect
_QUALIFIED = re.compile(r"([-+?~]?)([A-Za-z][A-Za-z0-9_.-]*)(.*)", re.DOTALL)
_MODIFIER = re.compile(r"([A-Za-z][A-Za-z0-9_.-]*)=(.*)", re.DOTALL)
_MACRO = re.compile(r"%(?:[%_-]|\{([A-Za-z])(\d*)([rR]?)([.\-+,/_=]*)\})")
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?")
_CIDR = re.compile(r"(?:/(0|[1-9]\d?))?(?://(0|[1-9]\d{0,2}))?")
_CIDR_AT_END = re.compile(r"(?:/\d*)?(?://\d*)?$")
_IP4 = re.compile(r"((?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d))(.*)")
_LETTERS, _ONLY_IN_EXP = "slodiphv", "crt"


class Wrong(Exception):
    """A term is not what the grammar allows; the text says what it should be."""


class Directive(msgspec.Struct, frozen=True):
    """`spec`: the domain-spec, unexpanded, "" for the domain itself; `network`: of ip4 and ip6."""

    text: str
    qualifier: str  # + - ~ ?
    mechanism: str
    spec: str = ""
    network: str = ""
    prefix4: int = 32
    prefix6: int = 128


class Problem(msgspec.Struct, frozen=True):
    """A term that makes the record a permerror, and why."""

    text: str
    why: str


class Record(msgspec.Struct, frozen=True):
    """The terms in order. `redirect` and `exp` are domain-specs, unexpanded."""

    text: str
    directives: tuple[Directive, ...] = ()
    redirect: str | None = None
    exp: str | None = None
    problems: tuple[Problem, ...] = ()

    @property
    def all(self) -> Directive | None:
        """The first `all`: nothing behind it is ever looked at."""
        return next((d for d in self.directives if d.mechanism == "all"), None)


def is_record(text: str) -> bool:
    """4.5: the version, alone or with a space behind it."""
    return text[:6].lower() == VERSION and text[6:7] in ("", " ")


def parse(text: str) -> Record:
    """The record; what is wrong with it stands in `problems`, in order."""
    directives: list[Directive] = []
    problems: list[Problem] = []
    found: dict[str, str] = {}
    for term in text[len(VERSION) :].split(" "):
        if not term:
            continue
        try:
            modifier = _MODIFIER.fullmatch(term)
            if modifier is None:
                directives.append(_directive(term))
                continue
            name, value = modifier[1].lower(), modifier[2]
            if name not in ("redirect", "exp"):
                macro_string(value)
            elif name in found:
                raise Wrong(f"{name}= stands twice")
            else:
                domain_spec(value)
                found[name] = value
        except Wrong as wrong:
            problems.append(Problem(term, str(wrong)))
    return Record(text, tuple(directives), found.get("redirect"), found.get("exp"), tuple(problems))


def _directive(term: str) -> Directive:
    found = _QUALIFIED.fullmatch(term)
    if found is None:
        raise Wrong("a term is a mechanism such as include:example.com, or name=value")
    qualifier, mechanism, rest = found[1] or "+", found[2].lower(), found[3]
    if mechanism == "all":
        if rest:
            raise Wrong("all stands alone")
        return Directive(term, qualifier, mechanism)
    if mechanism in ("include", "exists"):
        if not rest.startswith(":"):
            raise Wrong(f"{mechanism} needs a domain, as in {mechanism}:example.com")
        return Directive(term, qualifier, mechanism, domain_spec(rest[1:]))
    if mechanism == "ptr":
        if rest and not rest.startswith(":"):
            raise Wrong("ptr stands alone or with a domain, as in ptr:example.com")
        return Directive(term, qualifier, mechanism, domain_spec(rest[1:]) if rest else "")
    if mechanism in ("a", "mx"):
        return _with_prefixes(term, qualifier, mechanism, rest)
    if mechanism in ("ip4", "ip6"):
        if not rest.startswith(":"):
            raise Wrong(f"{mechanism} needs an address or a network")
        return _network(term, qualifier, mechanism, rest[1:])
    raise Wrong(f"there is no mechanism {mechanism[:40]}")


def _with_prefixes(term: str, qualifier: str, mechanism: str, rest: str) -> Directive:
    end = _CIDR_AT_END.search(rest)
    assert end is not None  # an empty end is one too
    spec, tail = rest[: end.start()], rest[end.start() :]
    prefixes = _CIDR.fullmatch(tail)
    if spec and not spec.startswith(":"):
        raise Wrong(f"{mechanism} stands alone, or with a domain, as in {mechanism}:example.com")
    if prefixes is None or int(prefixes[1] or 0) > 32 or int(prefixes[2] or 0) > 128:
        raise Wrong(f"a prefix is /0 to /32 and //0 to //128, not {tail[:20]}")
    return Directive(
        term,
        qualifier,
        mechanism,
        domain_spec(spec[1:]) if spec else "",
        prefix4=32 if prefixes[1] is None else int(prefixes[1]),
        prefix6=128 if prefixes[2] is None else int(prefixes[2]),
    )


def _network(term: str, qualifier: str, mechanism: str, text: str) -> Directive:
    address, slash, length = text.partition("/")
    most = 32 if mechanism == "ip4" else 128
    if slash and not (re.fullmatch(r"0|[1-9]\d{0,2}", length) and int(length) <= most):
        raise Wrong(f"a prefix is /0 to /{most}, not /{length[:10]}")
    try:
        if mechanism == "ip4":
            if _IP4.fullmatch(address) is None:
                raise ValueError
            ipaddress.IPv4Address(address)
        else:
            if "%" in address:
                raise ValueError
            ipaddress.IPv6Address(address)
    except ValueError:
        raise Wrong(f"{address[:60]} is not an {mechanism} address") from None
    return Directive(term, qualifier, mechanism, network=f"{address}/{length if slash else most}")


def macro_string(text: str, *, in_exp: bool = False) -> str:
    """The same text, if it is a macro-string (7.1); else `Wrong`."""
    for position, part in _parts(text):
        if isinstance(part, str):
            if "%" in part or (not in_exp and not all("!" <= c <= "~" for c in part)):
                raise Wrong(f"{text[position : position + 10]!r} is no macro and no plain text")
        elif part[1] is not None:
            letter, digits = part[1].lower(), part[2]
            if letter not in (_LETTERS + _ONLY_IN_EXP if in_exp else _LETTERS):
                raise Wrong(f"there is no macro letter {part[1]} here")
            if digits and int(digits[:4]) == 0:
                raise Wrong("a macro keeps at least one part")
    return text


def _parts(text: str) -> list[tuple[int, str | re.Match[str]]]:
    """Literals and macros, each with its place."""
    parts: list[tuple[int, str | re.Match[str]]] = []
    last = 0
    for macro in _MACRO.finditer(text):
        if macro.start() > last:
            parts.append((last, text[last : macro.start()]))
        parts.append((macro.start(), macro))
        last = macro.end()
    if last < len(text):
        parts.append((last, text[last:]))
    return parts


def domain_spec(text: str) -> str:
    """The same text, if it is a domain-spec (7.1); else `Wrong`."""
    if not 0 < len(text) <= SPEC_CHARACTERS:
        raise Wrong("a domain is missing" if not text else "a domain is not as long as this")
    macro_string(text)
    parts = _parts(text)
    last = parts[-1][1]
    if isinstance(last, str):
        _, dot, label = text.removesuffix(".").rpartition(".")
        if not dot or _LABEL.fullmatch(label) is None or label.isdigit():
            raise Wrong(f"{text[:80]} is not a domain name")
    elif last[1] is None:
        raise Wrong(f"{text[:80]} ends in no domain name")
    return text


def pieces(text: str) -> list[str | re.Match[str]]:
    """Literals, and macros as (letter, digits, r, delimiters); %% and kin have no letter."""
    return [part for _, part in _parts(text)]
