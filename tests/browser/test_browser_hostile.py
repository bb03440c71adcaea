"""Hostile strings in every place of these screens that shows what somebody typed: names of keys,
accounts and members, notes, browsers, the audit trail. No script runs, no layout breaks.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from browser.window import NARROW, WIDE, window
from pages.town import PASSWORD, first_run
from peers.hostile import ALL, names
from peers.person import Person
from peers.relay import Relay
from waypost.clock import SystemClock
from waypost.core.errors import UsageError
from waypost.desk import accounts, keys
from waypost.desk.office import Desk, Hand
from waypost.desk.secrets import FileSealer

pytestmark = pytest.mark.slow

SHOWN = 100  # the newest of each list


@pytest.fixture(scope="module")
def hall(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Relay, dict[str, str]]]:
    """A relay whose store is full of them, and the operator's cookies."""
    relay = Relay(tmp_path_factory.mktemp("hall"))
    relay.start()
    cookies = first_run(relay)
    clock, key_file = SystemClock(), relay.data / "sealing.keys"
    desk = Desk(data=relay.data, clock=clock, sealer=FileSealer(key_file, clock), key_file=key_file)
    for text in reversed(names()):  # so that scripts are the newest
        keys.create(desk, "main", name=text)
        accounts.create(desk, text, credits=None)
    for text in reversed(ALL):
        try:
            accounts.add_credits(desk, "main", 1, text)
        except UsageError:  # what cannot be printed is no note
            assert not text.isprintable()
        told = text.encode("utf-8", "replace").decode()
        with desk.by(Hand(actor=told, deed=told, subject=told, peer=told)).noting():
            pass
    yield relay, cookies
    relay.stop()


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize(
    ("path", "row"),
    [
        ("/keys", "td:nth-child(1)"),
        ("/operator", "td:nth-child(1)"),
        ("/credits", "td:nth-child(1)"),
        ("/credits?account=main", "td:nth-child(5)"),
        ("/settings/trail", "td:nth-child(2)"),
        ("/settings/members", "td:nth-child(1)"),
    ],
)
def test_a_list_of_them(
    hall: tuple[Relay, dict[str, str]], browser: Browser, path: str, row: str, width: int
) -> None:
    relay, cookies = hall
    with window(browser, relay.http, cookies, width=width) as page:
        page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
        page.goto(path, wait_until="load")
        cells = page.locator(f"main tbody tr > {row}").all_text_contents()
        shown = {text.strip() for text in cells}
        if path != "/settings/members":
            assert set(names()[:40]) <= shown, set(names()[:40]) - shown
        assert (
            page.locator("main form[action^='//'], main script, main style, main base").count() == 0
        )
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator("nav.side a").count() >= 5  # nothing closed the page early
        page.wait_for_timeout(100)


def test_each_account_has_its_page(hall: tuple[Relay, dict[str, str]]) -> None:
    relay, cookies = hall
    person = Person(relay.http, cookies=cookies)
    listed = person.get("/operator").text
    paths = [part.partition('"')[0] for part in listed.split('href="/operator/account')[1:]]
    assert len(paths) == SHOWN
    for path in paths:
        assert person.get("/operator/account" + path.replace("&amp;", "&")).status == 200, path


def test_a_browser_and_a_member_with_such_a_name(
    hall: tuple[Relay, dict[str, str]], browser: Browser
) -> None:
    relay, _ = hall
    text = '"><img src=x onerror=alert(1)>'
    person = Person(relay.http, headers={"User-Agent": text})
    person.log_in("ops@example.com", PASSWORD)
    person.submit("/settings", "/settings/name", name=text)
    with window(browser, relay.http, person.cookies) as page:
        for path in ("/settings", "/settings/members", "/logs", "/overview"):
            page.goto(path, wait_until="load")
            assert page.locator("img[src=x]").count() == 0
        page.goto("/settings")
        assert text in page.locator("main").inner_text()
        assert page.locator("[name=name]").input_value() == text


def test_the_window_is_not_blind(hall: tuple[Relay, dict[str, str]], browser: Browser) -> None:
    """The control: markup that got into a page is seen by the policy's complaint."""
    relay, cookies = hall
    with pytest.raises(AssertionError), window(browser, relay.http, cookies) as page:
        page.goto("/keys")
        with page.expect_console_message(lambda said: "Content Security" in said.text):
            page.evaluate("document.body.innerHTML = '<img src=/x onerror=alert(1)>'")
