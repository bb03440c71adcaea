"""The tree walk (RFC 9989 4.10): which record applies, and what the organizational domain is.

Promises at most 8 questions, and to tell a name that could not be asked from one without a record.
Knows nothing of sockets.
"""

from __future__ import annotations

import msgspec

from waypost.domain.answers import Answer, Ask
from waypost.domain.dmarc import record as records
from waypost.domain.dmarc.record import Record

LABELS_SKIPPED_TO = 7  # RFC 9989 4.10: from 8 labels and more, the next name has 7


class Step(msgspec.Struct, frozen=True):
    """One name asked. `record`: the one that is there; several are as good as none."""

    domain: str
    answer: Answer
    texts: tuple[str, ...]
    record: Record | None


class Walk(msgspec.Struct, frozen=True):
    """`steps` from the domain upwards. `policy`: the step whose record applies, if any does.
    `organizational`: the domain that alignment is measured by. `unsure`: a name below the top that
    could not be asked, in words, so that another record may apply."""

    domain: str
    steps: tuple[Step, ...]
    policy: Step | None
    organizational: str
    unsure: str = ""


def names(domain: str) -> list[str]:
    """The names asked, in order: the domain itself, then upwards to the top."""
    labels = domain.split(".")
    made = [domain]
    rest = labels[1:] if len(labels) <= LABELS_SKIPPED_TO + 1 else labels[-LABELS_SKIPPED_TO:]
    while rest:
        made.append(".".join(rest))
        rest = rest[1:]
    return made


def walk(ask: Ask, domain: str) -> Walk:
    """The walk that starts at `domain`."""
    domain = domain.lower().removesuffix(".")
    steps: list[Step] = []
    unsure = ""
    for name in names(domain):
        step = look(ask, name)
        steps.append(step)
        if step.answer.failed and ("." in name or name == domain):
            unsure = unsure or step.answer.could_not
        if step.record is not None and step.record.psd in ("y", "n"):
            break
    organizational = _organizational(domain, steps)
    found = {step.domain: step for step in steps if step.record is not None}
    policy = found.get(domain) or found.get(organizational)
    if policy is None:
        # 4.10.1: the public suffix's own, which the walk ended at
        policy = next((s for s in reversed(steps) if s.record and s.record.psd == "y"), None)
    return Walk(domain, tuple(steps), policy, organizational, unsure)


def look(ask: Ask, domain: str) -> Step:
    """What stands at _dmarc below one name."""
    answer = ask.ask(f"_dmarc.{domain}", "TXT")
    texts = tuple(text for text in answer.records if records.is_record(text))
    return Step(domain, answer, texts, records.parse(texts[0]) if len(texts) == 1 else None)


def _organizational(domain: str, steps: list[Step]) -> str:
    """4.10.2."""
    with_records = [step for step in steps if step.record is not None]
    for step in with_records:
        assert step.record is not None
        if step.record.psd == "n":
            return step.domain
        if step.record.psd == "y" and step.domain != domain:
            below = len(step.domain.split(".")) + 1
            return ".".join(domain.split(".")[-below:])
    return with_records[-1].domain if with_records else domain


def aligned(ask: Ask, author: Walk, identity: str, *, strict: bool) -> bool:
    """4.10.2: the identity (of a signature, or of the envelope) is the author's, or relaxed, of the
    same organization."""
    identity = identity.lower().removesuffix(".")
    if identity == author.domain:
        return True
    if strict or not _akin(identity, author.domain):
        return False
    return walk(ask, identity).organizational == author.organizational


def _akin(one: str, other: str) -> bool:
    """They share the last label at least: else no walk can bring them together."""
    return one.rpartition(".")[2] == other.rpartition(".")[2]
