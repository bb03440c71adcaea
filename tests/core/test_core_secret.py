"""A secret in a structure shows itself in none of the ways that structures are dumped."""

from __future__ import annotations

import copy
import json
import pickle
import pprint
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from peers.settings import make_upstream
from waypost.config import Alerts, Config
from waypost.core.errors import Secret

TEXT = "Planted-Secret-91"
UPSTREAM = make_upstream(password=Secret(TEXT))
CONFIG = Config(
    Path("d"),
    True,
    None,
    "relay.test",
    alerts=Alerts(url="https://a.example/", secret=Secret(TEXT)),
)


def with_locals(thing: Any) -> str:
    try:
        raise RuntimeError(f"{thing!r}")
    except RuntimeError as error:
        told = traceback.TracebackException.from_exception(error, capture_locals=True)
        return "".join(told.format())


WAYS: dict[str, Callable[[Any], object]] = {
    "repr": repr,
    "str": str,
    "format": lambda thing: f"{thing}",
    "pretty": pprint.pformat,
    "json": lambda thing: json.dumps(msgspec.structs.asdict(thing), default=str),
    "msgspec": lambda thing: msgspec.json.encode(thing, enc_hook=str),
    "builtins": lambda thing: msgspec.to_builtins(thing, enc_hook=str),
    "traceback with locals": with_locals,
}


@pytest.mark.parametrize("thing", [UPSTREAM, CONFIG], ids=["upstream", "config"])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_dump_shows_no_secret(way: Callable[[Any], object], thing: object) -> None:
    shown = str(way(thing))
    assert TEXT not in shown
    assert "***" in shown


@pytest.mark.parametrize("way", [pickle.dumps, copy.copy, copy.deepcopy, msgspec.json.encode])
def test_a_secret_is_not_written_down(way: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError):
        way(Secret(TEXT))
