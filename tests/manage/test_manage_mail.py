"""Mail through the management API: a message of the log sent again."""

from __future__ import annotations

from manage.conftest import Manager
from peers.http_client import Client
from peers.recording import Recording
from peers.relay import Relay


def test_send_again(
    ann: Manager, whole: Manager, house: Relay, accounts: list[str], book: Recording
) -> None:
    ids = {}
    for name in accounts:
        client = Client(house.http, house.key(name))
        book.answers["RCPT"] = "550 5.1.1 no such user"
        assert client.send(to=f"{name}@example.com").status == 502
        book.answers.clear()
        ids[name] = client.get("/api/v1/email/messages?limit=1").data[0]["id"]
        done = client.send(subject="gone").data["messageId"]
        assert whole("POST", f"/messages/{done}/resend").code == "BODY_GONE"
        client.close()
    before = house.credits("ann")
    book.messages.clear()
    for manager in (ann, whole):
        told = manager("POST", f"/messages/{ids['ann']}/resend")
        assert told.status == 201, told
        assert told.data["id"] != ids["ann"]
        assert (told.data["status"], told.data["account"]) == ("sent", "ann")
    assert [m.recipients for m in book.messages] == [["ann@example.com"]] * 2
    assert house.credits("ann") == before - 2
    assert ann("POST", f"/messages/{ids['bob']}/resend").status == 404
    whole("PATCH", "/accounts/ann", {"credits": 0})
    refused = ann("POST", f"/messages/{ids['ann']}/resend")
    assert (refused.status, refused.code) == (402, "INSUFFICIENT_CREDITS")
    whole("PATCH", "/accounts/ann", {"credits": before})
    assert len(book.messages) == 2
    house.audit()


def test_refusals_are_found_by_whom_they_were_to(
    ann: Manager, whole: Manager, house: Relay, accounts: list[str]
) -> None:
    """Of one's own account alone."""
    for name in accounts:
        client = Client(house.http, house.key(name))
        letter = {"from": "nobody@else.test", "to": f"{name}.late@example.com"}
        assert client.send(None, **letter).status == 400
        client.close()
    (line,) = ann("GET", "/refusals?to=ann.late@example.com").data
    assert (line["account"], line["to"]) == ("ann", ["ann.late@example.com"])
    assert ann("GET", "/refusals?to=bob.late@example.com").data == []
    (line,) = whole("GET", "/refusals?to=bob.late@example.com").data
    assert line["account"] == "bob"
