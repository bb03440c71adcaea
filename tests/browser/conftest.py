"""One browser and one furnished relay for all tests in a browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from browser.city import City, built
from browser.window import PATIENCE_MS, chromium
from peers.need import need


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Ends with its module: while Playwright's loop stands, no test could run a loop of its own."""
    need("chromium")
    expect.set_options(timeout=PATIENCE_MS)
    with chromium() as made:
        yield made


@pytest.fixture(scope="session")
def city(tmp_path_factory: pytest.TempPathFactory) -> Iterator[City]:
    with built(tmp_path_factory.mktemp("city")) as made:
        yield made
