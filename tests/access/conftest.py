"""A desk on a store of its own, and a clock that stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from access.people import StandingClock
from waypost.core.errors import Secret
from waypost.desk import accounts
from waypost.desk.access import passwords
from waypost.desk.office import Desk
from waypost.desk.secrets import FileSealer


@pytest.fixture(autouse=True)
def light(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes that cost little, but where their cost is what is tested (`real_hashes`)."""
    if "real_hashes" not in request.fixturenames:
        monkeypatch.setattr(passwords, "MEMORY_KIB", 64)
        monkeypatch.setattr(passwords, "NOBODY", passwords.hashed(Secret("of nobody")))


@pytest.fixture
def real_hashes() -> None:
    """Asks for hashes as they are."""


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture
def desk(tmp_path: Path, clock: StandingClock) -> Desk:
    """With the accounts `acme` and `other`."""
    key_file = tmp_path / "data" / "sealing.keys"
    made = Desk(
        data=tmp_path / "data",
        clock=clock,
        sealer=FileSealer(key_file, clock),
        key_file=key_file,
        create=True,
    )
    accounts.create(made, "acme", credits=100)
    accounts.create(made, "other", credits=100)
    return made
