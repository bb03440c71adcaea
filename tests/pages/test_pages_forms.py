"""Forms as they come in: slowly, cut, too large; and the small pure parts of the guard."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from litestar import Request

from waypost.config import Config
from waypost.core.errors import Secret, UsageError
from waypost.desk.office import Desk
from waypost.pages.frame import entry, guard
from waypost.pages.frame.ask import Ask, notice_of
from waypost.pages.frame.frame import SLOW_EACH, Frame
from waypost.pages.frame.templates import number, signed, size, when
from waypost.web import Failure

ROUTE = SimpleNamespace(resolve_request_max_body_size=lambda: 1000)
SCOPE = {"type": "http", "method": "POST", "path": "/", "headers": [], "route_handler": ROUTE}


def read(receive: Any) -> list[tuple[str, str]]:
    scope: Any = {**SCOPE}
    return asyncio.run(entry.fields_of(Request(scope, receive)))


def test_a_form_that_never_ends_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry, "FORM_S", 0.05)

    async def receive() -> dict[str, object]:
        await asyncio.sleep(3600)
        raise AssertionError

    with pytest.raises(Failure) as error:
        read(receive)
    assert error.value.status == 408


def test_a_form_that_is_cut_off() -> None:
    async def receive() -> dict[str, object]:
        return {"type": "http.disconnect"}

    with pytest.raises(Failure) as error:
        read(receive)
    assert error.value.status == 400


@pytest.mark.parametrize(
    ("site", "given", "good"),
    [
        ("same-origin", "right", True),
        ("none", "right", True),
        (None, "right", True),
        ("cross-site", "right", False),
        ("same-site", "right", False),
        ("same-origin", "wrong", False),
        ("same-origin", "", False),
        ("same-origin", "é\udcff", False),
    ],
)
def test_whose_form_it_is(site: str | None, given: str, good: bool) -> None:
    secret = Secret("a" * 43)
    given = guard.token_of(secret) if given == "right" else given
    headers = {} if site is None else {"sec-fetch-site": site}
    if good:
        guard.must_be_own(guard.token_of(secret), given, headers)
    else:
        with pytest.raises(Failure):
            guard.must_be_own(guard.token_of(secret), given, headers)
    with pytest.raises(Failure):
        guard.must_be_own("", given, headers)


def test_a_token_is_of_one_account() -> None:
    secret = Secret("a" * 43)
    tokens = {guard.token_of(secret, account) for account in (None, "", "acme", "other")}
    assert len(tokens) == 4


@pytest.mark.parametrize(
    "text", ["//a.test", "/\\a.test", "http://a.test", "/a\r\nSet-Cookie: b", "/é", "/€", "", "a"]
)
def test_what_is_no_path_of_ours(text: str) -> None:
    assert guard.local_path(text) == "/"
    assert guard.local_path("/logs?q=to%3Aann") == "/logs?q=to%3Aann"


@pytest.mark.parametrize("text", ["--5", "-", "5-", "٣", "1" * 16, "1e3"])
def test_what_is_no_whole_number(text: str) -> None:
    ask: Any = SimpleNamespace(form={"n": text})
    with pytest.raises(UsageError):
        Ask.whole(ask, "n")
    ask.form = {"n": "-1,000"}
    assert Ask.whole(ask, "n") == -1000


def test_no_account_takes_all_slow_threads(tmp_path: Path) -> None:
    async def story() -> None:
        frame = Frame(Config(tmp_path, True, None, "relay.test"), cast("Desk", None))
        end = threading.Event()
        waiting = [asyncio.ensure_future(frame.slowly("acme", end.wait)) for _ in range(SLOW_EACH)]
        try:
            await asyncio.sleep(0)
            with pytest.raises(Failure) as refused:
                await frame.slowly("acme", end.wait)
            assert refused.value.status == 503
            waiting[0].cancel()  # who asked goes away; the thread is taken all the same
            await asyncio.sleep(0)
            with pytest.raises(Failure):
                await frame.slowly("acme", end.wait)
            assert await frame.slowly("other", lambda: 7) == 7
        finally:
            end.set()
        assert await asyncio.gather(*waiting[1:]) == [True] * (SLOW_EACH - 1)
        assert await frame.slowly("acme", lambda: 8) == 8
        frame.close()

    asyncio.run(story())


@pytest.mark.parametrize("text", ["", "====", "é", "%%%", "a", "//8", "a" * 5000])
def test_a_notice_that_is_none(text: str) -> None:
    assert isinstance(notice_of(text), str)


@pytest.mark.parametrize("text", ["", "a", "a=b; c", '"', "a=b;" * 500, "\x00=\x01", "é=ü"])
def test_cookies_that_are_none(text: str) -> None:
    assert isinstance(guard.cookies_of(text), dict)


@pytest.mark.parametrize(
    "other", ['a={"b":1}', "a b=c", "a=b c", "é=1", "[a]=1", "a", '"', "a==", ""]
)
def test_cookies_of_others(other: str) -> None:
    for header in (f"{other}; waypost=x", f"waypost=x; {other}", f"{other};waypost=x;{other}"):
        assert guard.cookies_of(header)["waypost"] == "x"


def test_values_in_pages() -> None:
    assert (number(1234567), number(None), number(0)) == ("1,234,567", "–", "0")
    assert (signed(5000), signed(-1)) == ("+5,000", "-1")
    assert (size(900), size(2048), size(3 << 20)) == ("900 bytes", "2.0 KB", "3.0 MB")
    shown = str(when("2026-05-01T12:00:00.000Z"))
    assert shown == (
        '<time datetime="2026-05-01T12:00:00.000Z" title="2026-05-01 12:00 UTC">'
        "2026-05-01 12:00 UTC</time>"
    )
    assert str(when(None)) == "never" and str(when(None, "<b>")) == "&lt;b&gt;"
