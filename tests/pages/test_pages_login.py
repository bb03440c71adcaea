"""The way in over HTTP: cookies, tokens, links, redirects, how it is told."""

from __future__ import annotations

import contextlib
import re
import socket
from html.parser import HTMLParser
from urllib.parse import urlencode

import pytest

from pages.town import OPERATOR, PASSWORD, PEOPLE, Town
from peers.person import PATIENCE_S, Person
from waypost.pages.frame.frame import STREAMS_EACH


def cookie_line(lines: list[str], name: str) -> str:
    """The line that sets that cookie to something."""
    found = [line for line in lines if line.startswith(f"{name}=") and "Max-Age=0" not in line]
    assert len(found) == 1, lines
    return found[0]


def test_a_login_and_a_logout(town: Town) -> None:
    person = town.nobody()
    person.cookies["theme"] = '{"dark": true}'  # of another program here: cookies know no ports
    entered = person.log_in(OPERATOR, PASSWORD)
    assert (entered.status, entered.location) == (303, "/")
    line = cookie_line(entered.set_cookies, "waypost")
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(line.split("; "))
    assert person.get("/settings").status == 200
    session = dict(person.cookies)
    left = person.submit("/settings", "/logout")
    assert left.location == "/login"
    assert Person(town.relay.http, cookies=session).get("/settings").location.startswith("/login")


def test_over_https_the_cookie_is_bound_to_the_host(town: Town) -> None:
    """A proxy that is trusted says that it was https."""
    person = Person(town.relay.http, headers={"X-Forwarded-Proto": "https"})
    entered = person.log_in(PEOPLE["owner"], PASSWORD)
    line = cookie_line(entered.set_cookies, "__Host-waypost")
    assert "Secure" in line.split("; ") and "Domain" not in line
    assert person.get("/settings").status == 200
    plain = Person(town.relay.http, cookies=person.cookies)
    assert plain.get("/settings").status == 303  # over http that cookie is nothing


@pytest.mark.parametrize("path", ["/login", "/nowhere", "/docs", "/api/v1/account", "/settings"])
def test_over_https_it_is_to_be_https_from_then_on(town: Town, path: str) -> None:
    told = Person(town.relay.http, headers={"X-Forwarded-Proto": "https"}).get(path)
    assert told.headers["strict-transport-security"] == "max-age=31536000"
    assert "strict-transport-security" not in town.nobody().get(path).headers


def test_the_session_is_a_new_one_at_each_login(town: Town) -> None:
    """What somebody else put into the browser before does not become the session."""
    person = town.nobody()
    person.cookies["waypost"] = "f" * 43
    person.log_in(OPERATOR, PASSWORD)
    assert person.cookies["waypost"] != "f" * 43
    first = person.cookies["waypost"]
    person.log_in(OPERATOR, PASSWORD)
    assert person.cookies["waypost"] != first


def test_a_login_needs_the_token_of_its_visit(town: Town) -> None:
    token = town.nobody().get("/login").token
    for given in ("", "0" * 64, token):
        forged = town.nobody().post("/login", given, email=OPERATOR, password=PASSWORD)
        assert forged.status == 403 and "waypost" not in "".join(forged.set_cookies)


def test_wrong_and_unknown_are_told_alike(town: Town) -> None:
    pages = []
    for email in (PEOPLE["developer"], "nobody@acme.test"):
        refused = town.nobody().log_in(email, "not the password")
        assert refused.status == 400
        text = re.sub(r'[0-9a-f]{64}|value="[^"]*@[^"]*"', "", refused.text)
        pages.append(text)
    assert pages[0] == pages[1]


@pytest.mark.parametrize(
    "place",
    [
        *(
            "https://evil.test/",
            "//evil.test",
            "/\\evil.test",
            "\\\\evil.test",
            "javascript:alert(1)",
        ),
        *("/\t/evil.test", "/x\r\nSet-Cookie: a=b", "evil.test", ""),
    ],
)
def test_nobody_is_led_to_another_site(town: Town, place: str) -> None:
    person = town.nobody()
    entered = person.submit("/login", email=PEOPLE["read-only"], password=PASSWORD, next=place)
    assert (entered.status, entered.location) == (303, "/")


def test_one_is_led_on_to_where_one_wanted(town: Town) -> None:
    person = town.nobody()
    sent = person.get("/keys?a=b&c=%2F")
    assert sent.location == "/login?next=/keys%3Fa%3Db%26c%3D%252F"
    shown = person.get(sent.location)
    assert 'name="next" value="/keys?a=b&amp;c=%2F"' in shown.text
    entered = person.post(
        "/login",
        shown.token,
        email=PEOPLE["read-only"],
        password=PASSWORD,
        next="/keys?a=b&c=%2F",
    )
    assert entered.location == "/keys?a=b&c=%2F"


def test_a_link_is_used_by_its_button_alone(town: Town) -> None:
    """A mail scanner that looks at every link leaves it good."""
    link = town.relay.cli("login-link", PEOPLE["owner"])
    for _ in range(3):
        assert town.nobody().get(link["path"]).status == 200
    person = town.nobody()
    entered = person.submit(link["path"])
    assert entered.location == "/settings#password"
    assert "set a new password" in person.get("/settings").words
    again = town.nobody().get(link["path"])
    assert again.status == 404 and "has been used" in again.words


@pytest.mark.parametrize("kind", ["login", "first", "invite", "other"])
def test_a_link_that_is_none(town: Town, kind: str) -> None:
    person = town.nobody()
    token = person.get("/login").token
    for path in (f"/login/{kind}/{'a' * 43}", f"/login/{kind}/%00%ff"):
        assert person.get(path).status == 404
        sent = person.post(path, token, email="evil@x.test", password="a long enough password")
        assert sent.status == 404


def test_the_console_shows_no_link_when_there_is_an_operator(town: Town) -> None:
    assert town.relay.log.read_text().count("first login") == 1
    link = next(
        line.split()[-1]
        for line in town.relay.log.read_text().splitlines()
        if line.startswith("first login")
    )
    assert town.nobody().get("/login/" + link.rpartition("/login/")[2]).status == 404


def test_a_form_that_is_none(town: Town) -> None:
    person = town.person("owner")
    kinds = {"Content-Type": "application/json"}
    assert person.ask("POST", "/keys", b"{}", kinds).status == 415
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert person.ask("POST", "/keys", b"a=\xff%ff", form).status in (400, 403)
    assert person.ask("POST", "/keys", b"&".join([b"a=b"] * 3000), form).status == 400
    assert person.ask("POST", "/keys", b"a=" + b"b" * (2 << 20), form).status == 413


def test_an_address_where_there_is_nothing(town: Town) -> None:
    page = town.nobody().get("/nothing/here")
    assert page.status == 404 and "nothing at this address" in page.words
    assert "content-security-policy" in page.headers
    program = town.nobody().ask("GET", "/nothing/here", headers={"Accept": "*/*"})
    assert program.headers["content-type"] == "application/json"


def test_static_files(town: Town) -> None:
    page = town.nobody().get("/login").text
    for path in re.findall(r'(?:src|href)="(/static/[^"]+)"', page):
        answer = town.nobody().get(path)
        assert answer.status == 200 and "immutable" in answer.headers["cache-control"]
        etag = {"If-None-Match": answer.headers["etag"]}
        assert town.nobody().ask("GET", path, headers=etag).status == 304
    for path in ("/static/x/../../frame/guard.py", "/static/x/%2e%2e/site.py", "/static/x/"):
        assert town.nobody().get(path).status == 404


class Tags(HTMLParser):
    """The tags of a page with what they have. What is text may look like a tag: it came by mail."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_pages_ask_nothing_of_other_places(town: Town) -> None:
    for path in ("/settings", "/keys", "/operator"):
        tags = Tags()
        tags.feed(town.person("operator").get(path).text)
        assert {"html", "form", "script"} <= {tag for tag, _ in tags.found}
        for tag, having in tags.found:
            assert tag != "style" and (tag != "script" or "src" in having)
            assert not any(name == "style" or name.startswith("on") for name in having)
            for name in {"src", "action", "srcset"} & having.keys():
                assert not (having[name] or "").startswith(("//", "http:", "https:"))


@pytest.mark.parametrize(("path", "status"), [("/keys", 401), ("/login", 413)])
def test_a_stranger_sends_no_large_form(town: Town, path: str, status: int) -> None:
    """Nothing of it is waited for: the form of a route behind the login is not read at all."""
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n"
    head += "Content-Type: application/x-www-form-urlencoded\r\n\r\n"
    with socket.create_connection(("127.0.0.1", town.relay.http), PATIENCE_S) as peer:
        peer.sendall(head.encode() + b"a=" + b"b" * 20_000)
        assert peer.recv(4096).startswith(b"HTTP/1.1 %d " % status)


def test_no_member_takes_all_live_pages(town: Town) -> None:
    def opened(role: str) -> socket.socket:
        there = ("127.0.0.1", town.relay.http)
        peer = stack.enter_context(socket.create_connection(there, PATIENCE_S))
        jar = "; ".join(f"{name}={value}" for name, value in town.cookies[role].items())
        peer.sendall(f"GET /logs/live HTTP/1.1\r\nHost: a\r\nCookie: {jar}\r\n\r\n".encode())
        return peer

    def heard(peer: socket.socket) -> bytes:
        octets = b""
        while b": the log" not in octets and b"</html>" not in octets:
            more = peer.recv(4096)
            assert more, octets
            octets += more
        return octets[:12]

    with contextlib.ExitStack() as stack:
        open_ = [opened("read-only") for _ in range(STREAMS_EACH)]
        assert {heard(peer) for peer in open_} == {b"HTTP/1.1 200"}
        assert heard(opened("read-only")) == b"HTTP/1.1 503"
        assert heard(opened("owner")) == b"HTTP/1.1 200"


def test_a_crowd_of_logins_is_turned_away(town: Town) -> None:
    """And who is in already is served meanwhile, since they do not wait for the same threads."""
    person = town.nobody()
    token = person.get("/login").token
    jar = "; ".join(f"{name}={value}" for name, value in person.cookies.items())
    with contextlib.ExitStack() as stack:
        crowd = []
        for n in range(90):
            form = {"csrf": token, "email": f"crowd{n}@acme.test", "password": "not the password"}
            head = (
                f"POST /login HTTP/1.1\r\nHost: a\r\nCookie: {jar}\r\n"
                f"X-Forwarded-For: 198.51.100.{n}\r\nContent-Length: {len(urlencode(form))}\r\n"
                "Content-Type: application/x-www-form-urlencoded\r\n\r\n"
            )
            peer = stack.enter_context(socket.create_connection(("127.0.0.1", town.relay.http)))
            peer.settimeout(PATIENCE_S)
            peer.sendall(f"{head}{urlencode(form)}".encode()[:-1])
            crowd.append(peer)
        for peer in crowd:  # all at once, however slowly they came
            peer.sendall(urlencode(form).encode()[-1:])
        assert town.person("owner").get("/settings").status == 200
        told = {int(peer.recv(4096).split()[1]) for peer in crowd}
    assert told == {400, 503}
