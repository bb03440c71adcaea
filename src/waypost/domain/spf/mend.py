"""One right SPF record made of what is there: merged, mended, and with what is missing added.

Promises a record without syntax errors that names at least what the old ones named and a receiver
could understand, in their order, and never a `+all`. Pure; knows nothing of DNS.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from waypost.domain.spf import terms

END = "~all"  # what a mended record ends in where it said nothing, or let everybody in
_STRICT = ("-all", "~all")
_BARE = frozenset({"include:", "a:", "mx:", "ip4:", "ip6:", "exists:"})
_TYPING = (
    (re.compile(r"^([-+?~]?)(?:ipv4|ip)[:=]", re.I), r"\1ip4:"),
    (re.compile(r"^([-+?~]?)ipv6[:=]", re.I), r"\1ip6:"),
    (re.compile(r"^([-+?~]?)(ip4|ip6|a|mx|include)=", re.I), r"\1\2:"),
    (re.compile(r"^([-+?~]?)(?:includes|inlcude|inclued|incude):", re.I), r"\1include:"),
    (re.compile(r"^([-+?~]?(?:include|a|mx)):https?://([^/]+)/?$", re.I), r"\1:\2"),
    (re.compile(r"^([-+?~]?)ip4:(?=[0-9a-f]*:)", re.I), r"\1ip6:"),
    (re.compile(r"^(?:\xe2\x80[\x90-\x95]|[\u2010-\u2015\x96\x97])all$", re.I), "-all"),
)


def near_miss(text: str) -> bool:
    """It was meant to be an SPF record, and no receiver takes it for one."""
    stripped = text.strip(" \t\"'").lower()
    return not terms.is_record(text) and bool(
        re.match(r"(?:v\s*=\s*spf\d?\b|spf1\b|v=spf1\S)", stripped)
    )


def mended(
    texts: Sequence[str], wanted: Iterable[str] = (), without: frozenset[str] = frozenset()
) -> str:
    """The one record. `wanted`: terms it must hold; `without`: terms as written, to be left out."""
    mechanisms: list[str] = []
    ends: list[str] = []
    tail = ""
    rest: list[str] = []
    for text in sorted(texts):  # DNS gives them in any order
        redirects: list[str] = []
        before = len(ends)
        for term in _typed(text):
            if term in without or _problem(term):
                continue
            lowered = term.lower()
            if lowered.lstrip("+-~?") == "all":
                ends.append(lowered if lowered[0] in "-~?+" else f"+{lowered}")
            elif lowered.startswith("redirect="):
                redirects.append(term.partition("=")[2])
            elif "=" in term.partition(":")[0]:
                rest.append(term)
            else:
                mechanisms.append(term.removeprefix("+"))
        if redirects and len(ends) == before:  # beside all, a redirect is never looked at
            if len(texts) == 1:
                tail = f"redirect={redirects[0]}"
            else:
                mechanisms.append(f"include:{redirects[0]}")
    mechanisms = _distinct([*mechanisms, *wanted])
    end = next((all_ for all_ in _STRICT if all_ in ends), END)
    return " ".join([terms.VERSION, *mechanisms, *_distinct(rest, by_name=True), tail or end])


def _typed(text: str) -> list[str]:
    """The terms with the slips of typing put right that have one reading."""
    cleaned = text.strip(" \t\"'")
    cleaned = re.sub(r"^(?:v\s*=\s*spf\d?|spf1)[;,:]?", "", cleaned, flags=re.I)
    words = re.split(r"[\s\"]+", cleaned)
    joined: list[str] = []
    for word in words:
        if joined and joined[-1].lower().lstrip("+-~?") in _BARE:
            joined[-1] += word
        elif word:
            joined.append(word)
    found = []
    for word in joined:
        term = word.rstrip(",;")
        for wrong, right in _TYPING:
            term = wrong.sub(right, term)
        if term and term.lower() != terms.VERSION:
            found.append(term)
    return found


def _problem(term: str) -> bool:
    return bool(terms.parse(f"{terms.VERSION} {term}").problems)


def _distinct(words: Iterable[str], *, by_name: bool = False) -> list[str]:
    seen: dict[str, str] = {}
    for word in words:
        key = word.lower().removeprefix("+")
        seen.setdefault(key.partition("=")[0] if by_name else key, word)
    return list(seen.values())
