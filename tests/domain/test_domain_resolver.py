"""Asking: the four kinds of answer, the cache, CNAMEs, and whoever answers wrong or not at all."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from peers.dns_server import DnsServer
from waypost.clock import SystemClock
from waypost.domain.answers import Status
from waypost.domain.resolver import SILENT, Cache, Dns, Resolver
from waypost.values import Endpoint

LONG = " ".join(f'"{"x" * 250}"' for _ in range(20))
ZONE = f"""\
@ MX 20 b.corp.example.
@ MX 10 a.corp.example.
a A 192.0.2.1
a AAAA 2001:db8::1
text TXT "one " "two"
odd TXT "\\195\\164\\000"
long TXT {LONG}
null MX 0 .
alias CNAME a
away CNAME there.other.example.
nowhere CNAME gone.other.example.
loop CNAME loop2
loop2 CNAME loop
empty.below A 192.0.2.2
*.wild TXT "star"
"""


@pytest.fixture
def server() -> Iterator[DnsServer]:
    made = DnsServer()
    made.zone("corp.example", ZONE)
    made.zone("other.example", 'there TXT "over there"\n')
    yield made
    made.stop()


class Clock(SystemClock):
    """Monotonic time that is set."""

    def __init__(self) -> None:
        self.s = 1000.0

    def monotonic(self) -> float:
        return self.s


def asker(server: DnsServer, question_s: float = 5.0) -> Resolver:
    place = Endpoint("127.0.0.1", server.port)
    return Resolver(SystemClock(), [place], question_s=question_s)


@pytest.mark.parametrize(
    ("name", "kind", "status", "records"),
    [
        ("a.corp.example", "A", Status.FOUND, ("192.0.2.1",)),
        ("A.CORP.example.", "AAAA", Status.FOUND, ("2001:db8::1",)),
        ("text.corp.example", "TXT", Status.FOUND, ("one two",)),
        ("odd.corp.example", "TXT", Status.FOUND, ("\xc3\xa4\0",)),
        ("long.corp.example", "TXT", Status.FOUND, ("x" * 5_000,)),  # over TCP
        ("null.corp.example", "MX", Status.FOUND, ("0 ",)),
        ("alias.corp.example", "A", Status.FOUND, ("192.0.2.1",)),
        ("away.corp.example", "TXT", Status.FOUND, ("over there",)),
        ("nowhere.corp.example", "TXT", Status.ABSENT, ()),
        ("x.wild.corp.example", "TXT", Status.FOUND, ("star",)),
        ("a.corp.example", "TXT", Status.EMPTY, ()),
        ("below.corp.example", "TXT", Status.EMPTY, ()),
        ("gone.corp.example", "TXT", Status.ABSENT, ()),
        ("a" * 64 + ".corp.example", "TXT", Status.ABSENT, ()),
        ("a..corp.example", "TXT", Status.ABSENT, ()),
        (".".join(["a" * 60] * 5), "TXT", Status.ABSENT, ()),
        ("\u4e2d.example", "TXT", Status.ABSENT, ()),
        ("a b\\c\xff.corp.example", "TXT", Status.ABSENT, ()),
    ],
)
def test_answers(
    server: DnsServer, name: str, kind: str, status: Status, records: tuple[str, ...]
) -> None:
    answer = asker(server).ask(name, kind)
    assert (answer.status, answer.records) == (status, records)


def test_mail_exchanges_come_best_first(server: DnsServer) -> None:
    answer = asker(server).ask("corp.example", "MX")
    assert answer.exchanges == [(10, "a.corp.example"), (20, "b.corp.example")]


def test_the_way_of_a_cname_is_told(server: DnsServer) -> None:
    ask = asker(server)
    assert ask.ask("away.corp.example", "TXT").chain == ("there.other.example",)
    assert ask.ask("nowhere.corp.example", "TXT").chain == ("gone.other.example",)
    assert ask.ask("loop.corp.example", "TXT").status in (Status.EMPTY, Status.FAILED)


class Stub(DnsServer):
    """An authority that leaves CNAMEs to whoever asks."""

    def _fill(self, reply: object, name: object, kind: object) -> None:
        super()._fill(reply, name, kind)  # type: ignore[arg-type]  # as it came
        del reply.answer[1:]  # type: ignore[attr-defined]  # the first alone


def test_a_server_that_is_no_resolver_is_helped_along() -> None:
    server = Stub()
    server.zone("corp.example", ZONE)
    server.zone("other.example", 'there TXT "over there"\n')
    ask = asker(server)
    answer = ask.ask("away.corp.example", "TXT")
    assert (answer.records, answer.chain) == (("over there",), ("there.other.example",))
    answer = ask.ask("loop.corp.example", "TXT")
    assert answer.status is Status.EMPTY
    assert len(server.asked) < 20
    server.stop()


@pytest.mark.parametrize("kind", ["servfail", "refused", "silence", "garbage", "wrong-id"])
def test_no_answer_is_a_failure_and_nothing_else(server: DnsServer, kind: str) -> None:
    server.fault("corp.example", kind)
    ask = asker(server, 0.3)
    answer = ask.ask("a.corp.example", "A")
    assert (answer.status, answer.void, answer.failed) == (Status.FAILED, False, True)
    assert answer.why
    count = len(server.asked)
    assert ask.ask("a.corp.example", "A") is answer
    assert len(server.asked) == count, "a failure is not asked for again in one check"
    server.zone("corp.example", ZONE)
    assert asker(server).ask("a.corp.example", "A").status is Status.FOUND


def test_nobody_there() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        place = Endpoint("127.0.0.1", taken.getsockname()[1])
        ask = Resolver(SystemClock(), [place], question_s=0.2)
        assert ask.ask("a.example", "A").failed


def test_the_second_server_is_asked_where_the_first_is_away(server: DnsServer) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    places = [Endpoint("127.0.0.1", port), Endpoint("127.0.0.1", server.port)]
    assert Resolver(SystemClock(), places).ask("a.corp.example", "A").status is Status.FOUND


def test_what_was_answered_is_kept_for_its_time(server: DnsServer) -> None:
    clock, cache = Clock(), Cache()
    dns = Dns(clock, (Endpoint("127.0.0.1", server.port),), cache=cache)
    for name, seconds in (("a.corp.example", 60), ("gone.corp.example", 30)):
        dns.resolver().ask(name, "A")
        count = len(server.asked)
        clock.s += seconds - 1
        dns.resolver().ask(name.upper(), "A")
        assert len(server.asked) == count
        clock.s += 2
        dns.resolver().ask(name, "A")
        assert len(server.asked) == count + 1


def test_a_failure_is_not_kept_for_the_next_check(server: DnsServer) -> None:
    dns = Dns(SystemClock(), (Endpoint("127.0.0.1", server.port),))
    server.fault("corp.example", "servfail")
    assert dns.resolver().ask("a.corp.example", "A").failed
    server.zone("corp.example", ZONE)
    assert not dns.resolver().ask("a.corp.example", "A").failed


def test_a_check_has_an_end(server: DnsServer) -> None:
    clock = Clock()
    ask = Resolver(clock, [Endpoint("127.0.0.1", server.port)], budget_s=10)
    assert not ask.ask("a.corp.example", "A").failed
    clock.s += 11
    answer = ask.ask("b.corp.example", "A")
    assert answer.failed and "used up" in answer.why
    assert not ask.ask("a.corp.example", "A").failed, "what is known is known"


def test_a_silent_server_is_waited_for_ever_less(server: DnsServer) -> None:
    server.fault("corp.example", "silence")
    ask = asker(server, 60.0)
    clock = SystemClock()
    for number in range(SILENT):
        ask._silent = SILENT  # as after so many
        began_s = clock.monotonic()
        assert ask.ask(f"x{number}.corp.example", "A").failed
        assert clock.monotonic() - began_s < 20
    assert not ask.ask("there.other.example", "TXT").failed
    assert ask._silent == 0


def test_it_can_be_stopped(server: DnsServer) -> None:
    ask = asker(server)
    ask.stop()
    assert ask.ask("a.corp.example", "A").failed
    assert server.asked == []


def test_many_threads_share_a_cache(server: DnsServer) -> None:
    dns = Dns(SystemClock(), (Endpoint("127.0.0.1", server.port),))
    wrong: list[object] = []

    def work() -> None:
        for number in range(30):
            answer = dns.resolver().ask(f"x{number % 5}.wild.corp.example", "TXT")
            if answer.records != ("star",):
                wrong.append(answer)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
