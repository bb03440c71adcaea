"""An answer of the DNS, the policy file of MTA-STS, and the seams of both questions.

An answer is one of four things, and they are never mixed up: records, none of this kind, no such
name, or no answer (time-out, SERVFAIL, refusal), which says nothing of the domain. Knows nothing of
what the records mean.
"""

from __future__ import annotations

import enum
from typing import Protocol

import msgspec


class Status(enum.StrEnum):
    """What came of a question."""

    FOUND = "found"
    EMPTY = "empty"  # NOERROR without such records
    ABSENT = "absent"  # NXDOMAIN
    FAILED = "failed"  # nobody knows


class Answer(msgspec.Struct, frozen=True):
    """`records`: of TXT the whole text, an octet a character (latin-1); of MX "preference host";
    else the address or name. Names are without the last dot, in lower case. `chain`: where CNAMEs
    led, in order. `why`: of a failure, in words."""

    name: str
    kind: str
    status: Status
    records: tuple[str, ...] = ()
    chain: tuple[str, ...] = ()
    why: str = ""

    @property
    def void(self) -> bool:
        """RFC 7208 4.6.4: no such name, or no such records."""
        return self.status in (Status.EMPTY, Status.ABSENT)

    @property
    def failed(self) -> bool:
        return self.status is Status.FAILED

    @property
    def exchanges(self) -> list[tuple[int, str]]:
        """(preference, host) of MX records, best first; the root, which is "", is a null MX."""
        pairs = [record.partition(" ") for record in self.records]
        return sorted((int(preference), host) for preference, _, host in pairs)

    @property
    def could_not(self) -> str:
        """What a failure is called where it is shown."""
        return f"{self.kind} of {self.name} could not be looked up ({self.why})"


class Ask(Protocol):
    """Whoever answers."""

    def ask(self, name: str, kind: str) -> Answer:
        """The answer for a name (an octet a character, no last dot) and a kind such as "TXT".
        Never raises: a name that DNS cannot carry does not exist."""


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """The policy file of MTA-STS. `why`: there is none to go by, in words; `unknown`: nobody knows,
    it could not be asked for."""

    text: str = ""
    why: str = ""
    unknown: bool = False


class Outside(Ask, Protocol):
    """Whoever answers for a whole check."""

    def policy(self, domain: str) -> Fetched:
        """The policy file of a domain (RFC 8461 3.3). Never raises."""
