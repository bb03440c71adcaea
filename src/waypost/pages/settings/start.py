"""The first steps: an upstream, a sender, a key, a first message; each ticks itself.

Knows nothing of how each is done: it leads there.
"""

from __future__ import annotations

from zlib import crc32

import msgspec
from litestar.handlers import HTTPRouteHandler

from waypost.desk import keys, logs, senders, upstreams
from waypost.pages.frame.ask import Answer, Ask
from waypost.pages.frame.frame import Frame


class Step(msgspec.Struct, frozen=True):
    """`seen`: what ticked it."""

    title: str
    text: str
    href: str
    label: str
    seen: str


def handlers(frame: Frame) -> list[HTTPRouteHandler]:
    """The routes."""
    return [frame.get("/start", show)]


def show(ask: Ask) -> Answer:
    """The page, or for htmx its steps alone, if they are others than it has: what somebody is about
    to press stays where it is.
    """
    steps = _steps(ask)
    mark = f"{crc32(repr(steps).encode('utf-8', 'replace')):08x}"
    if ask.hx and ask.query.get("mark") == mark:
        return Answer(b"", 204)
    following = next((n for n, step in enumerate(steps) if not step.seen), len(steps))
    return ask.page(
        "settings/steps.html" if ask.hx else "settings/start.html",
        steps=steps,
        following=following,
        mark=mark,
    )


def _steps(ask: Ask) -> list[Step]:
    desk, account = ask.desk, ask.account
    usable = senders.list_(desk, account=account, limit=1)
    own = upstreams.list_(desk, account=account, limit=1)
    made = keys.list_(desk, account=account, limit=1)
    sent = logs.list_(desk, account=account, limit=1)
    server = own[0].name if own else usable[0].upstream if usable else ""
    first = ""
    if sent:
        first = f"{sent[0].subject or 'A message'}: {sent[0].status}"
    return [
        Step(
            "Connect an upstream",
            "The SMTP server that mail goes out through: Gmail, Microsoft 365, Amazon SES, your"
            " hosting, or any other. It is tested before it is saved.",
            "/integrations/new",
            "Connect an upstream",
            server,
        ),
        Step(
            "Have a sender",
            "An address that mail may be From. Connecting an upstream makes the first one.",
            "/senders",
            "See the senders",
            usable[0].address if usable else "",
        ),
        Step(
            "Make a key",
            "Your application logs in with it, over SMTP and over HTTPS.",
            "/keys",
            "Make a key",
            (made[0].name or f"…{made[0].last4}") if made else "",
        ),
        Step(
            "Send a first message",
            "With the lines that come with the key, from your application or a terminal.",
            "/keys",
            "See the lines to copy",
            first,
        ),
    ]
