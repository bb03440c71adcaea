"""Looking up keeps neither the loop's own threads nor other accounts waiting."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from peers.process import wait_until
from waypost.desk import logs
from waypost.pages.api import reading

PATIENCE_S = 60.0  # of a machine that has much to do


class Gate:
    """Knows callers by the name that they come with."""

    async def caller(self, scope: dict[str, Any]) -> Any:
        return SimpleNamespace(account=scope["who"], account_id=len(scope["who"]))

    def limits(self, caller: Any) -> dict[str, str]:
        return {}


def test_long_searches_of_one_account_hold_up_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    begun: list[str] = []

    def search(desk: Any, *, account: str, **_: Any) -> list[Any]:
        begun.append(account)
        assert account != "greedy" or go_on.wait(PATIENCE_S)
        return []

    monkeypatch.setattr(logs, "list_", search)

    async def play() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        ready: Any = SimpleNamespace(now=SimpleNamespace(gate=Gate()))
        desk: Any = None
        routes = reading.handlers(ready, desk)
        (listed,) = [route for route in routes if route.paths == {"/api/v1/email/messages"}]

        def ask(who: str) -> asyncio.Future[Any]:
            request = SimpleNamespace(scope={"who": who, "query_string": b""})
            return asyncio.ensure_future(listed.fn(request))

        greedy = [ask("greedy") for _ in range(3 * reading.READS)]
        await ask("other")
        many = reading.READS_EACH
        # In a thread of the loop's: there is one.
        enough = asyncio.to_thread(wait_until, lambda: len(begun) > many, "the searches")
        async with asyncio.timeout(PATIENCE_S):
            await enough
        assert sorted(begun) == ["greedy"] * many + ["other"]
        go_on.set()
        await asyncio.gather(*greedy)

    try:
        asyncio.run(play())
    finally:
        go_on.set()
