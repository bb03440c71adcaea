"""One message: its story, its octets while they are kept, and what can be done with it.

Promises that the sender's HTML is shown in a frame of its own, sandboxed, without scripts and
without anything fetched from elsewhere. Knows nothing of how it was delivered.
"""

from __future__ import annotations

from collections.abc import Callable

from litestar.handlers import HTTPRouteHandler

from waypost.core.errors import UsageError
from waypost.desk import queue
from waypost.desk.send.again import Again, again
from waypost.desk.view import message as view
from waypost.pages.frame.ask import HTML, Answer, Ask
from waypost.pages.frame.frame import Frame

TEXT = "text/plain; charset=utf-8"
SANDBOX = {
    "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline';"
    " img-src data:; font-src data:; form-action 'none'; base-uri 'none'; frame-ancestors 'self'",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "no-referrer",
}
WHOLE_OCTETS = 64 << 20  # more than any message has
NO_HTML = "<p>This message has no HTML part.</p>"


def handlers(frame: Frame, door: Callable[[], Again | None]) -> list[HTTPRouteHandler]:
    """The routes. `door`: the way to send again, None while the relay starts."""
    return [
        frame.get("/logs/{ident:str}", show),
        frame.get("/logs/{ident:str}/source", source),
        frame.get("/logs/{ident:str}/source.eml", download),
        frame.get("/logs/{ident:str}/preview", preview),
        frame.post("/logs/{ident:str}/retry", retry, "retry message"),
        frame.post("/logs/{ident:str}/cancel", cancel, "cancel message"),
        frame.post(
            "/logs/{ident:str}/again",
            lambda ask: send_again(ask, door()),
            "send message again",
            slow=True,
        ),
    ]


def show(ask: Ask) -> Answer:
    text = ask.query.get("above", "0")
    if not (text.isascii() and text.isdecimal() and len(text) < 9):
        raise UsageError("the number of a recipient is a whole number", "above")
    ident = ask.path["ident"]
    found = view.show(ask.desk, ident, account=ask.account, above=int(text))
    shown = view.shown(ask.desk, ident, account=ask.account) if found.body_kept else None
    return ask.page("mail/message.html", view=found, shown=shown, above=int(text))


def source(ask: Ask) -> Answer:
    """The beginning of the octets, as text on a page."""
    found = _source(ask, view.SOURCE_OCTETS)
    text = found.data.decode("utf-8", "replace")
    return ask.page("mail/source.html", ident=ask.path["ident"], found=found, text=text)


def download(ask: Ask) -> Answer:
    """All octets, to be saved: never shown by the browser as anything."""
    found = _source(ask, WHOLE_OCTETS)
    name = f'attachment; filename="{ask.path["ident"]}.eml"'
    return Answer(
        found.data,
        media_type="application/octet-stream",
        headers={"Content-Disposition": name, **SANDBOX},
    )


def preview(ask: Ask) -> Answer:
    """The HTML part, for the frame on the message's page."""
    found = view.shown(ask.desk, ask.path["ident"], account=ask.account)
    body = (found.html if found.html is not None else NO_HTML).encode("utf-8", "replace")
    return Answer(body, media_type=HTML, headers=dict(SANDBOX))


def retry(ask: Ask) -> Answer:
    done = queue.retry(ask.desk, ask.path["ident"], account=ask.account)
    return ask.see(f"/logs/{done.id}", "It is due now, and tried at once.")


def cancel(ask: Ask) -> Answer:
    done = queue.cancel(ask.desk, ask.path["ident"], account=ask.account)
    return ask.see(f"/logs/{done.id}", "Cancelled; what was not sent is refunded.")


def send_again(ask: Ask, door: Again | None) -> Answer:
    """The same message anew, with a new id and charge."""
    new = again(ask.desk, door, ask.path["ident"], account=ask.account)
    return ask.see(f"/logs/{new}", "This is the new message; it was charged anew.")


def _source(ask: Ask, most: int) -> view.SourceView:
    return view.source(ask.desk, ask.path["ident"], account=ask.account, most=most)
