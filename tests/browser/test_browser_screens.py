"""Every screen in a real browser: accessible in both themes, whole at 360 px, readable without
JavaScript, at home with the keyboard.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest
from playwright.sync_api import Browser, Page, expect

from browser.city import SCREENS, City
from browser.window import BROAD, NARROW, PHONE, WIDE, Theme, window
from peers.need import need
from peers.process import wait_until

pytestmark = pytest.mark.slow

WORST = ("serious", "critical")
JUDGE = "axe.run(document, {rules: {'target-size': {enabled: true}}})"  # WCAG 2.5.8, off by default
CUT = """() => [...document.querySelectorAll("main button, main a[role=button]")]
  .filter((one) => one.offsetWidth && one.getBoundingClientRect().right > innerWidth)
  .map((one) => one.textContent.trim())"""
"""What is pressed but cannot be seen without scrolling sideways."""
BUTTONLESS = """() => [...document.forms].filter((form) => form.role !== "search"
  && ![...form.elements].some((one) => one.matches("button") && !one.disabled && !one.hidden))
  .map((form) => form.action)"""
FOCUSED = """() => {
  const one = document.activeElement, look = getComputedStyle(one);
  const lined = look.outlineStyle !== "none" && parseFloat(look.outlineWidth) >= 1;
  return one === document.body || lined || look.boxShadow !== "none" ? "" : one.outerHTML;
}"""
TABS = 40


@pytest.fixture(scope="session")
def axe() -> str:
    """The judge, as a script."""
    (folder,) = need("axe-core")
    return (Path(folder) / "node_modules" / "axe-core" / "axe.min.js").read_text()


def load(page: Page, path: str) -> None:
    """Loads a page that is there."""
    answer = page.goto(path, wait_until="load")
    assert answer is not None and answer.status == 200, path


@pytest.mark.parametrize("width", [PHONE, WIDE])
@pytest.mark.parametrize("theme", get_args(Theme))
def test_axe_finds_nothing_serious(
    city: City, browser: Browser, axe: str, theme: Theme, width: int
) -> None:
    """Also nothing too small for a thumb."""
    found: list[str] = []
    with window(browser, city.relay.http, city.operator, theme=theme, width=width) as page:
        for name in SCREENS:
            load(page, city.path(name))
            page.evaluate(axe)
            told: dict[str, Any] = page.evaluate(JUDGE)
            found += [
                f"{name}: {rule['id']}: {node['html'][:200]} {node['failureSummary']}"
                for rule in told["violations"]
                if rule["impact"] in WORST
                for node in rule["nodes"]
            ]
    assert found == [], "\n".join(found)


def test_axe_is_not_blind(city: City, browser: Browser, axe: str) -> None:
    """The control: a form field without a name is found, and buttons too small and too near."""
    tiny = """() => { for (let count = 0; count < 9; count++) {
        const one = document.createElement("button");
        one.textContent = "x";
        Object.assign(one.style, {width: "12px", height: "12px", minHeight: 0, padding: 0});
        document.querySelector("main").append(one);
    } }"""
    with window(browser, city.relay.http, city.operator) as page:
        load(page, "/keys")
        page.evaluate("document.querySelector('main').append(document.createElement('select'))")
        page.evaluate(tiny)
        page.evaluate(axe)
        told: dict[str, Any] = page.evaluate(JUDGE)
        assert {"select-name", "target-size"} <= {rule["id"] for rule in told["violations"]}


@pytest.mark.parametrize("width", [NARROW, WIDE, BROAD])
def test_no_page_is_wider_than_the_window(city: City, browser: Browser, width: int) -> None:
    with window(browser, city.relay.http, city.operator, width=width) as page:
        wide, cut = [], []
        for name in SCREENS:
            load(page, city.path(name))
            if page.evaluate("document.documentElement.scrollWidth") > width:
                wide.append(name)
            cut += [f"{name}: {text}" for text in page.evaluate(CUT)]
        assert (wide, cut) == ([], [])


def test_what_scrolls_sideways_can_be_reached_by_the_keyboard(city: City, browser: Browser) -> None:
    """A table that is wider than its place, and only such a one, takes the focus."""
    with window(browser, city.relay.http, city.operator, width=700) as page:
        load(page, city.path("trail"))
        table = page.locator("main .table").first
        assert table.evaluate("box => box.scrollWidth > box.clientWidth")
        expect(table).to_have_attribute("tabindex", "0")
        page.set_viewport_size({"width": 1280, "height": 800})
        expect(table).not_to_have_attribute("tabindex", "0")


def test_readable_without_javascript(city: City, browser: Browser) -> None:
    with window(browser, city.relay.http, city.operator, javascript=False) as page:
        for name in SCREENS:
            load(page, city.path(name))
            assert page.locator("main h1").count() == 1, name
        load(page, city.path("keys"))
        assert " UTC" in page.locator("time").first.inner_text()


def test_every_deed_can_be_done_without_javascript(city: City, browser: Browser) -> None:
    """Each form has a button that can be pressed; a search alone is sent by Enter."""
    with window(browser, city.relay.http, city.operator, javascript=False) as page:
        for name in SCREENS:
            load(page, city.path(name))
            assert page.evaluate(BUTTONLESS) == [], name
        load(page, "/logs?q=status:sent")
        page.locator("input[name=id]").first.check()
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator("main")).to_contain_text("0 cancelled")
        page.locator(".chooser select").select_option("northwind")
        page.locator(".chooser button").click()
        expect(page.locator(".chooser select")).to_have_value("northwind")
        page.locator(".chooser select").select_option("")
        page.locator(".chooser button").click()


def test_what_has_the_focus_is_seen(city: City, browser: Browser) -> None:
    """Whatever Tab comes to has a line or a shadow around it."""
    with window(browser, city.relay.http, city.operator) as page:
        for name in SCREENS:
            load(page, city.path(name))
            for _ in range(TABS):
                page.keyboard.press("Tab")
                assert page.evaluate(FOCUSED) == "", name


def test_times_are_relative_and_absolute_on_hover(city: City, browser: Browser) -> None:
    with window(browser, city.relay.http, city.operator) as page:
        load(page, city.path("keys"))
        time = page.locator("time").first
        assert "UTC" not in time.inner_text()
        year = (time.get_attribute("datetime") or "")[:4]
        expect(time).to_have_attribute("title", re.compile(rf"^[^-]*{year}[^-]*$"))  # a person's


def test_a_message_that_is_watched_stays_while_the_relay_is_away(
    city: City, browser: Browser
) -> None:
    with window(browser, city.relay.http, city.operator) as page:
        page.add_init_script(
            "window.asked = 0; window.fetch = async () => {"
            " window.asked += 1; return new Response('Bad gateway', { status: 502 }); };"
        )
        page.goto(f"/logs/{city.idents['queued']}")
        # After a load it would be none again.
        wait_until(lambda: page.evaluate("window.asked") > 1, "a second look", 60)


def test_the_keyboard(city: City, browser: Browser) -> None:
    with window(browser, city.relay.http, city.operator) as page:
        load(page, city.path("keys"))
        page.keyboard.press("j")
        page.keyboard.press("j")
        assert page.locator("tr.at").count() == 1
        assert page.locator("[data-row]").nth(1).evaluate("row => row.classList.contains('at')")
        page.keyboard.press("k")
        assert page.locator("[data-row]").nth(0).evaluate("row => row.classList.contains('at')")
        page.keyboard.press("/")
        page.keyboard.type("mia.berg@posteo.test")
        page.keyboard.press("Enter")
        page.wait_for_url("**/logs?*")
        assert page.locator("text=Your order 10482 is on its way").count() >= 1


def test_the_theme_is_kept(city: City, browser: Browser) -> None:
    with window(browser, city.relay.http, city.operator) as page:
        load(page, city.path("keys"))
        light = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        page.click("[data-theme-toggle]")
        dark = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        load(page, city.path("credits"))
        assert (
            dark
            == page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
            != light
        )
