"""`[dns]`: whom to ask."""

from __future__ import annotations

from pathlib import Path

import pytest

from waypost import config
from waypost.core.errors import ConfigError
from waypost.values import Endpoint


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("9.9.9.9", Endpoint("9.9.9.9", 53)),
        ("127.0.0.1:5353", Endpoint("127.0.0.1", 5353)),
        ("[::1]:53", Endpoint("::1", 53)),
        ("2620:fe::fe", Endpoint("2620:fe::fe", 53)),
        ("[2620:fe::fe]", Endpoint("2620:fe::fe", 53)),
    ],
)
def test_a_name_server(text: str, endpoint: Endpoint, tmp_path: Path) -> None:
    made = config.load(environ={"WAYPOST_DNS__SERVERS": text}, cwd=tmp_path)
    assert made.dns.servers == (endpoint,)


@pytest.mark.parametrize("text", ["dns.example.com", "dns.example.com:53", "127.0.0.1:", "*:53"])
def test_a_name_server_is_an_address(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="address of a name server"):
        config.load(environ={"WAYPOST_DNS__SERVERS": text}, cwd=tmp_path)


@pytest.mark.parametrize(("text", "on"), [("false", False), ("1", True), ("TRUE", True)])
def test_the_watch(text: str, on: bool, tmp_path: Path) -> None:
    assert config.load(environ={"WAYPOST_DNS__WATCH": text}, cwd=tmp_path).dns.watch is on


def test_the_watch_is_true_or_false(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected true or false"):
        config.load(environ={"WAYPOST_DNS__WATCH": "daily"}, cwd=tmp_path)


@pytest.mark.parametrize(("text", "ms"), [("1s", 1_000), ("12h", 43_200_000)])
def test_how_often_is_watched(text: str, ms: int, tmp_path: Path) -> None:
    made = config.load(environ={"WAYPOST_DNS__WATCH_EVERY": text}, cwd=tmp_path)
    assert made.dns.watch_every_ms == ms
    assert config.load(environ={}, cwd=tmp_path).dns.watch_every_ms == 86_400_000
    with pytest.raises(ConfigError, match="of at least 1000 ms"):
        config.load(environ={"WAYPOST_DNS__WATCH_EVERY": "0"}, cwd=tmp_path)
