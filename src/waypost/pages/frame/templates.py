"""The templates: everything that is put into one is escaped, and what is missing is an error.

Promises that no template turns escaping off. Knows nothing of what they show.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from waypost.pages.frame.assets import Assets

NEVER = "never"
_TIME = Markup('<time datetime="{at}" title="{shown} UTC">{shown} UTC</time>')


def environment(assets: Assets) -> Environment:
    """Where pages are made from."""
    made = Environment(
        loader=PackageLoader("waypost.pages", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters["when"] = when
    made.filters["number"] = number
    made.filters["signed"] = signed
    made.filters["size"] = size
    made.globals["asset"] = assets.path
    return made


def when(iso: str | None, never: str = NEVER) -> Markup:
    """A time of a view as an element: UTC as text, which a script makes relative to now."""
    if not iso:
        return Markup("{}").format(never)
    read = datetime.fromisoformat(iso).astimezone(UTC)
    return _TIME.format(at=iso, shown=f"{read:%Y-%m-%d %H:%M}")


def number(value: Any) -> str:
    """A whole number with its thousands apart; None is a dash."""
    return "–" if value is None else f"{value:,}"


def signed(value: int) -> str:
    """A change: with its sign, thousands apart."""
    return f"{value:+,}"


def size(octets: int) -> str:
    """Octets as people say them."""
    for unit, least in (("MB", 1 << 20), ("KB", 1 << 10)):
        if octets >= least:
            return f"{octets / least:.1f} {unit}"
    return f"{octets} bytes"
