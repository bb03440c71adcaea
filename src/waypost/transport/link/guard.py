"""Where a tenant's upstream may be: pure judgements over addresses and ports.

Promises that only globally routable unicast addresses pass, also when an IPv4 address is carried
inside an IPv6 one, unless the operator allowed the network. Knows nothing of names or sockets.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

import msgspec

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052 2.1
_SIX_TO_FOUR = ipaddress.IPv6Network("2002::/16")  # RFC 3056
_COMPATIBLE = ipaddress.IPv6Network("::/96")  # RFC 4291 2.5.5.1, obsolete
_TRANSLATED = ipaddress.IPv6Network("::ffff:0:0:0/96")  # RFC 2765 2.1
_ISATAP = frozenset({0x00005EFE, 0x02005EFE})  # RFC 5214 6.1, of the interface identifier
_UNICAST_6 = ipaddress.IPv6Network("2000::/3")  # RFC 4291 2.4: all that is given out

_NEVER: tuple[IPNetwork, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",  # RFC 1122 3.2.1.3
        "100.64.0.0/10",  # RFC 6598 shared
        "168.63.129.16/32",  # a cloud's metadata in public space
        "192.0.0.0/24",  # RFC 6890
        "192.88.99.0/24",  # RFC 7526
        "198.18.0.0/15",  # RFC 2544 benchmark
        "224.0.0.0/3",  # multicast and reserved, RFC 1112
        "64:ff9b:1::/48",  # RFC 8215
        "100::/64",  # RFC 6666 discard
        "2001::/23",  # RFC 2928, Teredo among them
        "2001:db8::/32",  # RFC 3849 documentation
        "3fff::/20",  # RFC 9637 documentation
        "5f00::/16",  # RFC 9602
        "fec0::/10",  # RFC 3879
    )
)


class Guard(msgspec.Struct, frozen=True):
    """What the operator allows of tenants' upstreams."""

    ports: frozenset[int] = frozenset({25, 465, 587, 2465, 2525, 2587})
    networks: tuple[IPNetwork, ...] = ()

    def allows_port(self, port: int) -> bool:
        return port in self.ports

    def allows(self, address: str) -> bool:
        """Whether a tenant's upstream may be at this numeric address."""
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        inner = _carried(parsed) if isinstance(parsed, ipaddress.IPv6Address) else None
        meant: IPAddress = parsed if inner is None else inner
        if any(_inside(meant, network) for network in self.networks):
            return True
        return is_public(parsed)


def make_guard(networks: Iterable[str], ports: Iterable[int]) -> Guard:
    """The guard of configured texts; raises ValueError on a text that is no network."""
    parsed = tuple(ipaddress.ip_network(text, strict=False) for text in networks)
    return Guard(frozenset(ports), parsed)


def is_public(address: IPAddress) -> bool:
    """Whether the address is globally routable unicast, whatever it carries inside."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = _carried(address)
        if inner is not None:
            return is_public(inner)
        if address not in _UNICAST_6 or address.scope_id is not None:
            return False
    if any(_inside(address, network) for network in _NEVER):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _carried(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that packets to this one end up at, if there is one."""
    number = int(address)
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _SIX_TO_FOUR:
        return ipaddress.IPv4Address(number >> 80 & 0xFFFFFFFF)
    if address in _NAT64 or address in _TRANSLATED or address in _COMPATIBLE:
        return ipaddress.IPv4Address(number & 0xFFFFFFFF)
    if number >> 32 & 0xFFFFFFFF in _ISATAP and address in _UNICAST_6:
        return ipaddress.IPv4Address(number & 0xFFFFFFFF)
    return None


def _inside(address: IPAddress, network: IPNetwork) -> bool:
    return address.version == network.version and address in network
