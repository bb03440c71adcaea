"""150 hostile strings in every place that shows them: no script, no broken layout, no formula."""

from __future__ import annotations

import base64
import contextlib
import csv
import html
import io
import json
import re
import smtplib
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote, urlencode

import pytest
from playwright.sync_api import Dialog, Request, sync_playwright

from pages.poison import MARK, PEOPLE, STRINGS, poisoned, write_people
from pages.town import Town, invited
from peers.http_client import SEND, Client
from peers.need import need
from peers.person import Person
from peers.relay import SENDER, Relay, submit
from waypost import app
from waypost.clock import SystemClock
from waypost.config import load
from waypost.core.errors import Secret, WaypostError
from waypost.desk import upstreams
from waypost.desk.connection.edits import Fields
from waypost.desk.office import name_of
from waypost.pages.screens.exports import FORMULA, cell
from waypost.store.connect import connect, transaction
from waypost.upstream.settings import Form

ACCOUNT = "poison"
UPSTREAMS = 25
LISTS = (
    "/overview", "/logs", "/logs?q=status:failed", "/logs/refusals", "/queue", "/integrations",
    "/senders", "/keys", "/domains", "/credits", "/settings", "/settings/members",
    "/settings/trail", "/settings/account", "/keys/lines", "/start",
)  # fmt: skip


FORMS = {
    "/settings/members": ("email", "role"), "/settings/members/remove": ("email",),
    "/settings/account": ("default_sender", "notify"), "/settings/name": ("name",),
    "/senders": ("address", "upstream", "from_name", "daily_cap"),
    "/senders/remove": ("address", "on"), "/queue/pause": ("upstream",),
    "/integrations/consent": ("code", "state"), "/account": ("account", "next"),
}  # fmt: skip
CONSENT = "/integrations/consent?error=x&error_description=%s&state=x"


@dataclass
class Poisoned:
    """The account, who owns it, and its messages."""

    town: Town
    owner: Person
    idents: list[str]
    upstreams: list[str]


def _named(text: str) -> str:
    """The text as far as names may be: printable, without blanks and dashes around it."""
    plain = "".join(c if c.isprintable() else "?" for c in text)[:64].strip().lstrip("-")
    return plain or "x"


@pytest.fixture(scope="module")
def poison(town: Town) -> Iterator[Poisoned]:
    assert len(STRINGS) == 150
    relay = town.relay
    relay.cli("account", "create", ACCOUNT, "--credits", "1000")
    owner = Person(relay.http, cookies=invited(relay, "owner@poison.test", ACCOUNT, "owner"))
    desk = app.make_desk(load(relay.config, None), SystemClock())
    names = []
    _make_keys(relay)
    write_people(relay.data, ACCOUNT, "owner@poison.test")
    for number, text in enumerate(STRINGS[:UPSTREAMS]):
        form = Form(host="127.0.0.1", port=2525, encryption="none", username=f"u{number}")
        fields = Fields(
            form=form,
            password=Secret("sesame77"),
            sender=f"s{number}@poison.test",
            from_name=_named(text),
        )
        view = upstreams.add(desk, _named(text), fields, account=ACCOUNT)
        upstreams.pause(desk, view.name, account=ACCOUNT, reason=_named(text))
        names.append(view.name)
    key = str(relay.key(ACCOUNT))
    words = iter(STRINGS)
    town.upstream.answers["RCPT"] = lambda line: f"550 5.7.1 {_ascii(next(words))}"
    try:
        for first in range(0, len(STRINGS), 15):  # twenty refusals end a session
            with relay.session(key) as client:
                for number, text in enumerate(STRINGS[first : first + 15], first):
                    _submit(client, number, text)
    finally:
        town.upstream.answers.clear()
    with contextlib.closing(Client(relay.http, key)) as client:
        _refused(client)
    found = json.loads("[" + owner.get("/logs/export.ndjson").text.strip().replace("\n", ",") + "]")
    idents = [line["id"] for line in found if line["status"] == "failed"]
    assert len(idents) >= 140, len(idents)
    yield Poisoned(town, owner, idents, names)


def _refused(client: Client) -> None:
    """A refusal for each of the strings, which is what the mail was to be from, or to."""
    mail = {"subject": "x", "text": "x"}
    for text in STRINGS:
        for field, other in (("from", "to"), ("to", "from")):
            answer = client.call("POST", SEND, mail | {field: text, other: SENDER})
            assert answer.status == 400, (answer.told, text)


def _make_keys(relay: Relay) -> None:
    """Keys with these names, in one transaction: a deed for each would take long."""
    with contextlib.closing(connect(relay.data)) as db, transaction(db):
        db.executemany(
            "INSERT INTO api_key (account_id, name, digest, last4, created_at)"
            " SELECT id, ?, ?, 'abcd', 0 FROM account WHERE name = ?",
            [(_named(text), text.encode()[:32] + b"!", ACCOUNT) for text in STRINGS],
        )


def _ascii(text: str) -> str:
    return "".join(c if " " <= c <= "~" else "?" for c in text)[:300]


def _word(text: str) -> str:
    return f"=?utf-8?B?{base64.b64encode(text.encode()).decode()}?="


def _submit(client: smtplib.SMTP, number: int, text: str) -> None:
    """A message with the text as subject, name, header and file name; its answer is not asked."""
    encoded = "\r\n ".join(_word(text[at : at + 15]) for at in range(0, len(text), 15))
    to = f"p{number}@example.net"
    name = _ascii(text).replace('"', "'").replace("\\", "/")
    octets = (
        f"From: {_word(text[:12].replace(chr(64), chr(35)))}"
        f" <{SENDER}>\r\nTo: {to}\r\nSubject: {encoded}\r\nX-Odd: {_ascii(text)}\r\n"
        'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n'
        f"--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n"
        f"--b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>{text}</p>\r\n"
        f'--b\r\nContent-Type: application/pdf; name="{name}"\r\n'
        f'Content-Disposition: attachment; filename="{name}"\r\n\r\nx\r\n--b--\r\n'
    )
    code, _ = submit(client, octets.encode("utf-8", "replace"), [to])
    assert code != 421


def test_the_reader_finds_what_it_is_for() -> None:
    """The control: unescaped, these strings would be found."""
    bare = [text for text in STRINGS if poisoned(f'<p>{text}</p><a title="{text}">x</a>')]
    assert len(bare) >= 40


@pytest.mark.parametrize("path", LISTS)
def test_lists(poison: Poisoned, path: str) -> None:
    page = poison.owner.get(path)
    assert page.status == 200
    assert poisoned(page.text) == []


# Of what was refused equal ones are one line.
@pytest.mark.parametrize(("path", "least"), [("/logs", 140), ("/logs/refusals", 150)])
def test_every_page_of(poison: Poisoned, path: str, least: int) -> None:
    where, seen = path, 0
    while where:
        page = poison.owner.get(where)
        assert poisoned(page.text) == []
        seen += page.text.count("<tr data-row")
        more = re.search(rf'hx-get="({path}\?[^"]*)"', page.text)
        where = more[1].replace("&amp;", "&") if more else ""
    assert seen >= least


@pytest.mark.parametrize("path", ["/settings/trail", "/credits"])
def test_every_older_line_of(poison: Poisoned, path: str) -> None:
    where, seen = path, ""
    while where:
        page = poison.owner.get(where)
        assert poisoned(page.text) == [], where
        seen += page.text
        more = re.search(r'href="([^"]*)">Older lines', page.text)
        where = more[1].replace("&amp;", "&") if more else ""
    for text in STRINGS:
        assert html.escape(text[:40]).replace("&quot;", "&#34;").replace("&#x27;", "&#39;") in seen


def test_people_and_their_browsers(poison: Poisoned) -> None:
    """All are shown: what names nobody would not be found dangerous either."""
    members = poison.owner.get("/settings/members").text
    assert members.count("<tr data-row") >= PEOPLE
    browsers = poison.owner.get("/settings").text
    assert browsers.count("/settings/sessions/") >= PEOPLE


def test_accounts_of_an_operator(poison: Poisoned) -> None:
    """Names of accounts in lists, choosers and forms, and as what is looked at."""
    operator = poison.town.person("operator")
    made = [name for name in map(_named, STRINGS[:40]) if name != "x"]
    with contextlib.closing(connect(poison.town.relay.data)) as db:
        try:
            with transaction(db):
                db.executemany(
                    "INSERT OR IGNORE INTO account (name, created_at) VALUES (?, 1)",
                    [(name,) for name in made],
                )
            for path in (*LISTS, "/operator", "/integrations/new"):
                page = operator.get(path)
                assert page.status == 200, path
                assert poisoned(page.text) == [], path
            for name in made:
                for path in ("/operator/account?name=", "/credits?account="):
                    page = operator.get(path + quote(name, safe=""))
                    assert page.status == 200, name
                    assert poisoned(page.text) == [], name
        finally:
            with transaction(db):
                db.execute("DELETE FROM account WHERE created_at = 1")


def test_what_a_server_says_to_the_connection_test(poison: Poisoned) -> None:
    """Each step and the transcript, as a page and as the lines of a test that is followed."""
    town, book = poison.town, poison.town.upstream
    operator = town.person("operator")
    page = operator.get("/integrations/one?name=main")
    try:
        for text in [_ascii(text) for text in STRINGS[:20]]:
            book.answers.update(
                greeting=f"220 {text}", EHLO=f"250-{text}\r\n250 {text}", MAIL=f"553 5.7.1 {text}"
            )
            fields = {"name": "main", "send_to": "x@example.net"}
            shown = operator.post("/integrations/test", page.token, **fields)
            if shown.status == 429:  # tests are few a minute
                break
            assert "Connection test" in shown.text, shown.words
            assert poisoned(shown.text) == [], text
            told = operator.post("/integrations/test/steps", page.token, **fields)
            for line in told.text.splitlines():
                assert poisoned(json.loads(line).get("html", "")) == [], text
    finally:
        book.answers.clear()
        town.relay.cli("upstream", "resume", "main")


def test_names_of_saved_files(poison: Poisoned) -> None:
    """They are the relay's own: nothing of a message is part of a header."""
    for ident in poison.idents[:30]:
        page = poison.owner.get(f"/logs/{ident}/source.eml")
        assert page.headers["content-disposition"] == f'attachment; filename="{ident}.eml"'


def test_messages(poison: Poisoned) -> None:
    for ident in poison.idents:
        page = poison.owner.get(f"/logs/{ident}")
        assert page.status == 200
        assert poisoned(page.text) == [], ident
        assert page.text.count("<iframe") == 1
    for ident in poison.idents[:30]:
        assert poisoned(poison.owner.get(f"/logs/{ident}/source").text) == []


def test_the_html_part_is_locked_in(poison: Poisoned) -> None:
    for ident in poison.idents[:5]:
        page = poison.owner.get(f"/logs/{ident}/preview")
        policy = page.headers["content-security-policy"]
        assert policy.startswith("sandbox;")
        assert "default-src 'none'" in policy
        assert "script-src" not in policy
        assert "frame-ancestors 'self'" in policy
        saved = poison.owner.ask("HEAD", f"/logs/{ident}/preview")
        assert saved.status in (200, 405)


def test_integrations(poison: Poisoned) -> None:
    for name in poison.upstreams:
        page = poison.owner.get(f"/integrations/one?{urlencode({'name': name})}")
        assert page.status == 200, name
        assert poisoned(page.text) == [], name


def test_forms_that_come_back(poison: Poisoned) -> None:
    token = poison.owner.get("/integrations/new").token
    for text in STRINGS[:40]:
        page = poison.owner.post(
            "/integrations/new", token, name=text, sender=text, host=text, port=text, preset=text
        )
        assert page.status in (400, 409), (page.status, text)
        assert poisoned(page.text) == []
        search = poison.owner.ask("GET", "/logs?" + _query(text))
        assert search.status in (200, 400)
        assert poisoned(search.text) == []
        search = poison.owner.ask("GET", "/logs/refusals?" + _query(text))
        assert search.status in (200, 400)
        assert poisoned(search.text) == []
        assert poisoned(poison.owner.get("/domains/check?" + _query(text, "domain")).text) == []


def test_more_forms_that_come_back(poison: Poisoned) -> None:
    token = poison.owner.get("/settings").token
    for text in STRINGS[:14]:
        for path, fields in FORMS.items():
            page = poison.owner.post(path, token, **dict.fromkeys(fields, text))
            assert page.status < 500, (path, text)
            assert poisoned(page.text) == [], (path, text)
        for path in ("/login?" + _query(text, "next"), "/" + quote(text, safe=""), CONSENT % text):
            page = poison.owner.get(quote(path, safe="/?=&%"))
            assert page.status < 500, path
            assert poisoned(page.text) == [], path


def _query(text: str, name: str = "q") -> str:
    return urlencode({name: text})


def test_no_formula_in_an_export(poison: Poisoned) -> None:
    page = poison.owner.get("/logs/export.csv")
    assert page.headers["content-disposition"].startswith("attachment")
    rows = list(csv.reader(io.StringIO(page.text, newline="")))
    assert len(rows) > 140
    for row in rows:
        for found in row:
            assert not found.lstrip(" \xa0").startswith(tuple(FORMULA)), found
    lines = poison.owner.get("/logs/export.ndjson").text.splitlines()
    subjects = {json.loads(line)["subject"] for line in lines}
    assert any(subject.startswith("=") for subject in subjects)  # the control: they are there


def test_no_formula_in_an_export_of_refusals(poison: Poisoned) -> None:
    """Among them answers that name what could not be read as an address."""
    page = poison.owner.get("/logs/refusals/export.csv")
    rows = list(csv.reader(io.StringIO(page.text, newline="")))
    assert len(rows) > 150
    for row in rows:
        for found in row:
            assert not found.lstrip(" \xa0").startswith(tuple(FORMULA)), found
    lines = poison.owner.get("/logs/refusals/export.ndjson").text.splitlines()
    senders = {json.loads(line)["from"] for line in lines}
    assert any(sender.startswith("=") for sender in senders)  # the control: they are there


@pytest.mark.parametrize("text", ["=1", " =1", "+1", "-1", "@x", "\t=1", "＝1", "\r=1", "\xa0=1"])
def test_cells_are_defanged(text: str) -> None:
    assert str(cell(text)).startswith("'")


@pytest.mark.parametrize("text", ["a=1", "x", "", "1-1"])
def test_other_cells_stay(text: str) -> None:
    assert cell(text) == text
    assert cell(7) == 7


@pytest.mark.slow
def test_in_a_browser(poison: Poisoned) -> None:
    some = [f"/logs/{ident}" for ident in poison.idents[::70]]
    assert visited(poison, ["/logs", "/logs/refusals", "/senders", *some]) == []


@pytest.mark.slow
def test_every_place_in_a_browser(poison: Poisoned) -> None:
    every = [f"/logs/{ident}" for ident in poison.idents]
    assert visited(poison, [*LISTS, *every]) == []


def visited(poison: Poisoned, paths: list[str]) -> list[str]:
    """What went wrong in a browser that looked at all of them, narrow and wide: a script that ran,
    a dialog, a request to elsewhere, a page wider than the window."""
    chromium = need("chromium")[0]
    base = f"http://127.0.0.1:{poison.town.relay.http}"
    trouble: list[str] = []

    def asked(request: Request) -> None:
        elsewhere = not request.url.startswith((base, "data:", "about:", "blob:"))
        # What the policy of a preview stops is told of too, but nobody is asked.
        if elsewhere and request.failure != "csp":
            trouble.append(f"{request.url} ({request.failure})")

    def opened(dialog: Dialog) -> None:
        trouble.append("a dialog")
        dialog.dismiss()

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for width in (360, 1600):
            context = browser.new_context(viewport={"width": width, "height": 900})
            for name, value in poison.owner.cookies.items():
                context.add_cookies([{"name": name, "value": value, "url": base}])
            page = context.new_page()
            page.on("dialog", opened)
            page.on("requestfinished", asked)
            page.on("requestfailed", asked)
            for path in paths:
                page.goto(base + path, wait_until="load")
                if page.evaluate(f"window.{MARK}"):
                    trouble.append(f"a script ran at {path}")
                wide = page.evaluate("document.documentElement.scrollWidth")
                if wide > width:
                    trouble.append(f"{path} is {wide} wide at {width}")
            context.close()
        browser.close()
    return trouble


def test_a_name_that_is_refused_says_so() -> None:
    """What is stored as a name is checked when it is made: the escaping is not the only guard."""
    for text in ("", " x", "-x", "a\nb", "x" * 65):
        with pytest.raises(WaypostError):
            name_of(text, "name")
