"""The queue, by upstream: what waits and why; pause, resume, retry all.

Knows nothing of who delivers.
"""

from __future__ import annotations

from litestar.handlers import HTTPRouteHandler

from waypost.desk import queue, upstreams
from waypost.desk.view import waiting
from waypost.desk.views import QueueChange
from waypost.pages.frame.ask import Answer, Ask
from waypost.pages.frame.frame import Frame
from waypost.pages.screens.servers.owner import owner_of


def handlers(frame: Frame) -> list[HTTPRouteHandler]:
    """The routes."""
    about = ("upstream", "account")
    return [
        frame.get("/queue", show),
        frame.post("/queue/pause", pause, "pause upstream", subject=about),
        frame.post("/queue/resume", resume, "resume upstream", subject=about),
        frame.post("/queue/retry", retry, "retry queue", subject=about),
    ]


def show(ask: Ask) -> Answer:
    return ask.page("mail/queue.html", view=waiting.show(ask.desk, account=ask.account))


def pause(ask: Ask) -> Answer:
    owner = owner_of(ask)
    done = upstreams.pause(ask.about(owner), ask.form.get("upstream", ""), account=owner)
    return ask.see("/queue", f"{done.name} is paused: its mail waits.")


def resume(ask: Ask) -> Answer:
    owner = owner_of(ask)
    done = upstreams.resume(ask.about(owner), ask.form.get("upstream", ""), account=owner)
    return ask.see("/queue", f"{done.name} goes on.")


def retry(ask: Ask) -> Answer:
    name = ask.form.get("upstream")
    if name:
        owner = owner_of(ask)
        done = queue.retry_all(ask.about(owner), upstream=name, account=owner)
    else:
        done = queue.retry_all(ask.desk, account=ask.account)
    return ask.see("/queue", _told(done))


def _told(done: QueueChange) -> str:
    word = "message is" if done.messages == 1 else "messages are"
    wire = f", {done.on_wire} being sent" if done.on_wire else ""
    return f"{done.messages} {word} due now{wire}."
