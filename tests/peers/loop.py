"""A loop that counts the errands of its threads, for those that let time pass at once."""

from __future__ import annotations

import asyncio
from typing import Any


class ErrandLoop(asyncio.SelectorEventLoop):
    """`_errands`: how many threads work for it now."""

    def __init__(self) -> None:
        self._errands = 0
        super().__init__()

    def run_in_executor(  # type: ignore[override]  # the stub's type variables add nothing here
        self, executor: Any, func: Any, *args: Any
    ) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = super().run_in_executor(executor, func, *args)
        self._errands += 1
        future.add_done_callback(self._errand_done)
        return future

    def _errand_done(self, _: object) -> None:
        self._errands -= 1
