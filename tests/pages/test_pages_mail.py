"""The mail screens over a real relay: search, stories, deeds, exports, live lines; and that one
account sees nothing of another's."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlencode

import pytest

from pages.town import PASSWORD, Town, invited
from peers.person import Person
from peers.process import wait_until
from peers.relay import ident_of, mail
from waypost.pages.screens import logs

HTML_MAIL = "MIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\nX-Trace: seen\r\n"


@dataclass
class Sent:
    """What acme has in its log: one sent, one failed, one that waits with its body kept."""

    sent: str
    failed: str
    waits: str
    key: str


@pytest.fixture(scope="module")
def log(town: Town) -> Iterator[Sent]:
    relay, answers = town.relay, town.upstream.answers
    key = str(relay.key("acme", "--name", "shop"))
    _, text = relay.submit(key, mail(subject="Hello there"), ["ann@example.com"])
    sent = ident_of(text)
    answers["RCPT"] = "550 5.1.1 no such user here"
    _, text = relay.submit(key, mail("cy@example.com", subject="Gone"), ["cy@example.com"])
    failed = ident_of(text)
    del answers["RCPT"]
    answers["DATA"] = "451 4.3.0 not now"
    letter = mail("dan@example.com", "Waits", "<h1>Hi</h1>\r\n", HTML_MAIL)
    _, text = relay.submit(key, letter, ["dan@example.com"])
    waits = ident_of(text)
    relay.submit(key, b"From: x@elsewhere.example\r\n\r\n.\r\n", ["ann@example.com"])
    try:
        yield Sent(sent, failed, waits, key)
    finally:
        answers.clear()


def test_the_overview_counts(town: Town, log: Sent) -> None:
    page = town.person("owner").get("/overview")
    assert page.status == 200
    assert "sent today" in page.words
    assert "credits left" in page.words
    told = json.loads(town.person("read-only").get("/overview/days.json").text)
    assert len(told["t"]) == len(told["sent"]) == 30
    assert sum(told["sent"][-2:]) >= 1  # it may have been before midnight
    assert sum(told["failed"][-2:]) >= 1
    assert sum(told["accepted"]) >= 3


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", {"sent", "failed", "waits"}),
        ("to:ann@example.com", {"sent"}),
        ("ANN@EXAMPLE.COM", {"sent"}),
        ("status:failed", {"failed"}),
        ("status:queued", {"waits"}),
        ("key:shop to:cy@example.com", {"failed"}),
        ("upstream:main status:failed", {"failed"}),
        ("from:noreply@relay.test after:1h", {"sent", "failed", "waits"}),
        ("after:1h before:30m", set()),
        ("to:nobody@example.com", set()),
        ("key:nobody", set()),
        ('upstream:"no such one"', set()),
    ],
)
def test_search(town: Town, log: Sent, query: str, found: set[str]) -> None:
    page = town.person("developer").get("/logs?" + urlencode({"q": query}))
    assert page.status == 200, page.words
    ids = set(re.findall(r'data-id="([0-9a-f]{16})"', page.text))
    known = {log.sent: "sent", log.failed: "failed", log.waits: "waits"}
    assert {known[ident] for ident in ids if ident in known} == found


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("bogus", "search for an address, an id"),
        ("status:nope", "a status is one of"),
        ("to:a to:b", "said twice"),
        ("colour:red", "there is no"),
        ("after:yesterday", "is a day such as"),
        ('to:"a', "quotation mark"),
        ("id:12", "16 lower-case hex"),
        ("to:@", "@: "),
    ],
)
def test_a_search_that_cannot_be_read(town: Town, log: Sent, query: str, says: str) -> None:
    page = town.person("developer").get("/logs?" + urlencode({"q": query}))
    assert page.status == 400
    assert says in page.words.lower() or says in page.words


def test_an_id_leads_to_its_message(town: Town, log: Sent) -> None:
    page = town.person("developer").get(f"/logs?q={log.sent}")
    assert re.findall(r'data-id="([0-9a-f]{16})"', page.text) == [log.sent]


def test_the_story_of_a_failure(town: Town, log: Sent) -> None:
    page = town.person("read-only").get(f"/logs/{log.failed}")
    assert "There is no such mailbox at the recipient's domain." in page.words
    assert "550 5.1.1 no such user here" in page.words
    assert "C: RCPT TO:<cy@example.com>" in page.words  # the transcript
    assert "Failed; 1 credit refunded" in page.words
    assert "refund" in page.words
    assert "/retry" not in page.text  # it has ended, and a reader changes nothing
    assert "/again" not in page.text


def test_the_story_of_a_success_needs_no_transcript(town: Town, log: Sent) -> None:
    page = town.person("owner").get(f"/logs/{log.sent}")
    assert "The upstream took the message for this recipient." in page.words
    assert "no longer kept" in page.words
    assert "SMTP transcript" not in page.words


def test_the_body_while_it_is_kept(town: Town, log: Sent) -> None:
    owner = town.person("owner")
    page = owner.get(f"/logs/{log.waits}")
    assert "X-Trace" in page.words
    assert "<h1>Hi</h1>" not in page.text
    assert 'sandbox title="Preview' in page.text
    preview = owner.get(f"/logs/{log.waits}/preview")
    assert "<h1>Hi</h1>" in preview.text
    assert preview.headers["content-security-policy"].startswith("sandbox;")
    assert preview.headers["x-frame-options"] == "SAMEORIGIN"
    assert "<h1>Hi</h1>" not in owner.get(f"/logs/{log.waits}/source").text
    saved = owner.get(f"/logs/{log.waits}/source.eml")
    assert saved.headers["content-type"] == "application/octet-stream"
    assert saved.headers["content-disposition"].startswith("attachment")
    gone = owner.get(f"/logs/{log.sent}/source")
    assert gone.status == 409
    assert "no longer kept" in gone.words


def test_refusals_stand_beside(town: Town, log: Sent) -> None:
    page = town.person("read-only").get("/logs/refusals")
    assert "x@elsewhere.example" in page.words
    assert "shop" in page.words


def test_refusals_are_searched_and_exported(town: Town, log: Sent) -> None:
    """By what stands in the address, in the list and in the files alike."""
    reader, place = town.person("read-only"), "/logs/refusals"
    for ask, there in (
        ("", True),
        ("code:550", True),
        ("code:5.7.1 from:x@elsewhere.example after:1h", True),
        ("code:sender_not_allowed", True),
        ("peer:127.0.0.1 key:shop", True),
        ("to:ANN@example.com", True),
        ("to:cy@example.com", False),
        ("code:421", False),
        ("from:y@elsewhere.example", False),
        ("before:1h", False),
        ("key:nothing", False),
    ):
        query = urlencode({"q": ask})
        assert ("x@elsewhere.example in From" in reader.get(f"{place}?{query}").text) == there, ask
        for kind in ("csv", "ndjson"):
            page = reader.get(f"{place}/export.{kind}?{query}")
            assert page.headers["content-disposition"].endswith(f'"waypost-refusals.{kind}"')
            assert ("x@elsewhere.example in From" in page.text) == there, ask
        assert "x@elsewhere.example" not in town.person("stranger").get(f"{place}?q=code:550").words
    to = reader.get(f"{place}?q=to:nobody@else.test")
    assert "Nothing refused was to this address" in to.words
    wrong = reader.get(f"{place}?q=status:failed")
    assert wrong.status == 400 and "There is no “status:”" in wrong.words
    assert reader.get(f"{place}?cursor=x").status == 400
    # The lists lead to each other with what both can be asked.
    assert (
        f'href="{place}?q=from%3Ax%40a.example"'
        in reader.get("/logs?q=from:x@a.example+status:sent").text
    )
    assert (
        'href="/logs?q=from%3Ax%40a.example"'
        in reader.get(f"{place}?q=from:x@a.example+code:550").text
    )


def test_another_account_sees_nothing(town: Town, log: Sent) -> None:
    stranger = town.person("stranger")
    token = stranger.get("/settings").token
    for ident in (log.sent, log.failed, log.waits):
        for part in ("", "/source", "/source.eml", "/preview"):
            assert stranger.get(f"/logs/{ident}{part}").status == 404
        for deed in ("retry", "cancel", "again"):
            assert stranger.post(f"/logs/{ident}/{deed}", token).status == 404
        assert stranger.post("/logs/retry", token, id=ident).status == 404
        assert "data-id" not in stranger.get(f"/logs?q={ident}").text
    for path in ("/logs", "/logs/export.csv", "/logs/export.ndjson", "/logs/refusals", "/queue"):
        text = stranger.get(path).text
        assert "example.com" not in re.sub(r'placeholder="[^"]*"', "", text), path
    told = json.loads(stranger.get("/overview/days.json").text)
    own = stranger.get("/logs/export.ndjson").text.splitlines()
    assert sum(told["accepted"]) == sum(json.loads(line)["recipients"] for line in own)
    # The operator's server is not an account's to look at or change.
    for owner in (stranger, town.person("owner")):
        token = owner.get("/settings").token
        assert owner.get("/integrations/one?name=main").status == 404
        for deed in ("pause", "resume", "remove", "test", "trust", "change"):
            answer = owner.post(f"/integrations/{deed}", token, name="main", account="")
            assert answer.status == 404, deed
        answer = owner.post("/senders", token, address="boss@relay.test", upstream="main")
        assert answer.status == 404
        assert owner.post("/queue/pause", token, upstream="main").status == 404


def test_a_reader_changes_nothing(town: Town, log: Sent) -> None:
    reader = town.person("read-only")
    token = reader.get("/settings").token
    for path in (f"/logs/{log.waits}/cancel", "/logs/cancel", "/queue/retry", "/senders"):
        assert reader.post(path, token, id=log.waits).status == 403
    assert town.relay.message(log.waits)["status"] == "queued"


def test_many_at_once(town: Town, log: Sent) -> None:
    developer = town.person("developer")
    page = developer.get("/logs")
    fields = [("csrf", page.token), ("id", log.waits), ("id", log.sent), ("back", "/logs?q=")]
    body = "&".join(f"{name}={value}" for name, value in fields).encode()
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    done = developer.ask("POST", "/logs/retry", body, kind)
    assert (done.status, done.location) == (303, "/logs?q=")
    told = developer.get("/logs").words
    assert "1 due now, 1 left alone" in told
    assert developer.post("/logs/retry", page.token).status == 400
    assert developer.post("/logs/retry", page.token, id="zz").status == 404


def test_send_again_is_a_new_message(town: Town, log: Sent) -> None:
    developer, relay = town.person("developer"), town.relay
    before = relay.credits()
    # Refused until the new one is accepted: a copy that was sent meanwhile would have no body left.
    done = developer.submit(f"/logs/{log.waits}", f"/logs/{log.waits}/again")
    assert done.status == 303, done.words
    new = done.location.rpartition("/")[2]
    assert new != log.waits
    town.upstream.answers.clear()
    relay.cli("queue", "retry", new)
    wait_until(lambda: relay.message(new)["status"] == "sent", "the second message")
    shown = relay.message(new)
    assert [found["address"] for found in shown["recipients"]] == ["dan@example.com"]
    assert relay.credits() == before - 1
    arrived = [m for m in town.upstream.to("dan@example.com") if new.encode() in m.octets]
    assert len(arrived) == 1
    assert arrived[0].octets.lower().count(b"received:") == 1
    # Of one whose body is gone nothing can be sent.
    answer = developer.submit("/logs", f"/logs/{log.sent}/again")
    assert answer.status == 409
    assert "no longer kept" in answer.words
    relay.audit()


def test_send_again_goes_to_its_own_recipients_alone(town: Town, log: Sent) -> None:
    """An MTA's key: the header names a list, the envelope one of its members."""
    key = str(town.relay.key("acme", "--name", "mta", "--recipients", "envelope"))
    town.upstream.answers["DATA"] = "451 4.3.0 not now"
    _, text = town.relay.submit(key, mail("list@example.com"), ["fay@example.com"])
    town.upstream.answers.clear()
    ident = ident_of(text)
    developer = town.person("developer")
    done = developer.submit(f"/logs/{ident}", f"/logs/{ident}/again")
    new = done.location.rpartition("/")[2]
    shown = town.relay.message(new)
    assert [found["address"] for found in shown["recipients"]] == ["fay@example.com"]


def test_cancel_and_the_ledger(town: Town, log: Sent) -> None:
    developer = town.person("developer")
    town.upstream.answers["DATA"] = "451 4.3.0 not now"
    _, text = town.relay.submit(log.key, mail("eve@example.com"), ["eve@example.com"])
    town.upstream.answers.clear()
    ident = ident_of(text)
    done = developer.submit(f"/logs/{ident}", f"/logs/{ident}/cancel")
    assert done.location == f"/logs/{ident}"
    assert "Cancelled; 1 credit refunded" in developer.get(f"/logs/{ident}").words
    assert developer.submit("/logs", f"/logs/{ident}/cancel").status == 409


@pytest.mark.slow
def test_lines_come_live(town: Town, log: Sent) -> None:
    """Of this account and this search alone; nothing in a line can end its event."""
    reader, stranger = town.person("read-only"), town.person("stranger")
    streams = [_live(reader, "?q="), _live(reader, "?q=to:zoe@example.com"), _live(stranger, "")]
    try:
        hostile = "data: x\r\n event: bad"
        letter = mail("liv@example.com", f"Live one {hostile}".replace("\r\n", "\r\n"))
        town.relay.submit(log.key, letter, ["liv@example.com"])
        first = _until(streams[0], "liv@example.com")
        assert first.startswith("event: lines\nid: ")
        assert "\nevent: bad" not in first
        town.relay.submit(log.key, mail("zoe@example.com"), ["zoe@example.com"])
        assert "liv@" not in _until(streams[1], "zoe@example.com")
        assert streams[2].sock is not None
        streams[2].sock.settimeout(2.5)
        with pytest.raises(TimeoutError):
            while True:
                line = _answers[id(streams[2])].readline()
                assert line.startswith(b":") or line == b"\n", line
    finally:
        for stream in streams:
            stream.close()


_answers: dict[int, http.client.HTTPResponse] = {}


def _live(person: Person, query: str) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("127.0.0.1", person.port, timeout=120)
    cookies = "; ".join(f"{name}={value}" for name, value in person.cookies.items())
    connection.request("GET", f"/logs/live{query}", headers={"Cookie": cookies})
    answer = connection.getresponse()
    assert answer.getheader("content-type", "").startswith("text/event-stream")
    assert answer.readline().startswith(b":")
    answer.readline()
    _answers[id(connection)] = answer
    return connection


def _until(stream: http.client.HTTPConnection, word: str) -> str:
    """The event that has the word in it."""
    event = b""
    while True:
        line = _answers[id(stream)].readline()
        assert line, "the stream ended"
        if line == b"\n":
            if word.encode() in event:
                return event.decode()
            event = b""
        elif not line.startswith(b":"):
            assert line.startswith((b"event: lines\n", b"id: ", b"data: ")), line
            event += line


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\n\n", "\u2028", "\x0b"])
def test_no_text_ends_an_event(end: str) -> None:
    told = logs.event("lines", f"a{end}event: bad{end}id: 7", "1").decode()
    head, _, rest = told.partition("data: ")
    assert head == "event: lines\nid: 1\n" and told.endswith("\n\n")
    lines = f"data: {rest}".removesuffix("\n\n").replace("\r", "\n").split("\n")
    assert all(line.startswith("data: ") for line in lines)


def test_a_live_line_moves_on(town: Town, log: Sent) -> None:
    """What came as queued comes again once it has ended."""
    stream = _live(town.person("read-only"), "")
    try:
        town.upstream.answers["DATA"] = "451 4.3.0 not now"
        _, text = town.relay.submit(log.key, mail("mov@example.com"), ["mov@example.com"])
        town.upstream.answers.clear()
        assert ">queued<" in _until(stream, "mov@example.com")
        done = town.person("developer").submit("/logs", f"/logs/{ident_of(text)}/retry")
        assert done.status == 303
        assert ">sent<" in _until(stream, ident_of(text))
    finally:
        stream.close()


@pytest.mark.parametrize("how", ["logout", "session", "role", "membership"])
def test_a_live_page_ends_with_what_let_it_in(town: Town, log: Sent, how: str) -> None:
    """At once, not when the stream would have ended anyway; nothing that came later is told."""
    email = f"{how}@acme.test"
    person = Person(town.relay.http, cookies=invited(town.relay, email, "acme", "developer"))
    stream, control = _live(person, ""), _live(town.person("read-only"), "")
    try:
        if how == "logout":
            person.submit("/settings", "/logout")
        elif how == "session":
            other = town.nobody()
            other.log_in(email, PASSWORD)
            other.submit("/settings", "/settings/sessions/end-others")
        elif how == "role":
            town.relay.cli("member", "add", email, "--account", "acme", "--role", "read-only")
        else:
            town.person("owner").submit(
                "/settings/members", "/settings/members/remove", email=email
            )
        town.relay.submit(log.key, mail(f"{how}@example.com"), [f"{how}@example.com"])
        told = _answers[id(stream)].read()  # to its end; the stream alone would last 5 minutes
        assert f"{how}@example.com".encode() not in told
        assert _until(control, f"{how}@example.com")
    finally:
        stream.close()
        control.close()


def test_the_queue_by_upstream(town: Town, log: Sent) -> None:
    operator = town.person("operator")
    done = operator.submit("/integrations", "/queue/pause", upstream="main", account="")
    assert done.location == "/queue"
    try:
        _, text = town.relay.submit(log.key, mail("q@example.com"), ["q@example.com"])
        page = operator.get("/queue")
        assert "Somebody paused it." in page.words
        assert re.search(r"Waiting \d+ message", page.words), page.words
        mine = town.person("owner").get("/queue")
        assert "the operator's" in mine.words
        assert "/queue/resume" not in mine.text
        assert "Needs attention" in operator.get("/overview").words
    finally:
        done = operator.submit("/integrations", "/queue/resume", upstream="main", account="")
    assert "main goes on" in operator.get("/queue").words
    ident = ident_of(text)
    wait_until(lambda: town.relay.message(ident)["status"] == "sent", "the message")
