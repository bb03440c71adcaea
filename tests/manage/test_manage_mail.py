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
