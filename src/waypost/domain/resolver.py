"""The doer: asks DNS, with a cache and a budget, and for the file of MTA-STS; never raises.

Promises an answer within the seconds of one question, that a whole check ends within its budget
(what is left is "could not be looked up"), and that a failure is not asked for again in the same
check, nor kept for the next one. Knows nothing of what records mean.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from waypost.clock import Clock
from waypost.domain import policy_file
from waypost.domain.answers import Answer, Fetched, Status
from waypost.domain.policy_file import FETCH_S, Reach
from waypost.values import Endpoint

QUESTION_S = 5.0  # over all servers and tries
TRY_S = 2.0
SILENT = 2  # questions in a row without an answer: from then on less is waited for one
SILENT_S = 1.0
BUDGET_S = 45.0  # of a whole check
KEPT_S = 300.0  # at most, whatever the TTL: people wait for a change of theirs to show
KEPT_ABSENT_S = 30.0
KEPT_ANSWERS = 4_096
HOPS = 8  # of CNAMEs followed
RECORDS = 100  # of one answer; more is somebody's joke
UDP_OCTETS = 1_232  # DNS flag day 2020


class Cache:
    """What was answered, by name and kind, until its TTL; shared by checks and threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[tuple[str, str], tuple[float, Answer]] = {}

    def get(self, name: str, kind: str, now_s: float) -> Answer | None:
        with self._lock:
            until_s, answer = self._kept.get((name, kind), (0.0, None))
            return answer if until_s > now_s else None

    def keep(self, answer: Answer, until_s: float) -> None:
        with self._lock:
            if len(self._kept) >= KEPT_ANSWERS:
                self._kept.clear()
            self._kept[answer.name, answer.kind] = (until_s, answer)


NOWHERE = Reach(lambda _: False)
TIME_UP = "the time for this check is used up"


class Dns(msgspec.Struct, frozen=True):
    """Whom to ask, and what is remembered between checks. `reach`: of files by HTTPS."""

    clock: Clock
    servers: tuple[Endpoint, ...] = ()
    reach: Reach = NOWHERE
    cache: Cache = msgspec.field(default_factory=Cache)

    def resolver(self) -> Resolver:
        """For one check."""
        return Resolver(self.clock, self.servers, self.cache, reach=self.reach)


class Resolver:
    """Asks for one check. `servers`: whom, by address; none: those of this machine."""

    def __init__(
        self,
        clock: Clock,
        servers: Sequence[Endpoint] = (),
        cache: Cache | None = None,
        *,
        reach: Reach = NOWHERE,
        question_s: float = QUESTION_S,
        budget_s: float = BUDGET_S,
    ) -> None:
        self._clock = clock
        self._servers = servers
        self._cache = Cache() if cache is None else cache
        self._reach = reach
        self._question_s = question_s
        self._until_s = clock.monotonic() + budget_s
        self._failed: dict[tuple[str, str], Answer] = {}
        self._asker: Any = None
        self._stopped = False
        self._silent = 0  # questions in a row that timed out

    def stop(self) -> None:
        """From another thread: nothing more is asked."""
        self._stopped = True

    def ask(self, name: str, kind: str) -> Answer:
        """`Ask`."""
        return self._ask(name, kind, ())

    def policy(self, domain: str) -> Fetched:
        """`Outside`."""
        at = policy_file.addresses(self, domain, self._reach)
        if isinstance(at, Fetched):
            return at
        left_s = self._until_s - self._clock.monotonic()
        if self._stopped or left_s <= 0:
            return Fetched(why=TIME_UP, unknown=True)
        return policy_file.fetch(domain, at, min(FETCH_S, left_s), self._reach)

    def _ask(self, name: str, kind: str, hops: tuple[str, ...]) -> Answer:
        name = name.lower().removesuffix(".")
        now_s = self._clock.monotonic()
        kept = self._failed.get((name, kind)) or self._cache.get(name, kind, now_s)
        if kept is not None:
            return kept
        patience_s = self._question_s if self._silent < SILENT else SILENT_S
        left_s = self._until_s - now_s
        if self._stopped or left_s <= 0:
            return _failure(name, kind, TIME_UP)
        answer, ttl_s = self._asked(name, kind, min(patience_s, left_s))
        if answer.status is Status.EMPTY and answer.chain and len(hops) < HOPS:
            # A server that is no resolver leaves the rest of the way to whoever asks.
            answer = self._further(answer, (*hops, name))
        if answer.failed:
            self._failed[name, kind] = answer
        else:
            self._cache.keep(answer, now_s + ttl_s)
        return answer

    def _further(self, answer: Answer, hops: tuple[str, ...]) -> Answer:
        target = answer.chain[-1]
        if target in hops:
            return answer
        end = self._ask(target, answer.kind, hops)
        return Answer(
            answer.name, answer.kind, end.status, end.records, answer.chain + end.chain, end.why
        )

    def _asked(self, name: str, kind: str, within_s: float) -> tuple[Answer, float]:
        import dns.exception  # a third of a second of imports that few commands need
        import dns.message
        import dns.resolver

        try:
            asker = self._ready()
            whole = _name(name)
            if whole is None:
                return Answer(name, kind, Status.ABSENT, why="not a name"), KEPT_S
            found = asker.resolve(
                whole, kind, lifetime=within_s, search=False, raise_on_no_answer=False
            )
        except dns.resolver.NXDOMAIN as error:
            last = error.canonical_name.to_text(omit_final_dot=True).lower()
            chain = (last,) if last != name else ()
            return Answer(name, kind, Status.ABSENT, chain=chain), KEPT_ABSENT_S
        except dns.resolver.NoResolverConfiguration:
            return _failure(name, kind, "this machine has no resolver: set dns.servers"), 0.0
        except dns.exception.Timeout:
            self._silent += 1
            return _failure(name, kind, "no name server answered in time"), 0.0
        except dns.resolver.NoNameservers as error:
            return _failure(name, kind, _said(error)), 0.0
        except (dns.exception.DNSException, OSError, ValueError) as error:
            return _failure(name, kind, f"{type(error).__name__}: the answer makes no sense"), 0.0
        self._silent = 0
        ttl_s = min(float(found.chaining_result.minimum_ttl), KEPT_S)
        chain = tuple(
            item.target.to_text(omit_final_dot=True).lower()
            for rrset in found.chaining_result.cnames
            for item in rrset
        )
        if found.rrset is None:
            return Answer(name, kind, Status.EMPTY, chain=chain), KEPT_ABSENT_S
        records = tuple(_texts(found.rrset, kind))
        return Answer(name, kind, Status.FOUND, records, chain), ttl_s

    def _ready(self) -> Any:
        import dns.nameserver
        import dns.resolver

        if self._asker is None:
            asker = dns.resolver.Resolver(configure=not self._servers)
            if self._servers:
                asker.nameservers = [
                    dns.nameserver.Do53Nameserver(server.host, server.port)
                    for server in self._servers
                ]
            asker.timeout = TRY_S
            asker.use_edns(0, 0, UDP_OCTETS)
            self._asker = asker
        return self._asker


def _failure(name: str, kind: str, why: str) -> Answer:
    return Answer(name, kind, Status.FAILED, why=why)


def _said(error: Any) -> str:
    """What the servers answered: the codes alone, for people."""
    import dns.rcode

    codes = [
        dns.rcode.to_text(item[4].rcode())
        for item in error.kwargs.get("errors", ())
        if len(item) > 4 and item[4] is not None
    ]
    return f"the name server answered {codes[-1]}" if codes else "no name server could be asked"


def _name(name: str) -> Any:
    """The absolute name; None where DNS cannot carry it (a label that is empty or too long)."""
    import dns.exception
    import dns.name

    try:
        labels = [label.encode("latin-1") for label in name.split(".")] if name else []
        return dns.name.Name([*labels, b""])
    except (dns.exception.DNSException, UnicodeEncodeError):
        return None


def _texts(rrset: Iterable[Any], kind: str) -> Iterable[str]:
    for number, item in enumerate(rrset):
        if number == RECORDS:
            return
        if kind == "TXT":
            yield b"".join(item.strings).decode("latin-1")
        elif kind == "MX":
            host = item.exchange.to_text(omit_final_dot=True).lower()
            yield f"{item.preference} {'' if host in ('.', '@') else host}"
        elif kind in ("A", "AAAA"):
            yield item.address
        else:
            yield item.target.to_text(omit_final_dot=True).lower()
