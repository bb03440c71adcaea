"""Alerts against a real server that verifies, fails, hangs and floods; from a real store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from peers.receiver import Receiver
from store.house import NOW_MS, House
from waypost.clock import SystemClock
from waypost.core.errors import Secret
from waypost.core.event import Event, Kind
from waypost.store.connect import connect, transaction
from waypost.store.keep.outbox import Outbox
from waypost.store.read.book import Look
from waypost.store.sqlite.batch import INSERT_EVENT
from waypost.watch.tell import signing, standing
from waypost.watch.tell.alerts import (
    BACK_OFF_S,
    GIVE_UP_MS,
    KEPT_STEP,
    REFUSED_TRIES,
    TOLD,
    Alerts,
    Target,
)

SECRET = "whsec_" + "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXowMTIzNDU="


class MovedClock(SystemClock):
    """Moved by hand; no jitter."""

    def __init__(self) -> None:
        self.ms, self.s = NOW_MS, 0.0

    def wall_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.s

    def chance(self) -> float:
        return 0.0

    def pass_s(self, seconds: float) -> None:
        self.ms += int(seconds * 1000)
        self.s += seconds


class Stand:
    """A store, a receiver, and who tells the one of the other."""

    def __init__(self, house: House, receiver: Receiver) -> None:
        self.house, self.receiver = house, receiver
        self.clock = MovedClock()
        self.alerts = self.teller()

    def teller(self, try_s: float = 60.0) -> Alerts:
        target = Target(self.receiver.url, Secret(SECRET))
        return Alerts(self.house.data, "relay.test", target, self.clock, try_s)

    def happen(self, *kinds: Kind, text: str = "words") -> None:
        db = connect(self.house.data)
        with transaction(db):
            for kind in kinds:
                event = Event(self.clock.ms, kind, text, 1, upstream_id=1, sender_id=1)
                Look(db).run(INSERT_EVENT, msgspec.structs.astuple(event))
        db.close()

    def types(self) -> list[str]:
        return [alert["type"] for alert in self.receiver.alerts]


Story = Callable[[Stand], Awaitable[None]]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver(SECRET)
    found.any_time = True
    yield found
    found.stop()
    assert found.wrong == []


@pytest.fixture
def tell(tmp_path: Path, receiver: Receiver) -> Callable[[Story], None]:
    def run(story: Story) -> None:
        async def whole() -> None:
            house = House(tmp_path / "data")
            try:
                await asyncio.wait_for(story(Stand(house, receiver)), 120)
            finally:
                await house.close()

        asyncio.run(whole())

    return run


def test_each_is_told_once_signed_in_order_with_names(tell: Callable[[Story], None]) -> None:
    async def story(stand: Stand) -> None:
        kinds = [kind for kind in Kind if kind.value in TOLD]
        stand.happen(*kinds, Kind.MESSAGE_FAILED, Kind.MESSAGE_UNCERTAIN)
        while await stand.alerts.step():
            pass
        assert stand.types() == [kind.value for kind in kinds]
        first = stand.receiver.alerts[0]
        assert first["timestamp"] == "2026-09-21T14:13:20.000Z"
        assert first["data"] == {
            "text": "words",
            "relay": "relay.test",
            "account": "acme",
            "upstream": "main",
            "host": "mx.example",
            "fallback": None,
            "sender": "shop@example.org",
        }
        assert len(set(stand.receiver.ids)) == len(kinds)
        again = stand.teller()
        while await again.step():
            pass
        assert len(stand.receiver.ids) == len(kinds)

    tell(story)


@pytest.mark.parametrize("answer", [500, 503, 404, 301, 307, "drop", "hang"])
def test_tried_again_later_with_the_same_id(
    tell: Callable[[Story], None], answer: int | str
) -> None:
    async def story(stand: Stand) -> None:
        if answer == "hang":
            stand.alerts = stand.teller(try_s=1.0)
        stand.receiver.answers = [answer] * 3
        stand.happen(Kind.UPSTREAM_PAUSED, Kind.UPSTREAM_RECOVERED)
        for wait_s in BACK_OFF_S[:3]:
            before = len(stand.receiver.ids)
            await stand.alerts.step()
            await stand.alerts.step()  # too soon: nothing is tried
            assert len(stand.receiver.ids) == before + 1
            stand.clock.pass_s(wait_s + 0.01)
        stand.alerts._try_s = 60.0  # of one that answers, however slowly
        while await stand.alerts.step():
            pass
        assert stand.types() == ["upstream.paused", "upstream.recovered"]
        assert len(set(stand.receiver.ids[:4])) == 1

    tell(story)


def test_what_one_alert_is_refused_for_does_not_stop_the_others(
    tell: Callable[[Story], None],
) -> None:
    async def story(stand: Stand) -> None:
        stand.receiver.answers = [400] * REFUSED_TRIES
        stand.happen(Kind.UPSTREAM_PAUSED, Kind.UPSTREAM_RECOVERED)
        for _ in range(REFUSED_TRIES + 1):
            await stand.alerts.step()
            stand.clock.pass_s(max(BACK_OFF_S))
        assert stand.types() == ["upstream.recovered"]

    tell(story)


def test_an_endless_answer_is_not_read(tell: Callable[[Story], None]) -> None:
    async def story(stand: Stand) -> None:
        stand.receiver.answers = ["flood"]
        stand.happen(Kind.UPSTREAM_PAUSED)
        began = time.monotonic()
        await stand.alerts.step()
        assert time.monotonic() - began < 30  # half of what a try may take
        assert await asyncio.to_thread(stand.receiver.cut.wait, 30)

    tell(story)


def test_what_is_old_is_let_go_of(tell: Callable[[Story], None]) -> None:
    async def story(stand: Stand) -> None:
        stand.receiver.answers = [500] * 100
        stand.happen(Kind.UPSTREAM_PAUSED)
        await stand.alerts.step()
        stand.clock.pass_s(GIVE_UP_MS / 1000 + 1)
        stand.receiver.answers = []
        stand.happen(Kind.UPSTREAM_RECOVERED)
        await stand.alerts.step()
        assert stand.types() == ["upstream.recovered"]

    tell(story)


def test_what_happened_before_anybody_asked_is_not_told_but_a_restart_misses_nothing(
    tell: Callable[[Story], None],
) -> None:
    async def story(stand: Stand) -> None:
        stand.happen(Kind.UPSTREAM_PAUSED)
        stand.clock.pass_s(60)
        stand.alerts = stand.teller()
        await stand.alerts.step()
        assert stand.types() == []
        stand.happen(Kind.UPSTREAM_FAILING)
        stand.receiver.answers = [500]
        await stand.alerts.step()
        stand.clock.pass_s(60)
        await stand.teller().step()  # the next process
        assert stand.types() == ["upstream.failing"]

    tell(story)


def test_a_million_others_are_passed_over_for_good(tell: Callable[[Story], None]) -> None:
    async def story(stand: Stand) -> None:
        await stand.alerts.step()
        stand.happen(*[Kind.MESSAGE_FAILED] * (KEPT_STEP + 1))
        while await stand.alerts.step():
            pass
        last = stand.house.one("SELECT max(id) FROM event")
        assert Outbox(stand.house.data).begin(0) >= last - KEPT_STEP

    tell(story)


def test_a_new_receiver_is_not_kept_waiting_for_the_old_one(tell: Callable[[Story], None]) -> None:
    async def story(stand: Stand) -> None:
        good = stand.alerts.target
        stand.alerts.target = Target("http://127.0.0.1:9/", Secret(SECRET))
        stand.happen(Kind.UPSTREAM_PAUSED)
        for wait_s in BACK_OFF_S:
            await stand.alerts.step()
            stand.clock.pass_s(wait_s)
        await stand.alerts.step()
        same = Target("http://127.0.0.1:9/", Secret(SECRET))
        stand.alerts.target = same  # a reload that changed something else
        assert await stand.alerts.step() == 0
        stand.alerts.target = good
        assert await stand.alerts.step() == 1
        assert stand.types() == ["upstream.paused"]

    tell(story)


def test_no_receiver_no_deed(tell: Callable[[Story], None]) -> None:
    async def story(stand: Stand) -> None:
        stand.happen(Kind.UPSTREAM_PAUSED)
        stand.alerts.target = None
        assert await stand.alerts.step() == 0
        stand.alerts.target = Target("http://127.0.0.1:9/", Secret(SECRET))
        assert await stand.alerts.step() == 0  # nobody listens there
        assert stand.receiver.ids == []

    tell(story)


# What stands


def test_credits_are_low_once_until_they_are_not(tmp_path: Path) -> None:
    async def story() -> None:
        house, clock = House(tmp_path / "data", 150), MovedClock()
        certificate = tmp_path / "none.pem"
        teller = standing.Standing(house.data, certificate, lambda: (10**12, 10**12), 100, clock)

        async def told() -> list[str]:
            clock.pass_s(standing.CHECK_S + 1)
            await teller.step()
            return [row[0] for row in house.sql("SELECT text FROM event ORDER BY id")]

        def left(credits: int) -> None:
            house.change("UPDATE account SET balance = ?, accepted = 1", credits)

        try:
            assert await told() == []
            left(99)
            assert await told() == await told() == ["account acme has 99 credits left"]
            left(150)
            assert len(await told()) == 1
            left(0)
            assert (await told())[1:] == ["account acme has 0 credits left"]
            left(5)
            other = standing.Standing(house.data, certificate, lambda: (0, 0), 100, clock)
            await other.step()  # the next process knows what was told
            assert len(await told()) == 2
        finally:
            await house.close()

    asyncio.run(story())


def test_disk_low_and_over_with_room_between() -> None:
    total = 100 << 30
    bound = standing.DISK_LOW_BYTES
    ((name, words, event),) = standing.disk_low(bound - 1, total, {}, 5)
    assert (name, event and event.kind) == ("disk", Kind.DISK_LOW)
    assert standing.disk_low(bound - 1, total, {"disk": words}, 5) == []
    assert standing.disk_low(bound + 1, total, {"disk": words}, 5) == []
    ((name, words, event),) = standing.disk_low(2 * bound, total, {"disk": "x"}, 5)
    assert (name, words, event and event.kind) == ("disk", "", Kind.DISK_RECOVERED)
    assert standing.disk_low(2 * bound, total, {}, 5) == []


def test_a_certificate_is_told_of_three_times() -> None:
    day = standing.DAY_MS
    marks: dict[str, str] = {}
    told = []
    for left in (30, 14, 13, 10, 2, 1, 0, -1, -5):
        for name, words, event in standing.certificate_ending(100 * day, marks, (100 - left) * day):
            marks[name] = words
            assert event is not None
            told.append((left, event.kind))
    assert told == [(left, Kind.CERTIFICATE_ENDING) for left in (13, 2, -1)]
    assert standing.certificate_ending(400 * day, marks, 100 * day) == [("certificate", "", None)]


def test_a_secret_is_made_once_for_its_owner(tmp_path: Path) -> None:
    secret = signing.made(tmp_path, SystemClock())
    assert signing.made(tmp_path, SystemClock()) == secret
    assert (tmp_path / signing.FILE).stat().st_mode & 0o777 == 0o600
    assert len(signing.octets(secret)) == 32
    assert [path.name for path in tmp_path.iterdir()] == [signing.FILE]


def test_the_signature_is_that_of_the_standard() -> None:
    """The example that standardwebhooks.com and its libraries test with."""
    secret = Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    found = signing.headers(
        secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )
    assert found["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
