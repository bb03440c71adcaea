"""The log of refusals: search and export.

Knows nothing of how it is searched.
"""

from __future__ import annotations

from litestar.handlers import HTTPRouteHandler

from waypost.core.errors import UsageError
from waypost.desk.view import refused, terms
from waypost.desk.view.refused import RefusalPage
from waypost.desk.view.terms import RefusalTerms
from waypost.desk.views import RefusalView
from waypost.pages.frame.ask import Answer, Ask
from waypost.pages.frame.failing import sentence
from waypost.pages.frame.frame import Frame
from waypost.pages.screens import exports


def handlers(frame: Frame) -> list[HTTPRouteHandler]:
    """The routes."""
    return [
        frame.get("/logs/refusals", show),
        frame.get("/logs/refusals/export.csv", as_csv, slow=True),
        frame.get("/logs/refusals/export.ndjson", as_ndjson, slow=True),
    ]


def show(ask: Ask) -> Answer:
    text, error, said = ask.query.get("q", ""), None, RefusalTerms()
    found = RefusalPage(lines=(), next=None, searched_to=None)
    try:
        said = terms.read_refusals(text)
        found = refused.page(ask.desk, said, account=ask.account, cursor=ask.query.get("cursor"))
    except UsageError as wrong:
        error = sentence(wrong)
    template = "mail/refusal_lines.html" if ask.hx else "mail/refusals.html"
    return ask.page(
        template,
        400 if error and not ask.hx else 200,
        q=text,
        terms=said,
        names=terms.names(RefusalTerms),
        found=found,
        error=error,
        cursor=ask.query.get("cursor", ""),
    )


def as_csv(ask: Ask) -> Answer:
    said = terms.read_refusals(ask.query.get("q", ""))
    found = refused.export(ask.desk, said, account=ask.account)
    return exports.csv(RefusalView, found, "refusals")


def as_ndjson(ask: Ask) -> Answer:
    said = terms.read_refusals(ask.query.get("q", ""))
    return exports.ndjson(refused.export(ask.desk, said, account=ask.account), "refusals")
