"""A name server of its own on loopback: real UDP and TCP, zones from master files, faults on call.

It answers for the zones it is given and says NXDOMAIN to all else, as a resolver would. Small, and
always there; tests of the check run against Knot DNS too where that is installed.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterable

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dns.zone

HEAD = "$TTL 60\n@ SOA ns.invalid. hostmaster.invalid. 1 3600 600 86400 30\n@ NS ns.invalid.\n"
UDP_OCTETS = 1_232
CNAMES = 8


class DnsServer:
    """`records` by zone, as master files without SOA and NS. A zone's fault is one of `servfail`,
    `refused`, `silence`, `garbage` and `wrong-id`."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self._zones: dict[dns.name.Name, dns.zone.Zone] = {}
        self._faults: dict[dns.name.Name, str] = {}
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        while True:
            self._udp.bind(("127.0.0.1", 0))
            self.port = self._udp.getsockname()[1]
            try:
                self._tcp.bind(("127.0.0.1", self.port))
                break
            except OSError:
                self._udp.close()
                self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._tcp.listen(16)
        self._stopped = False
        for serve in (self._serve_udp, self._serve_tcp):
            threading.Thread(target=serve, daemon=True).start()

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.port}"

    def zone(self, origin: str, records: str) -> None:
        """Takes the place of the zone's records."""
        name = dns.name.from_text(origin)
        self._zones[name] = dns.zone.from_text(
            HEAD + records, origin=name, relativize=False, check_origin=False
        )
        self._faults.pop(name, None)

    def fault(self, origin: str, kind: str) -> None:
        self._faults[dns.name.from_text(origin)] = kind

    def stop(self) -> None:
        self._stopped = True
        for sock in (self._udp, self._tcp):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _serve_udp(self) -> None:
        while not self._stopped:
            try:
                octets, peer = self._udp.recvfrom(4096)
            except OSError:
                return
            reply = self._reply(octets, UDP_OCTETS)
            if reply is not None:
                with contextlib.suppress(OSError):
                    self._udp.sendto(reply, peer)

    def _serve_tcp(self) -> None:
        while not self._stopped:
            try:
                connection, _ = self._tcp.accept()
            except OSError:
                return
            threading.Thread(target=self._one_tcp, args=(connection,), daemon=True).start()

    def _one_tcp(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError, struct.error):
            connection.settimeout(30)
            (length,) = struct.unpack("!H", connection.recv(2))
            reply = self._reply(connection.recv(length), 65_535)
            if reply is not None:
                connection.sendall(struct.pack("!H", len(reply)) + reply)

    def _reply(self, octets: bytes, room: int) -> bytes | None:
        try:
            query = dns.message.from_wire(octets)
        except dns.exception.DNSException:
            return None
        question = query.question[0]
        name = question.name
        self.asked.append((name.to_text(omit_final_dot=True), question.rdtype.name))
        fault = self._fault_of(name)
        if fault == "silence":
            return None
        if fault == "garbage":
            return octets[:2] + b"\x81\x80\x00\x01\xff\xff" + b"\xc0" * 20
        reply = dns.message.make_response(query, recursion_available=True)
        if fault == "wrong-id":
            reply.id ^= 1
        if fault in ("servfail", "refused"):
            reply.set_rcode(dns.rcode.from_text(fault.upper()))
        else:
            self._fill(reply, name, question.rdtype)
        whole = reply.to_wire(max_size=65_535)
        if len(whole) <= room:
            return whole
        short = dns.message.make_response(query, recursion_available=True)
        short.flags |= dns.flags.TC
        return short.to_wire()

    def _fault_of(self, name: dns.name.Name) -> str:
        return next((f for zone, f in list(self._faults.items()) if name.is_subdomain(zone)), "")

    def _fill(
        self, reply: dns.message.Message, name: dns.name.Name, kind: dns.rdatatype.RdataType
    ) -> None:
        for _ in range(CNAMES):
            zone = self._zone_of(name)
            if zone is None:
                reply.set_rcode(dns.rcode.NXDOMAIN)
                return
            node, wild = self._node(zone, name)
            if node is None:
                if not wild:
                    reply.set_rcode(dns.rcode.NXDOMAIN)
                return
            found = node.get_rdataset(dns.rdataclass.IN, kind)
            alias = node.get_rdataset(dns.rdataclass.IN, dns.rdatatype.CNAME)
            if found is not None:
                reply.answer.append(dns.rrset.from_rdata_list(name, found.ttl, list(found)))
                return
            if alias is None:
                return
            reply.answer.append(dns.rrset.from_rdata_list(name, alias.ttl, list(alias)))
            name = alias[0].target

    def _zone_of(self, name: dns.name.Name) -> dns.zone.Zone | None:
        fitting = [origin for origin in list(self._zones) if name.is_subdomain(origin)]
        return self._zones[max(fitting, key=len)] if fitting else None

    @staticmethod
    def _node(zone: dns.zone.Zone, name: dns.name.Name) -> tuple[dns.node.Node | None, bool]:
        """The node, or the wildcard that stands for it; and whether the name is there empty."""
        node = zone.get_node(name)
        if node is not None:
            return node, True
        if any(other.is_subdomain(name) for other in _names(zone)):
            return None, True
        assert zone.origin is not None
        while name != zone.origin:
            name = name.parent()
            star = zone.get_node(dns.name.from_text("*", name))
            if star is not None:
                return star, True
            if zone.get_node(name) is not None:
                break
        return None, False


def _names(zone: dns.zone.Zone) -> Iterable[dns.name.Name]:
    return list(zone.nodes)
