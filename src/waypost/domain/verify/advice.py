"""What a reading comes to in findings: what holds, what does not, and what to fix.

Knows nothing of sockets.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from waypost.domain.answers import Ask
from waypost.domain.check import dkim as dkim_check
from waypost.domain.check import dmarc as dmarc_check
from waypost.domain.dkim import keys
from waypost.domain.dkim.check import Result
from waypost.domain.findings import Finding, Grade, Notes, Publish, could_not, shown
from waypost.domain.spf.evaluate import Result as Spf
from waypost.domain.verify.message import SIGNATURES, Message

if TYPE_CHECKING:
    from waypost.domain.verify.run import Reading, Signed

WHY_FROM = "DMARC and people go by the one address in From"
WHY_DKIM = "a signature that fails counts as none"
WHY_SPF = "receivers ask whether the server may send for the domain of MAIL FROM"
WHY_DMARC = "it needs SPF or DKIM to pass for the domain in From itself"
WHY_STATED = "only the topmost field is the receiver's own; anybody can write the others"
WHY_RECEIVED = "each server adds a line on top; only those of your receiver can be relied on"
SLOW_S = 3_600  # between two servers
AHEAD_S = 300


def findings(ask: Ask, reading: Reading, authors: list[str], whole: Message) -> tuple[Finding, ...]:
    """All, in the order in which a receiver asks."""
    made = [_author(authors, whole)]
    made += _signatures(ask, reading, whole)
    made.append(_client(reading))
    if reading.walked is not None:
        made.append(_dmarc(ask, reading))
    made += [_stated(reading), _received(reading)]
    return tuple(made)


def _author(authors: list[str], whole: Message) -> Finding:
    notes = Notes()
    count = len([field for field in whole.fields if field.name == "from"])
    if whole.cut:
        notes.warning(whole.cut)
    if not whole.fields:
        notes.error("this is not a message: it has no header")
    elif count != 1:
        notes.error(f"there are {count} From fields; there must be one")
    elif not authors:
        notes.error("the From field cannot be read")
    elif len(authors) > 1:
        notes.error(f"From names {len(authors)} domains; receivers refuse that")
    return notes.finding("from", ", ".join(authors[:5]), WHY_FROM)


def _signatures(ask: Ask, reading: Reading, whole: Message) -> list[Finding]:
    if not reading.signatures:
        return [
            Finding(
                check="dkim",
                status=Grade.ERROR,
                found="the message has no DKIM signature: switch signing on at the provider that"
                " sends it",
                why=WHY_DKIM,
            )
        ]
    good = any(s.aligned and s.checked.result is Result.PASS for s in reading.signatures)
    made = [_signature(ask, signed, good) for signed in reading.signatures]
    more = len([f for f in whole.fields if f.name == "dkim-signature"]) - SIGNATURES
    if more > 0:
        made.append(
            Finding(
                check="dkim",
                status=Grade.WARNING,
                found=f"{more} more signatures were not looked at",
                why=WHY_DKIM,
            )
        )
    return made


def _signature(ask: Ask, signed: Signed, good: bool) -> Finding:
    """`good`: another signature, or this one, speaks for the author and holds."""
    checked, one = signed.checked, signed.checked.signature
    notes = Notes()
    head = f"d={shown(one.domain)} s={shown(one.selector)} {shown(one.algorithm)}"
    told = f"{head}: {checked.result.value}"
    if checked.why:
        told += f", {checked.why}"
    publish: Publish | None = None
    match checked.result:
        case Result.PASS:
            notes.good("it is of the author's domain" if signed.aligned else "of another domain")
            if checked.partial:
                notes.warning(f"l= leaves {checked.partial} octets unsigned, which anybody may add")
            key = checked.key
            if key is not None and key.type == "rsa" and key.bits < keys.BITS_ADVISED:
                notes.warning(f"its key has {key.bits} bits; {keys.BITS_ADVISED} are advised")
        case Result.TEMPERROR:
            return could_not("dkim", f"{head}: {checked.why}", WHY_DKIM)
        case _:
            (notes.warning if good else notes.error)(_remedy(checked.result, checked.why))
            if checked.key is None or checked.key.fault:
                publish = _proposed(ask, one.domain, one.selector)
    return notes.finding("dkim", told, WHY_DKIM, publish)


def _remedy(result: Result, why: str) -> str:
    if result is not Result.FAIL:
        return "have the provider sign anew, or mend its key"
    if why.startswith("the body"):
        return "something on the way (a list, a gateway, a footer, a scanner) rewrites the text"
    return "something on the way rewrites header fields, or the key in DNS is not the signer's"


def _proposed(ask: Ask, domain: str, selector: str) -> Publish | None:
    """What the check of that key would have published."""
    if not domain or not selector:
        return None
    checked = dkim_check.check(ask, domain, (), (selector,))
    return next((f.publish for f in checked.findings if f.publish is not None), None)


def _client(reading: Reading) -> Finding:
    client = reading.client
    notes = Notes()
    stated = f"; the receiver stated {shown(client.stated)}" if client.stated else ""
    if client.outcome is None:
        what = "the Received fields do not tell the server that handed it over"
        if client.stated and client.stated != "pass":
            notes.warning("its SPF record should allow the server that sends")
        return notes.finding("spf", what + stated, WHY_SPF)
    outcome = client.outcome
    told = (
        f"{outcome.result.value} for {client.ip} and {shown(client.domain)}"
        f" ({shown(outcome.why)}){stated}"
    )
    if outcome.result is Spf.TEMPERROR:
        return could_not("spf", told, WHY_SPF)
    if outcome.result is Spf.PASS:
        notes.good("aligned with From" if client.aligned else "of another domain than From's")
    elif outcome.result is Spf.PERMERROR:
        notes.error(f"its SPF record is broken: waypost domain check {shown(client.domain)}")
    elif outcome.result is Spf.NONE:
        notes.warning(f"{shown(client.domain)} has no SPF record")
    else:
        notes.error(
            f"{client.ip} is not in its SPF record: add it, or it was forwarded (which breaks SPF)"
        )
    return notes.finding("spf", told, WHY_SPF)


def _dmarc(ask: Ask, reading: Reading) -> Finding:
    """Whether it passes, by what we checked ourselves."""
    walked = reading.walked
    assert walked is not None
    policy = dmarc_check.check(ask, walked)
    if policy.unknown:
        return policy
    record = walked.policy.record if walked.policy is not None else None
    if record is None:
        return policy
    assert walked.policy is not None
    below = walked.policy.domain != walked.domain
    by = []
    if any(s.aligned and s.checked.result is Result.PASS for s in reading.signatures):
        by.append("DKIM")
    client = reading.client
    if client.aligned and client.outcome is not None and client.outcome.result is Spf.PASS:
        by.append("SPF")
    notes = Notes()
    if by:
        notes.good(f"passes by {' and '.join(by)}")
    elif _unsure(reading):
        notes.unknown("neither SPF nor DKIM could be asked to the end")
    else:
        notes.error(
            f"fails: neither SPF nor DKIM passes for {reading.author}; waypost domain check"
            f" {reading.author} --upstream NAME says what to publish"
        )
    asked = record.policy(below=below)
    return notes.finding("dmarc", f"policy {asked} of {walked.policy.domain}", WHY_DMARC)


def _unsure(reading: Reading) -> bool:
    outcome = reading.client.outcome
    if outcome is not None and outcome.result is Spf.TEMPERROR:
        return True
    return any(signed.checked.result is Result.TEMPERROR for signed in reading.signatures)


def _stated(reading: Reading) -> Finding:
    check = "authentication-results"
    if not reading.stated:
        found = "no receiver wrote down what it checked"
        return Finding(check=check, status=Grade.OK, found=found, why=WHY_STATED)
    notes = Notes()
    top = reading.stated[0]
    words = ", ".join(f"{m.method}={m.result}" for m in top.methods) or "nothing"
    for method in top.methods:
        if method.method in ("spf", "dkim", "dmarc") and method.result in (
            *("fail", "softfail", "permerror", "temperror", "policy"),
        ):
            text = f"{method.method} did not pass there"
            if method.reason:
                text += f" ({shown(method.reason)})"
            notes.warning(text)
    return notes.finding(check, f"{shown(top.server) or 'the receiver'}: {words}", WHY_STATED)


def _received(reading: Reading) -> Finding:
    notes = Notes()
    hops = reading.hops
    if not hops:
        notes.warning("there are no Received fields: it was saved before it was received")
    for above, below in itertools.pairwise(hops):
        if above.at_s is None or below.at_s is None:
            continue
        waited_s = above.at_s - below.at_s
        if waited_s > SLOW_S:
            notes.warning(f"it waited {waited_s // 60} minutes before {shown(above.by) or '?'}")
        elif waited_s < -AHEAD_S:
            notes.warning(f"the clock of {shown(below.by) or '?'} is {-waited_s // 60} minutes off")
    way = " from ".join(shown(hop.by) for hop in hops[:10] if hop.by)
    return notes.finding("received", f"{len(hops)} servers: {way}" if hops else "", WHY_RECEIVED)
