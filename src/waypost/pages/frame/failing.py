"""What goes wrong, as a page in plain words.

Knows nothing of what was asked for.
"""

from __future__ import annotations

from urllib.parse import quote

from waypost.core.errors import Forbidden, NotFound, StoreAway, UsageError, WaypostError, WrongState
from waypost.desk.access.login import TooManyLogins
from waypost.pages.frame.ask import Answer, Ask
from waypost.web import Failure

TITLES = {
    400: "That did not work",
    401: "Log in",
    403: "Not allowed",
    404: "Not found",
    409: "Not now",
    429: "Too often",
    503: "Not available",
}


def status_of(error: WaypostError) -> int:
    """The HTTP status of an error of a deed."""
    for kind, status in (
        (UsageError, 400),
        (Forbidden, 403),
        (NotFound, 404),
        (WrongState, 409),
        (TooManyLogins, 429),
        (StoreAway, 503),
    ):
        if isinstance(error, kind):
            return status
    return 400


def sentence(error: WaypostError) -> str:
    """The words of an error, begun as a sentence."""
    return error.public[:1].upper() + error.public[1:]


def page_of(ask: Ask, error: Failure | WaypostError) -> Answer:
    """The page of an error; who has no session is sent to the login."""
    if isinstance(error, Failure):
        status, text, headers = error.status, error.text, dict(error.headers)
    else:
        status, text, headers = status_of(error), sentence(error), {}
    if status == 401:
        place = "/login" if ask.url == "/" else f"/login?next={quote(ask.url, safe='/')}"
        if ask.hx:
            return Answer(b"", 401, headers={"HX-Redirect": "/login"})
        if not ask.changing:
            return Answer(b"", 303, headers={"Location": place})
    template = "frame/failed_part.html" if ask.hx else "frame/failed.html"
    answer = ask.page(
        template, status, title=TITLES.get(status, "That did not work"), text=text, code=status
    )
    answer.headers.update(headers)
    if ask.hx:
        answer.headers.update({"HX-Retarget": "#notices", "HX-Reswap": "innerHTML"})
    return answer
