"""From an address's domain and its DNS records to the preset, host and port to use.

The order is that of the contract: the domains of the providers themselves, MX, then the SRV records
of RFC 6186 and RFC 8314, then a guess. Knows nothing of how records are looked up.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import MappingProxyType

import msgspec

from waypost.core.upstream import Encryption
from waypost.upstream.presets import PRESETS, Preset


class Service(msgspec.Struct, frozen=True):
    """An SRV record (RFC 2782) of a submission service. `tls`: `_submissions`, RFC 8314 5.1."""

    priority: int
    weight: int
    host: str
    port: int
    tls: bool


class Detected(msgspec.Struct, frozen=True):
    """What fits; `found_by`: domain, mx, srv or guess. `host` empty: it has to be named."""

    preset: Preset
    host: str
    port: int
    encryption: Encryption
    found_by: str
    region: str = ""


_DOMAINS = MappingProxyType(
    {
        "gmail": ("gmail.com", "googlemail.com"),
        "outlook": ("outlook.com", "hotmail.com", "live.com", "msn.com", "outlook.de", "hotmail.de",
                    "hotmail.co.uk", "hotmail.fr", "live.co.uk", "live.de", "live.fr"),
        "yahoo": ("yahoo.com", "yahoo.co.uk", "yahoo.de", "yahoo.fr", "yahoo.es", "yahoo.it",
                  "yahoo.ca", "yahoo.co.in", "yahoo.com.br", "ymail.com", "rocketmail.com"),
        "icloud": ("icloud.com", "me.com", "mac.com"),
        "zoho": ("zoho.com", "zohomail.com", "zoho.eu", "zohomail.eu", "zoho.in", "zohomail.in"),
        "fastmail": ("fastmail.com", "fastmail.fm"),
    }
)  # fmt: skip
_REGION_BY_MX = MappingProxyType(
    {
        "ses": re.compile(r"\.([a-z]{2}-[a-z]+-\d)\.amazonaws\.com$"),
        "zoho": re.compile(r"\.zoho\.([a-z.]+)$"),
        "ionos": re.compile(r"\.ionos\.([a-z.]+)$"),
    }
)
_NAMED_REGION = MappingProxyType(
    {"kundenserver.de": "de", "zohomail.eu": "eu", "zohomail.in": "in"}
)


def by_domain(domain: str) -> Detected | None:
    """A provider's own domain, known without DNS."""
    for name, domains in _DOMAINS.items():
        if domain in domains:
            preset = PRESETS[name]
            return _of(preset, domain, "domain", _region(preset, f"mx.{domain}"))
    return None


def by_mx(domain: str, hosts: Sequence[str]) -> Detected | None:
    """The preset that hosts the domain; `hosts` best first. The longest fitting name decides."""
    for host in hosts:
        name = host.rstrip(".").lower()
        fitting = [
            (len(end), preset)
            for preset in PRESETS.values()
            for end in preset.mx
            if name == end or name.endswith(f".{end}")
        ]
        if fitting:
            preset = max(fitting, key=lambda pair: pair[0])[1]
            return _of(preset, domain, "mx", _region(preset, name))
    return None


def by_srv(domain: str, services: Sequence[Service]) -> Detected | None:
    """The domain's own word (RFC 6186 3.4: a target of `.` is none). TLS before STARTTLS where
    both stand alike, as RFC 8314 3.3 wants it."""
    offered = [service for service in services if service.host.rstrip(".")]
    if not offered:
        return None
    best = min(offered, key=lambda s: (s.priority, not s.tls, -s.weight))
    host = best.host.rstrip(".").lower()
    known = next((p for p in PRESETS.values() if p.host == host), PRESETS["custom"])
    encryption = Encryption.TLS if best.tls else Encryption.STARTTLS
    return Detected(known, host, best.port, encryption, "srv")


def guess(domain: str, hosts: Sequence[str]) -> Detected:
    """A server of its own: hosting where its MX is within the domain or there is none, else
    unknown."""
    own = [h for h in hosts if h.rstrip(".").lower().endswith(f".{domain}")]
    if own or not hosts or domain in {h.rstrip(".").lower() for h in hosts}:
        return _of(PRESETS["cpanel"], domain, "guess", "")
    return _of(PRESETS["custom"], domain, "guess", "")


def _of(preset: Preset, domain: str, found_by: str, region: str) -> Detected:
    host = preset.host_for(domain, region) if preset.host else ""
    return Detected(preset, host, preset.port, preset.encryption, found_by, region)


def _region(preset: Preset, mx: str) -> str:
    """The region that the name of an MX tells, where the preset has it."""
    for end, region in _NAMED_REGION.items():
        if mx.endswith(end) and region in preset.regions:
            return region
    pattern = _REGION_BY_MX.get(preset.name)
    found = pattern.search(mx) if pattern is not None else None
    told = found.group(1) if found is not None else ""
    return told if told in preset.regions else ""
