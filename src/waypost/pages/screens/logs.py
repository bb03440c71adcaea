"""The log: search, live lines, export, and what is done to many messages at once.

Knows nothing of how it is searched.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from functools import partial

from litestar.handlers import HTTPRouteHandler

from waypost.core.errors import NotFound, UsageError, WaypostError, WrongState
from waypost.core.lifecycle import Status
from waypost.desk import queue
from waypost.desk.view import search, terms
from waypost.desk.view.search import LogLine
from waypost.desk.view.terms import Terms
from waypost.desk.views import MessageView
from waypost.pages.frame.ask import Answer, Ask
from waypost.pages.frame.failing import sentence
from waypost.pages.frame.frame import Frame
from waypost.pages.frame.guard import local_path
from waypost.pages.screens import exports

LIVE_S = 1.0  # between looks for new messages, while a page is open
BEAT_LOOKS = 15  # looks without news after which something is sent all the same
WATCHED_MOST = 20  # lines of a live page that are looked at until they end
BULK_MOST = 200


def handlers(frame: Frame) -> list[HTTPRouteHandler]:
    """The routes."""
    return [
        frame.get("/logs", show),
        frame.get("/logs/export.csv", as_csv, slow=True),
        frame.get("/logs/export.ndjson", as_ndjson, slow=True),
        frame.post("/logs/retry", retry, "retry messages"),
        frame.post("/logs/cancel", cancel, "cancel messages"),
        frame.stream("/logs/live", lambda ask: live(frame, ask)),
    ]


def show(ask: Ask) -> Answer:
    text = ask.query.get("q", "")
    error, found, said = None, search.LogPage(lines=(), next=None, searched_to=None), Terms()
    newest = ""
    try:
        said = terms.read(text)
        found = search.page(ask.desk, said, account=ask.account, cursor=ask.query.get("cursor"))
        if not ask.query.get("cursor"):
            newest = search.newest(ask.desk, account=ask.account)
    except UsageError as wrong:
        error = sentence(wrong)
    template = "mail/log_lines.html" if ask.hx else "mail/logs.html"
    return ask.page(
        template,
        400 if error and not ask.hx else 200,
        q=text,
        terms=said,
        found=found,
        newest=newest,
        error=error,
        statuses=[status.value for status in Status],
        cursor=ask.query.get("cursor", ""),
    )


def retry(ask: Ask) -> Answer:
    return _many(ask, queue.retry, "due now")


def cancel(ask: Ask) -> Answer:
    return _many(ask, queue.cancel, "cancelled and refunded")


def _many(ask: Ask, deed: Callable[..., MessageView], word: str) -> Answer:
    """Does it to each chosen message; what has ended or is on the wire is left alone."""
    chosen = list(dict.fromkeys(ask.many("id")))
    if not chosen:
        raise UsageError("choose the messages that it is for", "id")
    if len(chosen) > BULK_MOST:
        raise UsageError(f"at most {BULK_MOST} messages at once", "id")
    done = left = 0
    for message in chosen:
        try:
            deed(ask.desk, message, account=ask.account)
            done += 1
        except WrongState:
            left += 1
    if not done and not left:
        raise NotFound("there is no message of that id")
    text = f"{done} {word}" + (f", {left} left alone (ended, or being sent)" if left else "")
    back = ask.form.get("back", "")
    return ask.see(local_path(back) if back.startswith("/logs?") else "/logs", text + ".")


def as_csv(ask: Ask) -> Answer:
    said = terms.read(ask.query.get("q", ""))
    return exports.csv(LogLine, search.export(ask.desk, said, account=ask.account), "log")


def as_ndjson(ask: Ask) -> Answer:
    said = terms.read(ask.query.get("q", ""))
    return exports.ndjson(search.export(ask.desk, said, account=ask.account), "log")


async def live(frame: Frame, ask: Ask) -> AsyncIterator[bytes]:
    """Server-sent events: rows for the top of the list, the oldest of them first."""
    try:
        said, last = await frame.aside(partial(_began, ask))
        quiet, open_ = 0, dict[str, str]()
        yield b": the log\n\n"
        while True:
            await asyncio.sleep(LIVE_S)
            lines, last = await frame.aside(partial(_news, ask, said, last))
            if open_:
                lines = await frame.aside(partial(_moved, ask, open_)) + lines
            for line in lines:
                open_.pop(line.id, None)
                if line.queued and len(open_) < WATCHED_MOST:
                    open_[line.id] = line.status
            if lines:
                quiet = 0
                drawn = frame.draw(ask, "mail/live.html", {"lines": list(reversed(lines))})
                yield event("lines", drawn.decode(), last)
            elif (quiet := quiet + 1) % BEAT_LOOKS == 0:
                yield b": still here\n\n"
    except WaypostError:
        return  # a search that cannot be read, or the store away: the page asks again


def _began(ask: Ask) -> tuple[Terms, str]:
    said = terms.read(ask.query.get("q", ""))
    return said, ask.query.get("after") or search.newest(ask.desk, account=ask.account)


def _news(ask: Ask, said: Terms, last: str) -> tuple[list[LogLine], str]:
    lines = search.newer(ask.desk, last, account=ask.account)
    if not lines:
        return [], last
    return search.fits(ask.desk, said, account=ask.account, lines=lines), lines[-1].id


def _moved(ask: Ask, watched: dict[str, str]) -> list[LogLine]:
    """Those of the lines shown as queued that have ended since."""
    found = search.again(ask.desk, list(watched), account=ask.account)
    return [line for line in found if not line.queued]


def event(name: str, text: str, ident: str) -> bytes:
    """One server-sent event; a line of it cannot end it or begin another."""
    return "".join(_event(name, text.splitlines(), ident)).encode("utf-8", "replace")


def _event(name: str, lines: Iterable[str], ident: str) -> Iterator[str]:
    yield f"event: {name}\nid: {ident}\n"
    for line in lines:
        yield f"data: {line}\n"
    yield "\n"
