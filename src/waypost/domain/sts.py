"""The policy of MTA-STS (RFC 8461 3.2): read, and compared with the MX hosts. Pure.

Knows nothing of where it came from.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

VERSION = "STSv1"
MODES = ("enforce", "testing", "none")
AGE_MOST_S = 31_557_600  # RFC 8461 3.2: a year
AGE_LEAST_S = 86_400  # below a day it protects nobody between two mails; RFC 8461 3.2 says weeks
HOSTS = 100  # more mx lines than this are not looked at
LINES = 1_000
_FIELD = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]{0,31}):[ \t]*(.*?)[ \t]*")
_HOST = re.compile(r"(?:\*\.)?(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z0-9-]{2,63}")


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """`problems`: why senders take no policy of it, in words. Hosts are in lower case."""

    mode: str = ""
    hosts: tuple[str, ...] = ()
    max_age_s: int = 0
    problems: tuple[str, ...] = ()

    def lists(self, host: str) -> bool:
        """RFC 8461 4.1: a star stands for one label, the first."""
        name = host.lower().rstrip(".")
        return name in self.hosts or f"*.{name.partition('.')[2]}" in self.hosts

    def unlisted(self, hosts: Sequence[str]) -> list[str]:
        """Those of the MX hosts that it does not allow."""
        return [host for host in hosts if not self.lists(host)]


def read(text: str) -> Policy:
    """The policy of a file."""
    first: dict[str, str] = {}
    hosts: list[str] = []
    problems: list[str] = []
    for line in text.split("\n", LINES)[:LINES]:
        plain = line.removesuffix("\r")
        if not plain.strip(" \t"):
            continue
        found = _FIELD.fullmatch(plain)
        if found is None:
            problems.append(f"{_quoted(plain)} is not name: value")
            continue
        name, value = found[1], found[2]
        if name == "mx":
            hosts.append(value.lower().rstrip("."))
        else:
            first.setdefault(name, value)  # RFC 8461 3.2: all but the first are ignored
    if first.get("version") != VERSION:
        problems.append(f"it must say version: {VERSION}")
    mode = first.get("mode", "")
    if mode not in MODES:
        problems.append(f"its mode must be one of {', '.join(MODES)}")
    age = first.get("max_age", "")
    if not (age.isascii() and age.isdecimal() and len(age) <= 10 and int(age) <= AGE_MOST_S):
        problems.append(f"its max_age must be a number of seconds up to {AGE_MOST_S}")
        age = "0"
    wrong = [host for host in hosts[:HOSTS] if _HOST.fullmatch(host) is None]
    problems += [f"{_quoted(host)} is no name of an MX host" for host in wrong[:3]]
    if not hosts and mode in ("enforce", "testing"):
        problems.append("it lists no mx")
    return Policy(
        mode=mode,
        hosts=tuple(hosts[:HOSTS]),
        max_age_s=int(age),
        problems=tuple(dict.fromkeys(problems)),
    )


def _quoted(text: str) -> str:
    return repr("".join(c if c.isprintable() and c.isascii() else "?" for c in text[:60]))
