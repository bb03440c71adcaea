"""Integrations, senders and domains without JavaScript, and the same test as lines of JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from pages.town import first_run, invited
from peers.dns_server import DnsServer
from peers.person import Person
from peers.recording import Recording, RecordingServer
from peers.relay import Relay

MAILBOX = "shop@corp.example"
PASSWORD = "sesame-opens-77"
ZONE = (
    '@ MX 10 mx\n@ TXT "v=spf1 include:amazonses.com -all"\nmx A 192.0.2.25\n'
    '_dmarc TXT "v=DMARC1; p=none"\n'
)


@dataclass
class Place:
    relay: Relay
    upstream: Recording
    cookies: dict[str, dict[str, str]]

    def person(self, role: str) -> Person:
        return Person(self.relay.http, cookies=dict(self.cookies[role]))

    def form(self, **changed: str) -> dict[str, str]:
        """The form of a new server, right but for what is changed."""
        right = {
            "sender": MAILBOX,
            "name": "corp",
            "host": "127.0.0.1",
            "port": str(self.upstream.port),
            "encryption": "none",
            "username": MAILBOX,
            "password": PASSWORD,
        }
        return right | changed


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """An account may have servers on loopback here."""
    server, dns = RecordingServer(Recording()), DnsServer()
    server.start()
    server.book.users[MAILBOX] = PASSWORD
    dns.zone("corp.example", ZONE)
    ports = f"ports = [25, 465, 587, {server.book.port}]"
    relay = Relay(
        tmp_path_factory.mktemp("servers"),
        tables={
            "upstreams": f'allow_networks = ["127.0.0.0/8"]\n{ports}',
            "dns": f'servers = ["{dns.place}"]\nwatch = false',
        },
    )
    relay.start()
    try:
        relay.cli("account", "create", "acme", "--credits", "1000")
        relay.cli("account", "create", "other", "--credits", "1000")
        cookies = {
            "operator": first_run(relay),
            "owner": invited(relay, "owner@acme.test", "acme", "owner"),
            "reader": invited(relay, "reader@acme.test", "acme", "read-only"),
            "stranger": invited(relay, "owner@other.test", "other", "owner"),
        }
        yield Place(relay, server.book, cookies)
    finally:
        relay.stop()
        server.stop()
        dns.stop()


def test_empty_lists_say_what_to_do_next(place: Place) -> None:
    owner, reader = place.person("stranger"), place.person("reader")
    assert "Connect an SMTP server" in owner.get("/integrations").words
    assert "Connect an SMTP server" in owner.get("/senders").words
    assert "No sender domain yet" in owner.get("/domains").words
    assert "No message yet" in owner.get("/logs").words
    assert "Nothing waits" in owner.get("/queue").words
    assert "Nothing was refused" in owner.get("/logs/refusals").words
    assert "No mail can leave yet" in owner.get("/overview").words
    assert "A developer or owner" in reader.get("/integrations").words
    assert 'action="/integrations' not in reader.get("/integrations/new").text


def test_the_operator_alone_raises_a_cap(place: Place) -> None:
    """As by a token of the account: one rule for both."""
    operator, stranger = place.person("operator"), place.person("stranger")
    right = place.form(sender="cap@corp.example", username=MAILBOX, name="capped", daily_cap="500")
    assert stranger.submit("/integrations/new", **right).status == 303
    server = {"name": "capped", "account": "other", "untested": "yes"}
    sender = {"address": "cap@corp.example", "account": "other", "on": "capped"}
    operator.submit("/senders", "/senders/change", **sender, daily_cap="50")

    def caps() -> tuple[int | None, int | None]:
        (bound,) = place.relay.cli("sender", "list", "--account", "other")
        shown = place.relay.cli("upstream", "show", "capped", "--account", "other")
        return shown["dailyCap"], bound["dailyCap"]

    assert caps() == (500, 50)
    for cap in ("501", ""):
        refused = stranger.submit("/senders", "/integrations/change", **server, daily_cap=cap)
        assert refused.status == 403 and "the operator alone raises it" in refused.words.lower()
    for cap in ("51", ""):
        refused = stranger.submit("/senders", "/senders/change", **sender, daily_cap=cap)
        assert refused.status == 403 and "the operator alone raises it" in refused.words.lower()
    assert caps() == (500, 50)
    stranger.submit("/senders", "/integrations/change", **server, daily_cap="400")
    stranger.submit("/senders", "/senders/change", **sender, daily_cap="40")
    assert caps() == (400, 40)
    operator.submit("/senders", "/integrations/change", **server, daily_cap="600")
    operator.submit("/senders", "/senders/change", **sender, daily_cap="")
    assert caps() == (600, None)
    operator.submit("/senders", "/integrations/remove", **server)


def test_a_server_is_diagnosed_corrected_tested_and_saved(place: Place) -> None:
    owner = place.person("owner")
    wrong = owner.submit("/integrations/new", **place.form(password="not-the-one"))
    assert wrong.status == 422
    assert "authentication_failed" in wrong.words
    assert "nothing was saved" in wrong.words
    assert "AUTH PLAIN ***" in wrong.words
    assert "Likely causes" in wrong.words
    assert "not-the-one" not in wrong.text
    assert f'value="{MAILBOX}"' in wrong.text  # what was typed stays
    assert place.relay.cli("upstream", "list") == []
    place.upstream.answers["greeting"] = "554 5.7.1 go away"
    refused = owner.submit("/integrations/new", **place.form())
    place.upstream.answers.clear()
    assert "rejected" in refused.words
    done = owner.submit("/integrations/new", **place.form(daily_cap="500"))
    assert (done.status, done.location) == (
        303,
        "/integrations/one?name=corp&account=acme&done=saved",
    )
    page = owner.get(done.location)
    assert "It works, and is saved." in page.words
    assert PASSWORD not in page.text
    shown = place.relay.cli("upstream", "show", "corp", "--account", "acme")
    assert (shown["port"], shown["dailyCap"], shown["senders"]) == (
        place.upstream.port,
        500,
        [MAILBOX],
    )
    again = owner.submit("/integrations/new", **place.form())
    assert again.status == 409
    assert "already" in again.words


def test_the_steps_come_one_by_one(place: Place) -> None:
    owner = place.person("owner")
    token = owner.get("/integrations/one?name=corp").token
    answer = owner.post("/integrations/test/steps", token, name="corp")
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line.get("into") for line in lines[1:-1]] == ["ol.steps"] * (len(lines) - 2)
    said = [line["html"] for line in lines]
    order = [next(i for i, html in enumerate(said) if f">{word}<" in html)
             for word in ("resolve", "connect", "greeting", "EHLO", "login")]  # fmt: skip
    assert order == sorted(order)
    assert "It works." in said[-1]
    place.upstream.answers["AUTH"] = "535 5.7.8 no"
    failed = owner.post("/integrations/test/steps", token, name="corp").text
    place.upstream.answers.clear()
    assert "authentication_failed" in failed
    assert PASSWORD not in failed
    gone = owner.post("/integrations/test/steps", token, name="nobody").text
    assert "There is no upstream" in json.loads(gone.splitlines()[-1])["html"]
    new = place.form(name="second", sender="b@corp.example")
    saved = owner.post("/integrations/new/steps", token, **new).text.splitlines()
    assert json.loads(saved[-1])["go"] == "/integrations/one?name=second&account=acme&done=saved"


def test_a_test_mail(place: Place) -> None:
    owner = place.person("owner")
    page = owner.submit(
        "/integrations/one?name=corp", "/integrations/test", name="corp", send="yes",
        send_to="me@example.org",
    )  # fmt: skip
    assert page.status == 200
    assert "It works." in page.words
    assert len(place.upstream.to("me@example.org")) == 1
    none = owner.submit(
        "/integrations/one?name=corp", "/integrations/test", name="corp", send="yes", send_to=""
    )
    assert none.status == 400
    assert "name the address" in none.words.lower()


def test_an_edit_asks_for_the_password_again(place: Place) -> None:
    owner = place.person("owner")
    form = place.form(username="else@corp.example", password="")
    del form["sender"]
    page = owner.submit("/integrations/one?name=corp", "/integrations/change", **form)
    assert page.status == 400
    assert "give it again" in page.words
    form = place.form(password="", per_minute="30")
    del form["sender"]
    done = owner.submit("/integrations/one?name=corp", "/integrations/change", **form)
    assert done.status == 303, done.words
    shown = place.relay.cli("upstream", "show", "corp", "--account", "acme")
    assert (shown["perMinute"], shown["dailyCap"]) == (30, 500)


def test_a_login_is_taken_away_by_emptying_the_user_name(place: Place) -> None:
    """Of the operator's alone: an account's server has a login."""
    operator, owner = place.person("operator"), place.person("owner")
    form = place.form(name="open", sender="open@corp.example", untested="yes")
    assert operator.submit("/integrations/new", **form).status == 303
    del form["sender"]
    form |= {"username": "", "password": ""}
    done = operator.submit("/integrations/one?name=open", "/integrations/change", **form)
    assert done.status == 303, done.words
    assert place.relay.cli("upstream", "show", "open")["username"] == ""
    refused = owner.submit(
        "/integrations/one?name=corp", "/integrations/change", **(form | {"name": "corp"})
    )
    assert refused.status == 400
    assert "needs a password" in refused.words
    place.relay.cli("upstream", "remove", "open", "--fail")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"port": "many"}, "whole number"),
        ({"port": "99999"}, "port"),
        ({"host": "a b"}, "host"),
        ({"sender": "nobody"}, "address"),
        ({"name": ""}, "a name is"),
        ({"encryption": "rot13"}, "encryption"),
        ({"password": ""}, "password"),
        ({"connections": "0"}, "connections"),
    ],
)
def test_what_cannot_be(place: Place, changed: dict[str, str], says: str) -> None:
    form = place.form(name="third", sender="c@corp.example") | changed
    page = place.person("owner").submit("/integrations/new", **form)
    assert page.status == 400, page.words
    assert says in page.words.lower()
    assert 'role="alert"' in page.text


def test_an_accounts_server_may_not_be_anywhere(place: Place) -> None:
    """The address guard holds for pages too: the cloud's metadata address is refused."""
    form = place.form(name="meta", sender="m@corp.example", host="169.254.169.254", port="25")
    for more in ({}, {"untested": "yes"}):
        page = place.person("owner").submit("/integrations/new", **form, **more)
        assert page.status == 422
        assert "address_not_allowed" in page.words


def test_pause_resume_remove_and_whose_it_is(place: Place) -> None:
    owner, operator, stranger = (place.person(w) for w in ("owner", "operator", "stranger"))
    for person in (stranger, operator):
        assert person.get("/integrations/one?name=corp").status == 404
    assert operator.get("/integrations/one?name=corp&account=acme").status == 200
    assert stranger.get("/integrations/one?name=corp&account=acme").status == 404
    token = stranger.get("/settings").token
    for deed in ("pause", "remove", "test", "change", "trust", "resume", "connect"):
        answer = stranger.post(f"/integrations/{deed}", token, name="corp", account="acme")
        assert answer.status in (404, 409), deed
    one = "/integrations/one?name=second"
    owner.submit(one, "/integrations/pause", name="second")
    page = owner.get(one)
    assert "Somebody paused it." in page.words
    assert "second" in owner.get("/overview").words
    operator.submit(f"{one}&account=acme", "/integrations/resume", name="second", account="acme")
    assert "Somebody paused it." not in owner.get(one).words
    done = owner.submit(one, "/integrations/remove", name="second")
    assert done.location == "/integrations"
    assert owner.get(one).status == 404


def test_senders(place: Place) -> None:
    owner = place.person("owner")
    done = owner.submit(
        "/senders", "/senders", address="News@Corp.example", upstream="corp", from_name="News",
        daily_cap="2,000", default="yes",
    )  # fmt: skip
    assert done.status == 303, done.words
    page = owner.get("/senders")
    assert "News@corp.example" in page.words
    assert "default" in page.words
    changed = owner.submit(
        "/senders", "/senders/change", address="news@corp.example", on="corp", from_name="",
        daily_cap="1,000", account="other",
    )  # fmt: skip
    assert changed.status == 303, changed.words
    said = owner.get("/senders").words
    assert "is changed." in said and "hold" not in said
    shown = [s for s in place.relay.cli("sender", "list") if s["address"] == "News@corp.example"]
    assert [(s["dailyCap"], s["fromName"]) for s in shown] == [(1000, "")]
    wrong = owner.submit("/senders", "/senders", address="nobody", upstream="corp")
    assert wrong.status == 400
    bad = owner.submit(
        "/senders", "/senders", address="x@corp.example", upstream="corp", daily_cap="x"
    )
    assert bad.status == 400
    assert "whole number" in bad.words
    bad = owner.submit(
        "/senders", "/senders/change", address="news@corp.example", on="corp", daily_cap="x"
    )
    assert bad.status == 400 and "Add a sender" in bad.words  # the list, with what was wrong
    twice = owner.submit("/senders", address="news@corp.example", upstream="corp")
    assert twice.status == 409 and 'value="news@corp.example"' in twice.text
    removed = owner.submit("/senders", "/senders/remove", address="news@corp.example", on="corp")
    assert removed.status == 303
    assert "is removed" in owner.get("/senders").words
    assert "News@corp.example" not in owner.get("/senders").words


def test_the_operators_senders(place: Place) -> None:
    operator, stranger = place.person("operator"), place.person("stranger")
    form = place.form(name="house", sender="house@corp.example", **{"for": "other"})
    done = operator.submit("/integrations/new", **form)
    assert done.status == 303, done.words
    assert "house@corp.example" in stranger.get("/senders").words
    assert "by the operator" in stranger.get("/senders").words
    token = stranger.get("/settings").token
    for deed in ("change", "remove"):
        answer = stranger.post(f"/senders/{deed}", token, address="house@corp.example", account="")
        assert answer.status == 404, deed


def test_domains(place: Place) -> None:
    owner = place.person("owner")
    assert "corp.example" in owner.get("/domains").words
    page = owner.get("/domains/check?domain=corp.example")
    assert page.status == 200
    for word in ("spf", "dkim", "dmarc", "mx", "Publish", "Check again"):
        assert word in page.words, word
    assert "data-copy" in page.text
    assert "v=spf1" in page.words
    again = owner.get("/domains/check?domain=corp.example&selector=s1,s2")
    assert again.status == 400 or "s1" in again.text
    wrong = owner.get("/domains/check?domain=nonsense")
    assert wrong.status == 400
    assert "is not a domain" in wrong.words


def test_detection_fills_the_form(place: Place) -> None:
    told = json.loads(place.person("owner").get("/integrations/detect?address=a@gmail.com").text)
    assert told["preset"] == "gmail"
    assert told["host"] == "smtp.gmail.com"
    wrong = json.loads(place.person("owner").get("/integrations/detect?address=x").text)
    assert "error" in wrong
    page = place.person("owner").get("/integrations/new")
    assert 'data-host="smtp.gmail.com"' in page.text


def test_a_consent_is_asked_for_and_finished_by_a_button(place: Place) -> None:
    owner = place.person("owner")
    form = place.form(
        name="google", sender="g@corp.example", preset="gmail", host="smtp.gmail.com", port="587",
        encryption="starttls", untested="yes",
    )  # fmt: skip
    saved = owner.submit("/integrations/new", **form)
    assert saved.status == 303, saved.words
    one = "/integrations/one?name=google"
    assert "Connect with Google" in owner.get(one).words
    begun = owner.submit(
        one, "/integrations/connect", name="google", account="acme", client_id="an-id",
        client_secret="a-client-secret",
    )  # fmt: skip
    assert begun.status == 200, begun.words
    assert "https://accounts.google.com/" in begun.text
    assert "a-client-secret" not in begun.text
    back = owner.get("/integrations/consent?code=c0de&state=st4te")
    assert "Finish connecting" in back.words
    done = owner.post("/integrations/consent", back.token, code="c0de", state="st4te")
    assert done.status == 409
    assert "was not asked for here" in done.words
    assert owner.get("/integrations/consent").status == 404
    denied = owner.get("/integrations/consent?error=access_denied")
    assert denied.status == 400
    assert "no consent" in denied.words
