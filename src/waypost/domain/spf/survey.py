"""What a record comes to as a whole: every look-up that it can cost, and every address it names.

A receiver stops at the first match; the survey goes on, since the worst case is what the limits are
about. Bounded whatever records say. Knows nothing of sockets.
"""

from __future__ import annotations

import msgspec

from waypost.domain.answers import Answer, Ask, Status
from waypost.domain.spf import evaluate, terms
from waypost.domain.spf.terms import Directive, Record

STEPS = 60  # look-ups followed; six times what any record may have
NETWORKS = 1_000


class Cost(msgspec.Struct):
    """Of one term with all below it. `problem`: why it makes the whole a permerror; `failure`: a
    question below it without an answer; `dead`: it names nothing at all."""

    lookups: int = 0
    voids: int = 0
    problem: str = ""
    failure: str = ""
    dead: bool = False


class Survey(msgspec.Struct):
    """`costs`: by the term as written; `reached`: every domain included or redirected to, with a
    passing qualifier all the way; `networks`: of ip4 and ip6 so reached, and of a and mx."""

    costs: dict[str, Cost]
    reached: set[str]
    networks: list[str]

    @property
    def lookups(self) -> int:
        return sum(cost.lookups for cost in self.costs.values())

    @property
    def voids(self) -> int:
        return sum(cost.voids for cost in self.costs.values())

    @property
    def problems(self) -> list[str]:
        return [f"{term}: {cost.problem}" for term, cost in self.costs.items() if cost.problem]

    @property
    def failures(self) -> list[str]:
        return [cost.failure for cost in self.costs.values() if cost.failure]


def survey(ask: Ask, domain: str, record: Record) -> Survey:
    """The survey of the record that stands at `domain`."""
    walk = _Walk(ask)
    costs: dict[str, Cost] = {}
    for directive in record.directives:
        if directive.mechanism == "all":
            break
        cost = costs.setdefault(directive.text, Cost())
        walk.directive(directive, domain, cost, directive.qualifier == "+")
    if record.redirect is not None and record.all is None:
        cost = costs.setdefault(f"redirect={record.redirect}", Cost())
        cost.lookups += 1
        walk.domain(record.redirect, cost, True)
    return Survey(costs, walk.reached, walk.networks)


def survey_of(ask: Ask, domain: str) -> Survey:
    """The survey of whatever stands at `domain`, as an include of it would see it."""
    walk = _Walk(ask)
    cost = Cost()
    walk.domain(domain, cost, True)
    return Survey({f"include:{domain}": cost}, walk.reached, walk.networks)


class _Walk:
    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._steps = 0
        self._path: list[str] = []
        self.reached: set[str] = set()
        self.networks: list[str] = []

    def directive(self, directive: Directive, domain: str, cost: Cost, passing: bool) -> None:
        mechanism, target = directive.mechanism, directive.spec.lower() or domain
        if mechanism in ("ip4", "ip6"):
            self._name(directive.network, passing)
            return
        if mechanism == "all":
            return
        cost.lookups += 1
        if "%" in target:
            return  # depends on the message: its answer cannot be known here
        match mechanism:
            case "include":
                self.domain(target, cost, passing)
            case "a":
                self._addresses(target, directive, cost, passing)
            case "mx":
                self._mx(target, directive, cost, passing)
            case "exists":
                self._query(target, "A", cost)
            case _:
                pass  # ptr asks by the sender's address

    def domain(self, target: str, cost: Cost, passing: bool) -> None:
        """What stands at an included domain, or one redirected to."""
        target = target.lower().removesuffix(".")
        if "%" in target:
            return
        if target in self._path:
            cost.problem = cost.problem or f"{target} includes itself"
            return
        self._steps += 1
        if self._steps > STEPS:
            cost.problem = cost.problem or "it goes on without end"
            return
        answer = self._ask.ask(target, "TXT")
        if answer.failed:
            cost.failure = cost.failure or answer.could_not
            if passing:
                self.reached.add(target)
            return
        found, many = evaluate.select(answer)
        record = terms.parse(found[0]) if found else None
        if many or record is None or record.problems:
            said = f"{target} has no SPF record"
            if record is not None and record.problems:
                said = f"{record.problems[0].text} at {target}: {record.problems[0].why}"
            cost.problem = cost.problem or many or said
            cost.voids += answer.void
            cost.dead = answer.void
            return
        if passing:
            self.reached.add(target)
        self._path.append(target)
        for directive in record.directives:
            if directive.mechanism == "all":
                break
            self.directive(directive, target, cost, passing and directive.qualifier == "+")
        if record.redirect is not None and record.all is None:
            cost.lookups += 1
            self.domain(record.redirect, cost, passing)
        self._path.pop()

    def _addresses(self, name: str, directive: Directive, cost: Cost, passing: bool) -> None:
        found = [self._query(name, kind, None) for kind in ("A", "AAAA")]
        self._counted(found, cost)
        for answer, prefix in zip(found, (directive.prefix4, directive.prefix6), strict=True):
            for address in answer.records:
                self._name(f"{address}/{prefix}", passing)

    def _mx(self, name: str, directive: Directive, cost: Cost, passing: bool) -> None:
        answer = self._query(name, "MX", cost)
        hosts = [host for _, host in answer.exchanges if host]
        if len(hosts) > evaluate.NAMES:
            cost.problem = cost.problem or f"{name} has more than {evaluate.NAMES} MX names"
        for host in hosts[: evaluate.NAMES]:
            self._addresses(host, directive, cost, passing)

    def _query(self, name: str, kind: str, cost: Cost | None) -> Answer:
        self._steps += 1
        if self._steps > 10 * STEPS:
            return Answer(name, kind, Status.FAILED, why="the record goes on without end")
        answer = self._ask.ask(name, kind)
        if cost is not None:
            self._counted([answer], cost)
        return answer

    @staticmethod
    def _counted(answers: list[Answer], cost: Cost) -> None:
        """A or AAAA: a receiver asks for the kind that its client has; void where both are."""
        for answer in answers:
            if answer.failed:
                cost.failure = cost.failure or answer.could_not
        if all(answer.void for answer in answers):
            cost.voids += 1
            cost.dead = True

    def _name(self, network: str, passing: bool) -> None:
        if passing and len(self.networks) < NETWORKS:
            self.networks.append(network)
