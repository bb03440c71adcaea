"""Every route of the dashboard, also those that come later: the guard cannot be forgotten.

Each route that changes something is refused without a session, without its token, with the token of
somebody else, with too small a role, and for what is another account's.
"""

from __future__ import annotations

import re
from pathlib import Path

import apsw
import pytest
from litestar.handlers import HTTPRouteHandler

from pages.town import Town
from waypost.clock import SystemClock
from waypost.config import load
from waypost.desk.access.roles import Role
from waypost.desk.office import Desk
from waypost.desk.secrets import FileSealer
from waypost.intake.http.routes import Ready
from waypost.pages import site
from waypost.pages.frame.frame import Frame, Route

DUMMY = {"int": "999999", "str": "0000000000000000"}
_PARAMETER = re.compile(r"\{(\w+):(\w+)\}")


def _site() -> tuple[list[Route], list[HTTPRouteHandler]]:
    clock = SystemClock()
    sealer = FileSealer(Path("/nowhere/keys"), clock)
    desk = Desk(data=Path("/nowhere"), clock=clock, sealer=sealer, key_file=Path("/nowhere/keys"))
    frame = Frame(load(None, Path("/nowhere")), desk)
    try:
        handlers = site.handlers(frame, Ready())
        return frame.routes, handlers
    finally:
        frame.close()


ROUTES, HANDLERS = _site()
CHANGING = [route for route in ROUTES if route.deed and not route.open]
READING = [route for route in ROUTES if not route.deed and not route.open]
SMALLER = {Role.DEVELOPER: "read-only", Role.OWNER: "developer", Role.OPERATOR: "owner"}


def path_of(route: Route) -> str:
    return _PARAMETER.sub(lambda found: DUMMY[found[2]], route.path)


def ids(routes: list[Route]) -> list[str]:
    return [f"{route.method} {route.path}" for route in routes]


def trail_of(town: Town) -> int:
    """How many lines the audit trail has."""
    db = apsw.Connection(str(town.relay.data / "waypost.db"), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return int(db.execute("SELECT count(*) FROM trail").get)
    finally:
        db.close()


def test_no_route_is_made_beside_the_frame() -> None:
    made = {(method, path) for h in HANDLERS for method in h.http_methods for path in h.paths}
    known = {(route.method, route.path) for route in ROUTES}
    static = {("GET", "/static/{digest:str}/{name:path}"), ("GET", "/favicon.ico")}
    assert {(str(method), path) for method, path in made} == known | static


def test_open_routes_are_those_of_the_login() -> None:
    assert {route.path for route in ROUTES if route.open} == {
        "/login",
        "/login/code",
        "/login/{kind:str}/{token:str}",
    }


@pytest.mark.parametrize("route", CHANGING, ids=ids(CHANGING))
def test_a_change_is_refused(town: Town, route: Route) -> None:
    path, before = path_of(route), trail_of(town)
    nobody = town.nobody().post(path, "0" * 64, x="1")
    assert nobody.status == 401, nobody.words
    role = "operator" if route.least is Role.OPERATOR else "owner"
    entitled = town.person(role)
    assert entitled.post(path, "", x="1").status == 403
    other = town.person("stranger").get("/settings").token
    assert entitled.post(path, other, x="1").status == 403
    own = entitled.get("/settings").token
    entitled.headers["Sec-Fetch-Site"] = "cross-site"
    assert entitled.post(path, own, x="1").status == 403
    if route.least in SMALLER:
        person = town.person(SMALLER[route.least])
        refused = person.post(path, person.get("/settings").token, x="1")
        assert refused.status == 403 and "needs the role" in refused.words
    assert trail_of(town) == before


@pytest.mark.parametrize("route", READING, ids=ids(READING))
def test_a_page_is_refused(town: Town, route: Route) -> None:
    path = path_of(route)
    nobody = town.nobody().get(path)
    assert nobody.status == 303 and nobody.location.startswith("/login"), nobody.words
    forged = town.nobody()
    forged.cookies["waypost"] = "a" * 43
    assert forged.get(path).location.startswith("/login")
    if route.least in SMALLER:
        assert town.person(SMALLER[route.least]).get(path).status == 403


@pytest.mark.parametrize("route", ROUTES, ids=ids(ROUTES))
def test_every_answer_has_the_headers(town: Town, route: Route) -> None:
    """With and without a session, pages and refusals alike."""
    for person in (town.nobody(), town.person("read-only")):
        if "stream" in route.path or route.path.endswith(("/live", "/events")):
            person = town.nobody()
        answer = person.ask(route.method, path_of(route), b"" if route.deed else None)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy and "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.status < 500
