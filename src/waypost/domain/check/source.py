"""A server that sends for the domain: what its provider wants of DNS. Pure.

Knows nothing of the store: an upstream comes as a name, a preset and a host.
"""

from __future__ import annotations

import ipaddress

import msgspec

from waypost.domain.spf import terms
from waypost.upstream import detection, presets
from waypost.upstream.presets import Preset


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """`name`: of the upstream, "" where the provider is guessed from the MX records."""

    name: str
    host: str
    preset: Preset

    @property
    def title(self) -> str:
        known = self.preset.name not in ("custom", "cpanel")
        return self.preset.title if known else self.host

    @property
    def include(self) -> str:
        """The domain whose SPF record names the provider's servers; "" where none is known."""
        return self.preset.spf_for(self.host)

    @property
    def term(self) -> str:
        """What allows it, as a term of an SPF record."""
        if self.include:
            return f"include:{self.include}"
        address = self.address
        if address is not None:
            return f"ip{address.version}:{address}"
        term = f"a:{self.host}"
        return "" if terms.parse(f"{terms.VERSION} {term}").problems else term

    @property
    def address(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
        """Of a host that is an address itself."""
        try:
            return ipaddress.ip_address(self.host.strip("[]"))
        except ValueError:
            return None

    def owns(self, domain: str) -> bool:
        """Whether it is the provider's own domain, such as gmail.com: its records are not the
        customer's to change."""
        return owner(domain) == self.preset.name

    def signs_for(self, domain: str) -> bool:
        """Whether its signatures can be the domain's own."""
        return self.preset.signs_as in ("", domain) or self.owns(domain)

    def keeps_envelope(self, domain: str) -> bool:
        """Whether MAIL FROM stays the sender's."""
        return self.preset.envelope in ("", domain)


def make(name: str, host: str, preset: str, domain: str) -> Source:
    """The source of an upstream; `preset` may be "" or unknown."""
    found = presets.PRESETS.get(preset)
    if found is None or found.name == "custom":
        found = presets.for_host(host, domain) or _akin(host, domain) or presets.PRESETS["custom"]
    return Source(name=name, host=host, preset=found)


def owner(domain: str) -> str:
    """The preset of the provider whose own domain it is; "" where it is nobody's."""
    found = detection.by_domain(domain)
    return found.preset.name if found is not None else ""


def _akin(host: str, domain: str) -> Preset | None:
    """The provider of another of its hosts, such as smtp-relay.gmail.com."""
    for preset in presets.PRESETS.values():
        if not preset.host or "{domain}" in preset.host:
            continue
        for region in preset.regions or ("",):
            known = preset.host.format(region=region)
            within = known.partition(".")[2]
            if "." in within and host.endswith(f".{within}"):
                return presets.for_host(known, domain) or preset
    return None


def guess(domain: str, exchanges: list[str]) -> Source | None:
    """The provider that hosts the domain's mailboxes, which is likely to send for it too."""
    found = detection.by_mx(domain, tuple(exchanges))
    if found is None or not found.preset.spf:
        return None
    return Source(name="", host=found.host, preset=found.preset)
