"""The system's Chromium, driven by Playwright: it asks nobody but this machine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = "chromium"
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
Theme = Literal["light", "dark"]
BROAD, WIDE, PHONE, NARROW = 1600, 1280, 390, 360
PATIENCE_MS = 60_000  # for whatever is waited for, on a busy machine


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which(CHROMIUM), args=list(FLAGS)
        )
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def window(
    browser: Browser,
    port: int,
    cookies: dict[str, str] | None = None,
    *,
    theme: Theme = "light",
    width: int = WIDE,
    height: int = 800,
    javascript: bool = True,
) -> Iterator[Page]:
    """A page of a fresh profile at the relay's port. Fails if anything is asked of another place,
    or the browser complains (a script that was stopped, one that broke).
    """
    context = browser.new_context(
        base_url=f"http://127.0.0.1:{port}",
        viewport={"width": width, "height": height},
        color_scheme=theme,
        java_script_enabled=javascript,
    )
    here = f"http://127.0.0.1:{port}"
    for name, value in (cookies or {}).items():
        context.add_cookies([{"name": name, "value": value, "url": here}])
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    elsewhere: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda r: elsewhere.append(r.url) if not _local(r.url, here) else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console",
        lambda said: complaints.append(said.text) if "Content Security" in said.text else None,
    )
    try:
        yield page
        assert elsewhere == []
        assert complaints == []
    finally:
        context.close()


def _local(url: str, here: str) -> bool:
    return url.startswith((f"{here}/", "data:", "about:"))
