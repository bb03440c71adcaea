"""The DNS questions of detection, behind a seam: MX, and SRV of submission.

Promises an answer or `LookupFailed` within the time-out. Knows nothing of what the records mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from waypost.core.errors import WaypostError
from waypost.upstream.detection import Service
from waypost.values import Endpoint

LOOKUP_S = 8.0  # for one question over all servers


class LookupFailed(WaypostError):
    """The DNS gave no answer, or says that there is no such domain."""


class NoSuchDomain(LookupFailed):
    """The DNS says that there is no such domain."""


class Lookup(Protocol):
    """Two questions. Hosts come best first; nothing found is empty."""

    def mx(self, domain: str) -> Sequence[str]:
        """Raises `LookupFailed`, also where the domain does not exist."""

    def services(self, domain: str) -> Sequence[Service]:
        """RFC 6186 and RFC 8314 5.1. Raises `LookupFailed`."""


class DnsLookup:
    """By the name servers given, or the resolvers of this machine. Blocking."""

    def __init__(self, servers: Sequence[Endpoint] = (), seconds: float = LOOKUP_S) -> None:
        self._servers = servers
        self._seconds = seconds

    def mx(self, domain: str) -> Sequence[str]:
        found = self._ask(domain, "MX", domain)
        best_first = sorted(found, key=lambda record: int(record.preference))
        return [name for record in best_first if (name := record.exchange.to_text()) != "."]

    def services(self, domain: str) -> Sequence[Service]:
        return [
            Service(
                int(record.priority),
                int(record.weight),
                record.target.to_text(),
                int(record.port),
                tls,
            )
            for label, tls in (("_submissions._tcp", True), ("_submission._tcp", False))
            for record in self._ask(f"{label}.{domain}", "SRV", domain)
        ]

    def _ask(self, name: str, kind: str, domain: str) -> list[Any]:
        import dns.exception  # a third of a second of imports that no other command needs
        import dns.nameserver
        import dns.resolver

        try:
            resolver = dns.resolver.Resolver(configure=not self._servers)
            if self._servers:
                resolver.nameservers = [
                    dns.nameserver.Do53Nameserver(server.host, server.port)
                    for server in self._servers
                ]
            return list(resolver.resolve(f"{name}.", kind, lifetime=self._seconds))
        except dns.resolver.NXDOMAIN:
            if name != domain:
                return []
            raise NoSuchDomain(f"there is no domain {domain}") from None
        except dns.resolver.NoAnswer:
            return []
        except dns.exception.DNSException as error:
            slow = isinstance(error, dns.exception.Timeout)
            why = "no name server answered in time" if slow else "no name server could answer"
            raise LookupFailed(f"{domain} could not be looked up: {why}") from error
