"""One line a fact, on standard error: an event and its facts as key=value, or as JSON.

Promises that a line break or another control character in a value never makes a second line, and
that the value of a fact named like a secret is never shown. Logs from INFO on. Does not know what
happens in Waypost, and is never used by `core`, `policy`, `wire` or `upstream`.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, cast

import structlog

_SECRET = re.compile(r"password|passwd|secret|token|authorization|credential|(?:^|_)key$", re.I)
VALUE_CHARACTERS = 2048  # one line stays readable, whatever an upstream said


def setup(json: bool = False) -> None:
    """Called once, before the first line is written; `json` gives one JSON object a line."""
    last: Any = (
        structlog.processors.JSONRenderer()
        if json
        else structlog.processors.LogfmtRenderer(key_order=["at", "level", "event"])
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            _no_secrets,
            structlog.processors.format_exc_info,
            _one_line,
            last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )


def get(part: str) -> structlog.typing.FilteringBoundLogger:
    """The logger of one part, such as "intake": its name is a fact of every line."""
    return cast("structlog.typing.FilteringBoundLogger", structlog.get_logger(part=part))


def _no_secrets(
    _logger: Any, _method: str, facts: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    for name in facts:
        if name != "event" and _SECRET.search(name):
            facts[name] = "***"
    return facts


def _one_line(
    _logger: Any, _method: str, facts: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    for name, value in facts.items():
        if value is None or isinstance(value, bool | int | float):
            continue
        text = str(value)
        if len(text) > VALUE_CHARACTERS:
            text = text[: VALUE_CHARACTERS - 3] + "..."
        facts[name] = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", _escaped, text)
    return facts


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()
