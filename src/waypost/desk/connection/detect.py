"""Which provider an address is with, and what to enter for it.

Promises an answer or a clear error. Knows nothing of connections: nothing is tried here.
"""

from __future__ import annotations

from waypost.desk.connection.views import DetectView
from waypost.desk.office import address_of
from waypost.transport.check.lookup import Lookup
from waypost.upstream import detection


def detect(lookup: Lookup, address: str) -> DetectView:
    """MX of the domain, then SRV, then the presets. Raises `UsageError` and `LookupFailed`."""
    parsed = address_of(address, "address")
    domain = parsed.domain.lower()
    hosts: tuple[str, ...] = ()
    found = detection.by_domain(domain)
    if found is None:
        hosts = tuple(host.rstrip(".").lower() for host in lookup.mx(domain))
        found = (
            detection.by_mx(domain, hosts)
            or detection.by_srv(domain, lookup.services(domain))
            or detection.guess(domain, hosts)
        )
    return DetectView(
        address=str(parsed),
        domain=domain,
        preset=found.preset.name,
        title=found.preset.title,
        host=found.host or None,
        port=found.port,
        encryption=found.encryption.value,
        region=found.region or None,
        username=found.preset.username,
        hints=found.preset.hints,
        found_by=found.found_by,
        mx=hosts,
    )
