"""Pictures of every screen, light and dark, wide and narrow: `scripts/screenshots [FOLDER]`.

Not a test: what is drawn is for people to look at.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import get_args

from browser.city import SCREENS, built
from browser.window import BROAD, NARROW, Theme, chromium, window

SIZES = {"wide": (BROAD, 1000), "narrow": (NARROW, 740)}


def draw(folder: Path, names: list[str]) -> None:
    """Writes `<screen>-<theme>-<size>.png` for each; no name: all."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place, built(Path(place)) as city, chromium() as browser:
        for theme in get_args(Theme):
            for size, (width, height) in SIZES.items():
                cookies = city.operator
                port = city.relay.http
                with window(
                    browser, port, cookies, theme=theme, width=width, height=height
                ) as page:
                    for name in names or list(SCREENS):
                        page.goto(city.path(name), wait_until="load")
                        if name == "integration":
                            page.click("text=Test the connection")
                            page.locator(".diagnosis").wait_for()
                        page.wait_for_timeout(300)  # charts and live lines are drawn by scripts
                        page.screenshot(path=folder / f"{name}-{theme}-{size}.png")
                        print(folder / f"{name}-{theme}-{size}.png")


if __name__ == "__main__":
    draw(Path(sys.argv[1] if len(sys.argv) > 1 else "screenshots"), sys.argv[2:])
