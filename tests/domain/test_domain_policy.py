"""The policy file of MTA-STS: fetched over real TLS on loopback, and read."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from peers.dns_server import DnsServer
from waypost.clock import SystemClock
from waypost.desk.domains.check import asking
from waypost.domain import policy_file, sts
from waypost.domain.answers import Fetched
from waypost.domain.check.run import Question, check
from waypost.domain.findings import Finding, Grade
from waypost.domain.policy_file import FILE_OCTETS, Reach
from waypost.domain.resolver import Resolver
from waypost.values import Endpoint

DOMAIN = "corp.example"
HOST = f"mta-sts.{DOMAIN}"
ZONE = (
    '@ MX 10 mx\n@ TXT "v=spf1 ip4:192.0.2.10 -all"\nmx A 192.0.2.25\n'
    '_mta-sts TXT "v=STSv1; id=1"\nmta-sts A 127.0.0.1\n'
)
ELSEWHERE = f"Location: https://{HOST}/else\r\n"
GOOD = "version: STSv1\r\nmode: enforce\r\nmx: mx.corp.example\r\nmax_age: 604800\r\n"


class FileServer:
    """Answers every request with `answer`; None: keeps silent. `asked`: heads of requests."""

    def __init__(self, authority: trustme.CA, name: str = HOST) -> None:
        self.asked: list[bytes] = []
        self.answer: bytes | None = b""
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(self._context)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def says(
        self, text: str, head: str = "200 OK", kind: str = "text/plain", more: str = ""
    ) -> None:
        octets = text.encode()
        lines = (
            f"HTTP/1.1 {head}\r\nContent-Type: {kind}\r\nContent-Length: {len(octets)}\r\n{more}"
        )
        self.answer = f"{lines}\r\n".encode() + octets

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                raw, _ = self._listening.accept()
                threading.Thread(target=self._talk, args=(raw,), daemon=True).start()

    def _talk(self, raw: socket.socket) -> None:
        with (
            contextlib.suppress(OSError),
            self._context.wrap_socket(raw, server_side=True) as peer,
        ):
            self._open.append(peer)
            head = b""
            while b"\r\n\r\n" not in head:
                head += peer.recv(4096) or b"\r\n\r\n"
            self.asked.append(head)
            if self.answer is None:
                peer.recv(1)  # until it is closed
            else:
                peer.sendall(self.answer)

    def stop(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)  # wakes whoever accepts
        self._listening.close()
        for peer in self._open:
            peer.close()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def dns() -> Iterator[DnsServer]:
    made = DnsServer()
    made.zone(DOMAIN, ZONE)
    yield made
    made.stop()


@pytest.fixture
def files(authority: trustme.CA) -> Iterator[FileServer]:
    made = FileServer(authority)
    made.says(GOOD)
    yield made
    made.stop()


@pytest.fixture
def context(authority: trustme.CA) -> ssl.SSLContext:
    made = ssl.create_default_context()
    authority.configure_trust(made)
    return made


def resolver(dns: DnsServer, reach: Reach) -> Resolver:
    return Resolver(SystemClock(), [Endpoint("127.0.0.1", dns.port)], reach=reach)


def asked(dns: DnsServer, reach: Reach) -> Finding:
    """The finding of a whole check."""
    report = check(resolver(dns, reach), Question(domain=DOMAIN))
    return next(found for found in report.findings if found.check == "mta-sts")


def anywhere(_address: str) -> bool:
    return True


def test_it_is_fetched_as_senders_do(
    dns: DnsServer, files: FileServer, context: ssl.SSLContext
) -> None:
    found = asked(dns, Reach(anywhere, files.port, context))
    assert (found.status, found.unknown) == (Grade.OK, False)
    assert "its policy (enforce) lists every MX host" in found.found
    (head,) = files.asked
    assert head.startswith(b"GET /.well-known/mta-sts.txt HTTP/1.1\r\n")
    assert f"\r\nHost: {HOST}".encode() in head


def test_a_host_that_it_does_not_list(
    dns: DnsServer, files: FileServer, context: ssl.SSLContext
) -> None:
    files.says(GOOD.replace("mx: mx.", "mx: old."))
    found = asked(dns, Reach(anywhere, files.port, context))
    assert found.status is Grade.WARNING and not found.unknown
    assert "does not list mx.corp.example" in found.found


def test_an_address_that_is_not_public_is_not_asked(
    dns: DnsServer, files: FileServer, context: ssl.SSLContext
) -> None:
    """With the guard that a relay uses. The control is above: that server is there."""
    allows = asking(SystemClock(), ()).reach.allows
    found = asked(dns, Reach(allows, files.port, context))
    assert found.status is Grade.WARNING and found.unknown
    assert "could not be checked: the policy file" in found.found
    assert "127.0.0.1, which is no public address" in found.found
    assert files.asked == []
    for address in ("10.0.0.7", "169.254.169.254", "::1", "fd00::1", "::ffff:10.0.0.7"):
        assert not allows(address)
    assert allows("9.9.9.9")


@pytest.mark.parametrize(
    ("says", "words", "unknown"),
    [
        (lambda f: f.says("", "404 Not Found"), "answers 404", False),
        (lambda f: f.says("", "503 Busy"), "answers 503", True),
        (lambda f: f.says("", "301 Moved", more=ELSEWHERE), "redirect", False),
        (lambda f: f.says(GOOD, kind="text/html"), "text/html, not text/plain", False),
        (lambda f: f.says("x" * (FILE_OCTETS + 1)), "larger than 65536 bytes", False),
        (lambda f: f.says(GOOD, more="Content-Encoding: gzip\r\n"), "lists every MX host", False),
        (lambda f: setattr(f, "answer", b"220 mail ready\r\n"), "cannot be asked", True),
        (lambda f: setattr(f, "answer", b""), "cannot be asked", True),
        (lambda f: f.says("mode: enforce"), "it must say version: STSv1", False),
    ],
)  # fmt: skip
def test_what_else_a_server_may_say(
    dns: DnsServer,
    files: FileServer,
    context: ssl.SSLContext,
    says: Callable[[FileServer], None],
    words: str,
    unknown: bool,
) -> None:
    says(files)
    found = asked(dns, Reach(anywhere, files.port, context))
    assert words in found.found
    assert found.unknown == unknown
    assert files.asked and all(b"/.well-known/" in head for head in files.asked)  # no redirect


def test_a_certificate_that_does_not_hold(
    dns: DnsServer, files: FileServer, authority: trustme.CA, context: ssl.SSLContext
) -> None:
    stranger = FileServer(authority, "elsewhere.example")
    stranger.says(GOOD)
    try:
        for reach in (Reach(anywhere, files.port), Reach(anywhere, stranger.port, context)):
            found = asked(dns, reach)
            assert found.status is Grade.WARNING and not found.unknown
            assert f"the certificate of {HOST} does not hold" in found.found
        assert files.asked == stranger.asked == []
    finally:
        stranger.stop()


def test_a_server_that_keeps_silent(
    dns: DnsServer, files: FileServer, context: ssl.SSLContext
) -> None:
    files.answer = None
    reach = Reach(anywhere, files.port, context)
    told = policy_file.fetch(DOMAIN, ["127.0.0.1"], 0.3, reach)
    assert told == Fetched(why=f"{HOST} does not answer in time", unknown=True)
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    gone = policy_file.fetch(DOMAIN, ["127.0.0.1"], 5.0, Reach(anywhere, port, context))
    assert gone.unknown and "cannot be asked" in gone.why


def test_a_check_whose_time_is_up_fetches_nothing(
    dns: DnsServer, files: FileServer, context: ssl.SSLContext
) -> None:
    asker = resolver(dns, Reach(anywhere, files.port, context))
    assert not asker.policy(DOMAIN).why
    asker.stop()
    told = asker.policy(DOMAIN)
    assert told.unknown and len(files.asked) == 1


@pytest.mark.parametrize(
    ("text", "mode", "hosts", "problems"),
    [
        (GOOD, "enforce", ("mx.corp.example",), 0),
        (GOOD.replace("\r\n", "\n"), "enforce", ("mx.corp.example",), 0),
        (GOOD.replace(": ", ":"), "enforce", ("mx.corp.example",), 0),
        (GOOD + "later_field: x\r\n\r\n", "enforce", ("mx.corp.example",), 0),
        (GOOD + "mode: none\r\n", "enforce", ("mx.corp.example",), 0),  # the first counts
        (GOOD + "mx: *.corp.example.\n", "enforce", ("mx.corp.example", "*.corp.example"), 0),
        ("version: STSv1\nmode: none\nmax_age: 0\n", "none", (), 0),
        (GOOD.replace("STSv1", "STSv2"), "enforce", ("mx.corp.example",), 1),
        (GOOD.replace("enforce", "Enforce"), "Enforce", ("mx.corp.example",), 1),
        (GOOD.replace("604800", "31557601"), "enforce", ("mx.corp.example",), 1),
        (GOOD.replace("604800", "-1"), "enforce", ("mx.corp.example",), 1),
        (GOOD.replace("604800", "9" * 5000), "enforce", ("mx.corp.example",), 1),
        (GOOD.replace("mx.corp", "m x.corp"), "enforce", ("m x.corp.example",), 1),
        ("version: STSv1\nmode: testing\nmax_age: 604800\n", "testing", (), 1),
        ("", "", (), 3),
        ("<html>\n" + GOOD, "enforce", ("mx.corp.example",), 1),
    ],
)
def test_a_policy_is_read(text: str, mode: str, hosts: tuple[str, ...], problems: int) -> None:
    policy = sts.read(text)
    assert (policy.mode, policy.hosts, len(policy.problems)) == (mode, hosts, problems)


@pytest.mark.parametrize(
    ("host", "listed"),
    [
        ("mx.corp.example", True),
        ("MX.Corp.Example.", True),
        ("a.pool.example", True),
        ("a.b.pool.example", False),
        ("pool.example", False),
        ("x.mx.corp.example", False),
        ("corp.example", False),
        ("", False),
    ],
)
def test_a_star_is_one_label(host: str, listed: bool) -> None:
    assert sts.Policy(hosts=("mx.corp.example", "*.pool.example")).lists(host) is listed


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    policy = sts.read(text)
    assert all(line.isprintable() and len(line) < 200 for line in policy.problems)
