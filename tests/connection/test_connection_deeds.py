"""Saving tests first; pins are decided and kept; tests have a bound; nothing secret is shown."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from connection.connection_player import Certificates, Play, Player
from waypost.clock import SystemClock
from waypost.core.errors import NotFound, Secret, StoreAway, UsageError, WrongState
from waypost.desk import accounts, secrets, upstreams
from waypost.desk.connection import pace, trial
from waypost.desk.connection.edits import Fields
from waypost.desk.connection.pace import TooManyTests
from waypost.desk.connection.trial import Trial
from waypost.desk.connection.views import StepView, TestFailed
from waypost.desk.office import Desk
from waypost.desk.secrets import FileSealer
from waypost.transport.check.run import Setup, Times
from waypost.transport.link.guard import Guard
from waypost.transport.link.mask import masker
from waypost.upstream.settings import Form

from transport.fake_store import make_upstream  # isort: skip

T = TypeVar("T")
PASSWORD = "Planted-Secret-78"


class MovedClock(SystemClock):
    def __init__(self) -> None:
        self.ms = 1_790_000_000_000

    def wall_ms(self) -> int:
        return self.ms


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
def desk(tmp_path: Path, clock: MovedClock) -> Desk:
    key_file = tmp_path / "data" / "sealing.keys"
    made = Desk(
        data=tmp_path / "data",
        clock=clock,
        sealer=FileSealer(key_file, clock),
        key_file=key_file,
        create=True,
    )
    accounts.create(made, "acme")
    return made


@pytest.fixture
def trying(certificates: Certificates) -> Trial:
    return Trial(
        Setup(
            "relay.test",
            Guard(),
            SystemClock(),
            Times(60.0, 60.0),
            authorities=certificates.roots,
            others=(),
        )
    )


def with_player(
    certificates: Certificates, play: Play, deed: Callable[[Player], Awaitable[T]]
) -> T:
    async def run() -> T:
        context = certificates.contexts[play.tls] if play.tls else None
        async with Player(play, context) as player:
            return await deed(player)

    return asyncio.run(run())


def fields(port: int, **form: Any) -> Fields:
    said: dict[str, Any] = {"host": "localhost", "port": port, "encryption": "starttls"} | form
    return Fields(form=Form(**said), sender="a@customer.example", password=Secret(PASSWORD))


async def off(deed: Callable[..., T], *arguments: Any, **named: Any) -> T:
    return await asyncio.to_thread(deed, *arguments, **named)


def test_what_works_is_saved_with_its_pin(
    certificates: Certificates, desk: Desk, trying: Trial
) -> None:
    async def deed(player: Player) -> None:
        view = await off(trial.add, desk, trying, "up", fields(player.port))
        assert view.pin.startswith("key:")
        assert "MAIL FROM:<a@customer.example>" in player.heard
        shown = await off(trial.test, desk, trying, "up", send_to="you@example.net")
        assert shown.ok
        assert shown.pin is None
        assert len(player.mails) == 1
        assert PASSWORD not in str(shown)

    with_player(certificates, Play(tls="self-signed"), deed)


def test_what_fails_is_not_saved(certificates: Certificates, desk: Desk, trying: Trial) -> None:
    steps: list[StepView] = []
    telling = msgspec.structs.replace(trying, told=steps.append)

    async def deed(player: Player) -> None:
        with pytest.raises(TestFailed) as failed:
            await off(trial.add, desk, telling, "up", fields(player.port))
        view = failed.value.view
        assert (view.ok, view.diagnosis) == (False, "authentication_failed")
        assert [step.name for step in view.steps] == [step.name for step in steps]
        for text in (str(view), str(failed.value), repr(failed.value), str(steps)):
            assert PASSWORD not in text
        assert upstreams.list_(desk) == []
        kept = await off(
            trial.add,
            desk,
            msgspec.structs.replace(trying, test=False),
            "up",
            fields(player.port),
        )
        assert (kept.name, kept.pin) == ("up", "")
        with pytest.raises(WrongState, match="already"):
            await off(trial.add, desk, trying, "up", fields(player.port))

    with_player(certificates, Play(tls="good", say={"AUTH": f"535 {PASSWORD} is wrong"}), deed)


def test_an_edit_is_tested_where_it_touches_the_connection(
    certificates: Certificates, desk: Desk, trying: Trial
) -> None:
    async def deed(player: Player) -> None:
        await off(trial.add, desk, trying, "up", fields(player.port))
        before = len(player.heard)
        capped = await off(trial.change, desk, trying, "up", Fields(form=Form(daily_cap=9)))
        assert capped.daily_cap == 9
        assert len(player.heard) == before
        await off(trial.change, desk, trying, "up", Fields(password=Secret("Another-Secret")))
        assert len(player.heard) > before
        with pytest.raises(TestFailed) as failed:
            await off(trial.change, desk, trying, "up", Fields(form=Form(encryption="tls")))
        assert failed.value.view.diagnosis == "wrong_encryption"
        assert [(p.port, p.encryption) for p in failed.value.view.would_work] == [
            (player.port, "starttls")
        ]
        assert upstreams.show(desk, "up").encryption == "starttls"
        with pytest.raises(UsageError, match="password"):
            await off(trial.change, desk, trying, "up", Fields(form=Form(host="elsewhere.example")))

    with_player(certificates, Play(tls="good"), deed)


def test_a_new_certificate_is_refused_until_it_is_trusted(
    certificates: Certificates, desk: Desk, trying: Trial
) -> None:
    async def first(player: Player) -> str:
        return (await off(trial.add, desk, trying, "up", fields(player.port))).pin

    old = with_player(certificates, Play(tls="self-signed"), first)

    async def second(player: Player) -> None:
        moved = Fields(form=Form(port=player.port), password=Secret(PASSWORD), pin=old)
        await off(upstreams.change, desk, "up", moved)
        shown = await off(trial.test, desk, trying, "up")
        assert shown.diagnosis == "certificate_error"
        assert old.removeprefix("key:") in shown.steps[-1].detail
        heard = len(player.heard)
        desk.key_file.unlink()  # trusting needs no password, and says none
        trusted = await off(trial.trust, desk, trying, "up")
        assert trusted.old == old
        assert trusted.new.startswith("key:")
        assert trusted.new not in (old, "")
        assert upstreams.show(desk, "up").pin == trusted.new
        assert not [line for line in player.heard[heard:] if line.startswith("AUTH")]

    with_player(certificates, Play(tls="self-signed anew"), second)


def test_what_cannot_be_trusted_is_not(
    certificates: Certificates, desk: Desk, trying: Trial
) -> None:
    untested = msgspec.structs.replace(trying, test=False)

    async def deed(player: Player) -> None:
        await off(trial.add, desk, untested, "up", fields(player.port))
        with pytest.raises(TestFailed, match="expired"):
            await off(trial.trust, desk, trying, "up")
        await off(upstreams.change, desk, "up", Fields(form=Form(validate="off")))
        with pytest.raises(WrongState, match="validate is off"):
            await off(trial.trust, desk, trying, "up")

    with_player(certificates, Play(tls="expired"), deed)


def test_a_lost_key_file_is_mended_by_a_new_password(desk: Desk, trying: Trial) -> None:
    untested = msgspec.structs.replace(trying, test=False)
    trial.add(desk, untested, "up", fields(587))
    desk.key_file.unlink()
    clean = msgspec.structs.replace(desk, sealer=FileSealer(desk.key_file, desk.clock))
    with pytest.raises(StoreAway):
        upstreams.load(clean, "up")
    assert upstreams.change(clean, "up", Fields(form=Form(daily_cap=3))).daily_cap == 3
    fresh = Fields(form=Form(port=465), password=Secret("A-New-One"))
    assert upstreams.draft(clean, "up", fresh).password == Secret("A-New-One")
    assert trial.change(clean, untested, "up", fresh).port == 465
    assert upstreams.load(clean, "up").password == Secret("A-New-One")


def test_the_sealing_keys_are_the_owners_alone(desk: Desk, trying: Trial) -> None:
    """Whatever the umask is, when they are made and when they are rotated."""
    before = os.umask(0)
    try:
        untested = msgspec.structs.replace(trying, test=False)
        trial.add(desk, untested, "up", fields(587))
        assert desk.key_file.stat().st_mode & 0o777 == 0o600
        assert secrets.rotate(desk).resealed == 1
        assert desk.key_file.stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(before)
    assert PASSWORD.encode() not in desk.key_file.read_bytes()


def test_rotations_at_once_lose_no_key(desk: Desk, trying: Trial) -> None:
    """Nor what was sealed with it: each adds one to the ring that the other left."""
    trial.add(desk, msgspec.structs.replace(trying, test=False), "up", fields(587))
    with ThreadPoolExecutor(8) as threads:
        done = list(threads.map(lambda _: secrets.rotate(desk), range(8)))
    assert max(each.keys for each in done) == 9
    clean = msgspec.structs.replace(desk, sealer=FileSealer(desk.key_file, desk.clock))
    assert upstreams.load(clean, "up").password == Secret(PASSWORD)
    assert {file.name for file in desk.key_file.parent.glob("*keys*")} == {desk.key_file.name}


def test_tests_have_a_bound_by_owner(desk: Desk, clock: MovedClock) -> None:
    for _ in range(pace.ACCOUNT_TESTS):
        pace.count(desk, 1)
        clock.ms += 10
    with pytest.raises(TooManyTests) as refused:
        pace.count(desk, 1)
    assert 55 <= refused.value.retry_after_s <= 60
    pace.count(desk, 2)
    pace.count(desk, None)
    clock.ms += 60_000
    pace.count(desk, 1)
    clock.ms -= 3_600_000  # set back: nobody is shut out
    pace.count(desk, 1)


def test_wrong_names(desk: Desk, trying: Trial) -> None:
    with pytest.raises(NotFound):
        trial.test(desk, trying, "none")
    with pytest.raises(NotFound):
        trial.trust(desk, trying, "none")
    with pytest.raises(NotFound):
        trial.add(desk, trying, "up", fields(587), for_account="nobody")
    with pytest.raises(UsageError):
        trial.add(desk, trying, "up", fields(587), account="acme", for_account="acme")


@pytest.mark.parametrize(
    "text",
    [
        "{0}", "535 {0}", "x{0}y", "{1}", "535 AGF {2} no", "{3}", "a {4} b",
    ],
)  # fmt: skip
@pytest.mark.parametrize("secret", ["Planted-Secret-79", "pässword ünd", "p.*[w", "abc"])
def test_secrets_are_masked_in_every_form(text: str, secret: str) -> None:
    from base64 import b64encode

    if len(secret) < 4 and "x{0}" in text:
        pytest.skip("a short one is masked only where it stands alone")
    upstream = make_upstream(1, username="me", password=Secret(secret))
    forms = (
        secret,
        secret.upper(),
        b64encode(f"\0me\0{secret}".encode()).decode(),
        b64encode(secret.encode()).decode(),
        b64encode(secret.encode()).decode().rstrip("="),
    )
    masked = masker(upstream)(text.format(*forms))
    assert "***" in masked
    for form in forms:
        assert form not in masked
