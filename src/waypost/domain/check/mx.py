"""MX: whether the domain can receive the bounces and answers to what it sends.

Knows nothing of sockets.
"""

from __future__ import annotations

import ipaddress

from waypost.domain.answers import Answer, Ask
from waypost.domain.check.source import Source
from waypost.domain.findings import Finding, Grade, Notes, Publish, could_not

CHECK = "mx"
WHY = "bounces and answers go to the domain's MX, and many receivers refuse senders without one"
HOSTS = 10  # looked at


def check(ask: Ask, domain: str, answer: Answer, sources: tuple[Source, ...]) -> Finding:
    """The finding; `answer` is that of MX."""
    if answer.failed:
        return could_not(CHECK, answer.could_not, WHY)
    notes = Notes()
    proposed = _proposed(domain, sources)
    if not answer.exchanges:
        return _without(ask, domain, notes, proposed)
    hosts = answer.exchanges
    if any(not host for _, host in hosts):
        notes.error("the null MX (RFC 7505) says that the domain takes no mail at all")
        return notes.finding(CHECK, "", WHY, proposed)
    reachable = unknown = 0
    for _, host in hosts[:HOSTS]:
        state = _host(ask, notes, host)
        reachable += state is True
        unknown += state is None
    if not reachable and not unknown:
        notes.error("no MX host can be reached")
    told = ", ".join(f"{preference} {host}" for preference, host in hosts[:HOSTS])
    publish = proposed if notes.status is Grade.ERROR else None
    finding = notes.finding(CHECK, told, WHY, publish)
    if not reachable and unknown:
        return could_not(CHECK, finding.found, WHY)
    return finding


def _proposed(domain: str, sources: tuple[Source, ...]) -> Publish | None:
    for source in sources:
        if source.preset.mx_record:
            value = source.preset.mx_record.format(dashed=domain.replace(".", "-"))
            return Publish(domain, "MX", value)
    return None


def _without(ask: Ask, domain: str, notes: Notes, proposed: Publish | None) -> Finding:
    """RFC 5321 5.1: then the domain's own address is the one."""
    addresses = [ask.ask(domain, kind) for kind in ("A", "AAAA")]
    if any(answer.records for answer in addresses):
        notes.warning(f"there is no MX record; mail goes to {domain} itself")
        return notes.finding(CHECK, "", WHY, proposed or Publish(domain, "MX", f"10 {domain}"))
    failed = next((answer for answer in addresses if answer.failed), None)
    if failed is not None:
        return could_not(CHECK, failed.could_not, WHY)
    notes.error("there is no MX record and no address: bounces cannot reach the domain")
    return notes.finding(CHECK, "", WHY, proposed)


def _host(ask: Ask, notes: Notes, host: str) -> bool | None:
    """Whether mail can reach an MX host; None: could not be looked up."""
    if host.replace(".", "").isdigit():
        notes.error(f"{host} is an address; an MX names a host")
        return False
    answers = [ask.ask(host, kind) for kind in ("A", "AAAA")]
    for answer in answers:
        if answer.chain:
            notes.warning(f"{host} is a CNAME, which an MX must not be (RFC 2181 10.3)")
            break
    addresses = [ipaddress.ip_address(text) for answer in answers for text in answer.records]
    if any(reachable(ip) for ip in addresses):
        return True
    if addresses:
        notes.error(f"{host} has only addresses that nobody outside can reach ({addresses[0]})")
        return False
    failed = next((answer for answer in answers if answer.failed), None)
    if failed is not None:
        notes.unknown(failed.could_not)
        return None
    notes.error(f"{host} does not exist")
    return False


def reachable(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """From outside. Documentation networks count: what stands there is somebody's example."""
    return not (
        ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified or _local(ip)
    )


def _local(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    local = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
    return any(ip in ipaddress.ip_network(network) for network in local)
