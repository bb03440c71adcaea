"""Knot DNS on a loopback port, with zones from master files: somebody else's name server."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import dns.exception
import dns.message
import dns.query
import pytest

from peers.dns_server import HEAD
from peers.need import need
from peers.process import free_port

READY_S = 60.0


class Knot:
    """One that has started and loaded its zones. `broken`: zones without a file, SERVFAIL."""

    def __init__(self, folder: Path, zones: dict[str, str], broken: frozenset[str]) -> None:
        (program,) = need("knotd")
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        # A zone for everything, so that what nobody has is NXDOMAIN as a resolver would say.
        for origin, text in {**zones, "": ""}.items():
            if origin not in broken:
                body = text if origin else "ns.invalid. A 127.0.0.1\n"
                (folder / f"{origin or 'root'}.zone").write_text(f"$ORIGIN {origin}.\n{HEAD}{body}")
        listed = "".join(
            f"  - domain: {origin}.\n    file: {origin or 'root'}.zone\n" for origin in [*zones, ""]
        )
        config = folder / "knot.conf"
        config.write_text(
            f"server:\n  rundir: {folder}\n  listen: 127.0.0.1@{self.port}\n"
            f"  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n"
            f"log:\n  - target: {folder}/knot.log\n    any: warning\n"
            f"database:\n  storage: {folder}/db\n"
            f"template:\n  - id: default\n    storage: {folder}\n    semantic-checks: off\n"
            f"zone:\n{listed}"
        )
        self._process = subprocess.Popen(
            [program, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._wait(next(iter(origin for origin in zones if origin not in broken)))

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(20)

    def _wait(self, origin: str) -> None:
        query = dns.message.make_query(f"{origin}.", "SOA")
        until = time.monotonic() + READY_S
        while time.monotonic() < until:
            try:
                if dns.query.udp(query, "127.0.0.1", 0.3, self.port).answer:
                    return
            except (OSError, dns.exception.DNSException):
                pass
            time.sleep(0.05)
        pytest.fail("knotd did not start")
