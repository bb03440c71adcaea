"""What is noted beside: MTA-STS (RFC 8461), TLS-RPT (RFC 8460), and the block lists when asked for.

Knows nothing of sockets.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

from waypost.domain import sts, tags
from waypost.domain.answers import Answer, Ask, Outside, Status
from waypost.domain.check.source import Source
from waypost.domain.findings import Finding, Grade, Notes, Publish, could_not, shown

STS, RPT, LISTS = "mta-sts", "tls-rpt", "blocklists"
WHY_STS = "it makes senders use TLS towards your own MX; what you send is not touched by it"
WHY_RPT = "it brings reports of failed TLS towards your own MX; what you send is not touched by it"
WHY_LISTS = "many receivers refuse mail from listed servers and domains"
ADDRESS_LISTS = ("zen.spamhaus.org", "bl.spamcop.net", "b.barracudacentral.org")
DOMAIN_LISTS = ("dbl.spamhaus.org",)
_STS_ID = re.compile(r"[A-Za-z0-9]{1,32}")  # RFC 8461 3.1


def mta_sts(ask: Outside, domain: str, exchange: Answer) -> Finding:
    """Noted; a warning only where it is published and broken. `exchange`: the answer for MX."""
    name = f"_mta-sts.{domain}"
    answer = ask.ask(name, "TXT")
    found = sorted(text for text in answer.records if text.lower().startswith("v=sts"))
    if answer.failed:
        return could_not(STS, answer.could_not, WHY_STS)
    notes = Notes()
    if not found:
        notes.good("not published, which is no fault")
        return notes.finding(STS, "", WHY_STS)
    if len(found) > 1:
        notes.warning(f"{name} has {len(found)} records, and senders then use none")
    read = [tags.parse(text) for text in found]
    ids = [one.get("id") for one in read if _STS_ID.fullmatch(one.get("id"))]
    if not (ids and read[0].get("v") == "STSv1" and found[0].startswith("v=STSv1;")):
        notes.warning("it must be v=STSv1; id= and up to 32 letters and digits")
    publish = None
    if notes.status is not Grade.OK:
        publish = Publish(name, "TXT", f"v=STSv1; id={ids[0] if ids else '1'}")
    else:
        _policy(ask, domain, exchange, notes)
    return notes.finding(STS, "; ".join(shown(text) for text in found), WHY_STS, publish)


def _policy(ask: Outside, domain: str, exchange: Answer, notes: Notes) -> None:
    """What the policy file says, to those who have found the record."""
    fetched = ask.policy(domain)
    if fetched.unknown:
        notes.unknown(f"the policy file, since {fetched.why}")
        return
    if fetched.why:
        notes.warning(f"senders get no policy: {shown(fetched.why)}")
        return
    policy = sts.read(fetched.text)
    if policy.problems:
        notes.warning(f"senders take no policy of its file: {'; '.join(policy.problems[:3])}")
        return
    if policy.mode == "none":
        notes.good("its policy is none: nothing is asked of senders")
        return
    if policy.max_age_s < sts.AGE_LEAST_S:
        notes.warning(f"its policy holds for {policy.max_age_s} s: weeks are usual, 604800 or more")
    if exchange.failed:
        notes.unknown(exchange.could_not)
        return
    hosts = [host for _, host in exchange.exchanges if host] or [domain]
    missing = policy.unlisted(hosts)
    if not missing:
        notes.good(f"its policy ({policy.mode}) lists every MX host")
    elif policy.mode == "enforce":
        notes.warning(
            f"its policy does not list {', '.join(missing[:3])}: senders that keep to it deliver"
            " nothing there; add it to the file as a line mx:"
        )
    else:
        notes.warning(
            f"its policy (in testing) does not list {', '.join(missing[:3])}: mail would not reach"
            " it once the mode is enforce; add it to the file as a line mx:"
        )


def tls_rpt(ask: Ask, domain: str) -> Finding:
    """Noted; a warning only where it is published and broken."""
    name = f"_smtp._tls.{domain}"
    answer = ask.ask(name, "TXT")
    if answer.failed:
        return could_not(RPT, answer.could_not, WHY_RPT)
    found = sorted(text for text in answer.records if text.lower().startswith("v=tlsrpt"))
    notes = Notes()
    if not found:
        notes.good("not published, which is no fault")
        return notes.finding(RPT, "", WHY_RPT)
    if len(found) > 1:
        notes.warning(f"{name} has {len(found)} records, and senders then use none")
    read = tags.parse(found[0])
    places = [part.strip() for part in read.get("rua").split(",") if part.strip()]
    good = [place for place in places if re.match(r"(?:mailto:[^@\s]+@|https://)\S", place)]
    if read.get("v") != "TLSRPTv1" or not good or len(good) != len(places):
        notes.warning("it must be v=TLSRPTv1; rua= and mailto: or https: addresses")
    publish = None
    if notes.status is not Grade.OK:
        rua = ",".join(good) or f"mailto:postmaster@{domain}"
        publish = Publish(name, "TXT", f"v=TLSRPTv1; rua={rua}")
    return notes.finding(RPT, "; ".join(shown(text) for text in found), WHY_RPT, publish)


def blocklists(ask: Ask, domain: str, sources: Sequence[Source]) -> Finding:
    """The domain, and the addresses of hosts that are the customer's own, on the usual lists."""
    notes = Notes()
    asked = [(f"{domain}.{zone}", domain, zone) for zone in DOMAIN_LISTS]
    for source in sources:
        if source.include:
            continue  # a provider's addresses change by the hour, and are not yours to get off
        for address in _addresses(ask, source):
            reverse = ipaddress.ip_address(address).reverse_pointer
            backwards = reverse.removesuffix(".in-addr.arpa").removesuffix(".ip6.arpa")
            asked += [(f"{backwards}.{zone}", address, zone) for zone in ADDRESS_LISTS]
    for name, what, zone in asked:
        answer = ask.ask(name, "A")
        refused = [text for text in answer.records if text.startswith("127.255.255.")]
        listed = [text for text in answer.records if text.startswith("127.")]
        if answer.failed or refused or (answer.status is Status.FOUND and not listed):
            notes.unknown(f"{zone} gave no answer for {what}")
        elif listed:
            notes.error(f"{what} is on {zone}{_reason(ask.ask(name, 'TXT'))}")
        else:
            notes.good(f"{what} is not on {zone}")
    return notes.finding(LISTS, "", WHY_LISTS)


def _addresses(ask: Ask, source: Source) -> list[str]:
    if source.address is not None:
        return [str(source.address)]
    return [*ask.ask(source.host, "A").records[:4]] if "." in source.host else []


def _reason(answer: Answer) -> str:
    return f" ({shown(answer.records[0])})" if answer.records else ""
