"""Who may what: roles, two accounts, the audit trail, and what each screen does."""

from __future__ import annotations

import re
from html import unescape

import msgspec
import pytest

from pages.test_pages_routes import CHANGING, READING
from pages.town import OPERATOR, PASSWORD, PEOPLE, Town, invited
from peers.person import Page, Person
from waypost.config import load
from waypost.pages.settings.ready_lines import lines_for
from waypost.values import Endpoint

_PARAMETER = re.compile(r"\{(\w+):\w+\}")


def key_in(page: Page) -> str:
    """The key that a page shows once."""
    found = re.search(r"data-copy-text>(hyd-mail-[A-Za-z0-9]{40})<", page.text)
    assert found, page.words
    return found[1]


def test_a_key_is_made_shown_once_and_used(town: Town) -> None:
    person = town.person("developer")
    made = person.submit("/keys", name="web shop", recipients="headers")
    key = key_in(made)
    for name in ("nodemailer", "smtplib", "Django", "Laravel", "curl", "Postfix"):
        assert name in made.words
    assert key not in person.get("/keys").text and "…" + key[-4:] in person.get("/keys").text
    with town.relay.session(key) as client:
        client.sendmail("noreply@relay.test", ["ann@example.com"], "Subject: Hi\r\n\r\nHi.\r\n")
    (found,) = [k for k in town.relay.cli("key", "list") if k["last4"] == key[-4:]]
    assert found["account"] == "acme" and found["name"] == "web shop"


def test_a_key_is_disabled_rotated_and_deleted(town: Town) -> None:
    person = town.person("developer")
    key = key_in(person.submit("/keys", name="to go"))
    (ident,) = [k["id"] for k in town.relay.cli("key", "list") if k["last4"] == key[-4:]]
    assert person.submit("/keys", f"/keys/{ident}/disable").location == "/keys"
    assert "is disabled" in person.get("/keys").words
    person.submit("/keys", f"/keys/{ident}/enable")
    second = key_in(person.submit("/keys", f"/keys/{ident}/rotate"))
    assert second != key
    person.submit("/keys", f"/keys/{ident}/delete")
    assert ident not in [k["id"] for k in town.relay.cli("key", "list")]


def test_a_member_makes_no_key_for_another_account(town: Town) -> None:
    person = town.person("owner")
    key = key_in(person.submit("/keys", account="other", name="mine all the same"))
    (found,) = [k for k in town.relay.cli("key", "list") if k["last4"] == key[-4:]]
    assert found["account"] == "acme"


def test_nothing_of_another_account_can_be_reached(town: Town) -> None:
    """Every route that names a thing in its path, for a thing that exists in the other account."""
    made = town.relay.cli("key", "create", "--account", "other", "--name", "theirs")
    stranger = Person(town.relay.http)
    stranger.log_in(PEOPLE["stranger"], PASSWORD)
    objects = {"key_id": made["id"], "session_id": 1, **things_of(town, "other")}
    before = town.relay.cli("key", "list", "--account", "other")
    person = town.person("owner")
    token = person.get("/settings").token
    for route in CHANGING:
        names = [found[1] for found in _PARAMETER.finditer(route.path)]
        if not names:
            continue
        unknown = [name for name in names if name not in objects]
        assert not unknown, f"{route.path}: say here what {unknown} of another account is"
        path = _PARAMETER.sub(lambda found: str(objects[found[1]]), route.path)
        refused = person.post(path, token)
        assert refused.status in (303, 403, 404), (path, refused.words)
        if refused.status == 303:
            assert "no such" in person.get(refused.location).words.lower(), path
    assert town.relay.cli("key", "list", "--account", "other") == before


def things_of(town: Town, account: str) -> dict[str, object]:
    """A thing of every kind that paths name, of that account."""
    key = town.relay.key(account)
    code, said = town.relay.submit(
        key, b"From: noreply@relay.test\r\nTo: x@y.test\r\n\r\nHi\r\n", ["x@y.test"]
    )
    assert code == 250, said
    return {"ident": said.split()[-1], "name": "theirs"}


def test_forms_that_name_somebody_of_another_account(town: Town) -> None:
    person = town.person("owner")
    token = person.get("/settings/members").token
    for path in ("/settings/members/remove", "/settings/members/link"):
        refused = person.post(path, token, email=PEOPLE["stranger"])
        assert refused.status == 404
    refused = person.post("/settings/members", token, email=PEOPLE["stranger"], role="owner")
    assert refused.status == 409 and "ask the operator" in refused.words
    refused = person.post("/account", token, account="other")
    assert refused.status == 404
    assert "other" not in person.get("/credits?account=other").words
    for email in (PEOPLE["stranger"], "ops@example.com"):
        assert email not in person.get("/settings/members").text
        assert email not in person.get("/settings/trail").text


def test_an_owner_invites_and_removes(town: Town) -> None:
    owner = town.person("owner")
    made = owner.submit("/settings/members", email="new@acme.test", role="read-only")
    link = re.search(r"data-copy-text>http://127\.0\.0\.1:\d+(/login/invite/\w+)<", made.text)
    assert link, made.words
    new = Person(town.relay.http)
    assert new.submit(link[1], password=PASSWORD).status == 303
    assert "read-only in acme" in new.get("/keys").words
    assert "Make a key" not in new.get("/keys").words
    owner.submit("/settings/members", "/settings/members/remove", email="new@acme.test")
    assert new.get("/keys").status == 303
    last = owner.submit("/settings/members", "/settings/members/remove", email=PEOPLE["owner"])
    assert last.status == 409 and "owner" in last.words


def test_an_owner_makes_no_operator(town: Town) -> None:
    owner = town.person("owner")
    for role in ("operator", "", "4"):
        refused = owner.submit("/settings/members", email="up@acme.test", role=role)
        assert refused.status == 400
    assert "up@acme.test" not in [m["email"] for m in town.relay.cli("member", "list")]


def test_a_form_is_for_the_account_that_its_page_was_of(town: Town) -> None:
    """A page that is still open from before: its new member would be an operator."""
    person = town.nobody()
    person.log_in(OPERATOR, PASSWORD)
    person.submit("/overview", "/account", account="acme")
    old = person.get("/settings/members")
    assert person.submit("/overview", "/account", account="").status == 303
    refused = person.post("/settings/members", old.token, email="late@acme.test", role="developer")
    assert refused.status == 403 and "load the page again" in refused.words
    assert "late@acme.test" not in [m["email"] for m in town.relay.cli("member", "list")]


def test_the_operator_tops_up_and_all_is_in_the_trail(town: Town) -> None:
    operator = town.person("operator")
    done = operator.submit(
        "/credits?account=acme", "/credits", account="acme", amount="250", note="invoice 7"
    )
    assert done.location == "/credits?account=acme"
    page = operator.get(done.location).words
    assert "+250" in page and "invoice 7" in page
    line = operator.get("/settings/trail").words
    assert "add credits acme 250" in line
    owner = town.person("owner").get("/settings/trail").words
    assert "add credits" in owner and "command line account create acme" in owner
    assert "account create other" not in owner
    for amount in ("", "x", "1.5", "0", "9" * 20):
        refused = operator.submit(
            "/credits?account=acme", "/credits", account="acme", amount=amount
        )
        assert refused.status == 400, amount


def test_the_operator_makes_limits_and_disables_an_account(town: Town) -> None:
    operator = town.person("operator")
    made = operator.submit("/operator", "/operator/accounts", name="a/b & <c>", credits="unlimited")
    assert made.location == "/operator/account?name=a%2Fb%20%26%20%3Cc%3E"
    shown = operator.get(made.location)
    assert "a/b & <c>" in unescape(shown.text) and "<c>" not in shown.text
    changed = operator.submit(made.location, "/operator/account", name="a/b & <c>", rate_limit="7")
    assert changed.status == 303
    told = town.relay.cli("account", "show", "a/b & <c>")
    assert (told["rateLimit"], told["credits"]) == (7, 0)
    operator.submit(made.location, "/operator/account/disable", name="a/b & <c>")
    assert town.relay.cli("account", "show", "a/b & <c>")["enabled"] is False
    assert operator.submit("/operator", "/operator/accounts", name=" x").status == 303
    assert operator.submit("/operator", "/operator/accounts", name="x").status == 409
    assert operator.submit("/operator", "/operator/accounts", name="").status == 400


def test_the_operator_looks_at_one_account(town: Town) -> None:
    operator = Person(town.relay.http)
    operator.log_in("ops@example.com", PASSWORD)
    chosen = operator.submit("/keys", "/account", account="other", next="/keys?x=1")
    assert chosen.location == "/keys"
    assert "operator in other" in operator.get("/keys").words
    back = operator.submit("/keys", "/account", account="", next="https://evil.test/")
    assert back.location == "/"


def test_sessions_are_shown_and_ended(town: Town) -> None:
    cookies = invited(town.relay, "twice@acme.test", "acme", "developer")
    first, second = Person(town.relay.http, cookies=cookies), Person(town.relay.http)
    second.headers["User-Agent"] = "<b>browser</b>"
    second.log_in("twice@acme.test", PASSWORD)
    page = first.get("/settings")
    assert "&lt;b&gt;browser" in page.text
    (ident,) = re.findall(r"/settings/sessions/(\d+)/end", page.text)
    theirs = town.person("owner")
    assert theirs.submit("/settings", f"/settings/sessions/{ident}/end").status in (303, 404)
    assert second.get("/settings").status == 200
    first.submit("/settings", f"/settings/sessions/{ident}/end")
    assert second.get("/settings").status == 303


@pytest.mark.parametrize("path", ["/operator/health"])
def test_health(town: Town, path: str) -> None:
    page = town.person("operator").get(path)
    assert "listen.http" in page.words and "add up" not in page.words
    whole = town.person("operator").submit(path)
    assert "the ledger and the queue add up" in whole.words


def test_no_page_shows_what_is_anothers(town: Town) -> None:
    """Every page that names a thing in its path, for a thing of the other account."""
    objects = things_of(town, "other")
    person = town.person("owner")
    for route in READING:
        if _PARAMETER.search(route.path):
            path = _PARAMETER.sub(lambda found: str(objects[found[1]]), route.path)
            assert person.get(path).status == 404, path
            # The control: its own account sees it, or it is not kept any more.
            own = town.person("stranger").get(path)
            assert own.status in (200, 303) or "kept" in own.words, (path, own.words)


def test_no_secret_is_in_the_log(town: Town) -> None:
    """Passwords, sessions, links and keys that came by in these tests."""
    person = town.person("developer")
    key = key_in(person.submit("/keys", name="to look for"))
    person.submit("/settings", "/settings/password", present="wrong", password="not this one 7")
    told = town.relay.log.read_text() + town.person("operator").get("/settings/trail").text
    cookies = [value for jar in town.cookies.values() for value in jar.values()]
    for secret in (PASSWORD, key, "not this one 7", *cookies):
        assert secret not in told
    assert "change own password" not in told  # what was refused is no deed


def test_tabs_lead_nowhere_that_is_refused(town: Town) -> None:
    for role in ("read-only", "developer", "owner", "operator"):
        person = town.person(role)
        page = person.get("/settings").text
        tabs = page.partition('<nav class="tabs"')[2].partition("</nav>")[0]
        paths = [part.partition('"')[0] for part in tabs.split('href="')[1:]]
        assert ("/settings/trail" in paths) is (role in ("owner", "operator"))
        for path in paths:
            assert person.get(path).status == 200, (role, path)


def test_first_steps_are_drawn_anew_only_where_they_changed(town: Town) -> None:
    """Else what has the focus would be taken away every few seconds."""
    page = town.person("owner").get("/start").text
    path = page.partition('hx-get="')[2].partition('"')[0]
    assert path.startswith("/start?mark=")
    asking = Person(town.relay.http, headers={"HX-Request": "true"})
    asking.cookies = dict(town.cookies["owner"])
    assert asking.get(path).status == 204
    changed = asking.get("/start?mark=00000000")
    assert changed.status == 200
    assert path in changed.text


def test_lines_for_a_certificate_that_nobody_can_verify(town: Town) -> None:
    """Only where the relay made it, and only where the client sees it: not behind a proxy."""
    config = load(town.relay.config, None)
    listen = msgspec.structs.replace(config.listen, https=(Endpoint("127.0.0.1", 8443),))
    config = msgspec.structs.replace(config, listen=listen)
    for base, own, told in (
        ("https://127.0.0.1:8443", True, True),
        ("https://127.0.0.1:8443", False, False),
        ("https://mail.example.com", True, False),
        ("http://127.0.0.1:8025", True, False),
    ):
        made = lines_for("k", "a@b.test", config, base, own_certificate=own)
        text = {part.ident: part.text for part in made}
        assert ("--insecure" in text["curl"]) is told, base
        assert ("rejectUnauthorized" in text["nodemailer"]) is own, base
