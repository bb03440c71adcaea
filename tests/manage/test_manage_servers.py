"""Upstreams over HTTP: tested before they are saved, changed, paused, trusted, removed."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from typing import Any

import apsw
import pytest

from manage.conftest import Manager
from peers.http_client import Client
from peers.process import wait_until
from peers.recording import HANG, Recording, RecordingServer
from peers.relay import Relay

PASSWORD = "Planted-Secret-79"


def fields(port: int, **more: Any) -> dict[str, Any]:
    return {"sender": "s@up.test", "host": "127.0.0.1", "port": port, "encryption": "none", **more}


def test_what_works_is_saved(whole: Manager, house: Relay, book: Recording) -> None:
    made = whole("POST", "/upstreams", {"name": "works", **fields(book.port, dailyCap=50)})
    assert (made.status, made.data) == (201, house.cli("upstream", "show", "works"))
    again = whole("POST", "/upstreams", {"name": "works", **fields(book.port)})
    assert (again.status, again.code) == (409, "WRONG_STATE")
    tested = whole("POST", "/upstreams/works/test", {"sendTo": "me@x.test"})
    assert tested.data["ok"] is True
    assert [m.recipients for m in book.messages] == [["me@x.test"]]
    changed = whole("PATCH", "/upstreams/works", {"connections": 2, "dailyCap": None}).data
    assert (changed["connections"], changed["dailyCap"], changed["host"]) == (2, None, "127.0.0.1")
    paused = whole("POST", "/upstreams/works/pause", {"reason": "moving"}).data
    assert (paused["state"], paused["reason"]) == ("paused", "moving")
    assert whole("POST", "/upstreams/works/resume").data["state"] == "ok"
    refused = whole("POST", "/upstreams/works/trust")
    assert (refused.status, refused.code) == (409, "WRONG_STATE")  # nothing to trust without TLS
    gone = whole("DELETE", "/upstreams/works")
    assert gone.data["senders"] == ["s@up.test"]
    assert whole("GET", "/upstreams/works").status == 404


def test_what_fails_is_not_saved(whole: Manager, book: Recording) -> None:
    book.answers["MAIL"] = "553 5.7.1 not owned by you"
    failed = whole("POST", "/upstreams", {"name": "fails", **fields(book.port)})
    assert (failed.status, failed.code, failed.told["field"]) == (422, "TEST_FAILED", "sender")
    assert "sender_rejected" in failed.told["error"]
    assert whole("GET", "/upstreams/fails").status == 404
    tried = whole("POST", "/upstream-tests", fields(book.port)).data
    assert (tried["ok"], tried["diagnosis"]) == (False, "sender_rejected")
    assert [step["name"] for step in tried["steps"]][-1] == "MAIL FROM"
    saved = whole("POST", "/upstreams", {"name": "fails", **fields(book.port, test=False)})
    assert saved.status == 201
    assert whole("POST", "/upstreams/fails/test").data["ok"] is False
    assert whole("DELETE", "/upstreams/fails").status == 200


def test_a_password_goes_nowhere_else(whole: Manager, house: Relay, book: Recording) -> None:
    login = fields(book.port, username="u", password=PASSWORD, test=False)
    told = [whole("POST", "/upstreams", {"name": "sealed", **login})]
    for moved in ({"host": "localhost"}, {"port": 2525}, {"username": "other"}):
        answer = whole("PATCH", "/upstreams/sealed", {**moved, "test": False})
        assert (answer.status, answer.told["field"]) == (400, "password")
        told.append(answer)
    again = {"host": "localhost", "password": PASSWORD + "2", "test": False}
    told.append(whole("PATCH", "/upstreams/sealed", again))
    assert told[-1].data["host"] == "localhost"
    told.append(whole("POST", "/upstreams/sealed/test"))
    told.append(whole("POST", "/upstreams", {"name": "sealed", **login}))
    told.append(whole("PATCH", "/upstreams/sealed", {"password": 5}))
    told.append(whole("PATCH", "/upstreams/sealed", {"password": PASSWORD + "\0"}))
    assert [answer.status for answer in told[-2:]] == [400, 400]
    assert PASSWORD not in json.dumps([answer.told for answer in told])
    assert PASSWORD not in house.log.read_text()
    told = [whole("DELETE", "/upstreams/sealed")]
    for file in house.data.rglob("*"):
        if file.is_file():
            assert PASSWORD.encode() not in file.read_bytes(), file


def test_the_trail_tells_whose_deed_it_was(whole: Manager, house: Relay, book: Recording) -> None:
    login = fields(book.port, username="u", password=PASSWORD, test=False)
    whole("POST", "/upstreams", {"name": "told", **login})
    whole("DELETE", "/upstreams/told")
    db = apsw.Connection(str(house.data / "waypost.db"), flags=apsw.SQLITE_OPEN_READONLY)
    found = list(db.execute("SELECT actor, deed, subject FROM trail ORDER BY id DESC LIMIT 2"))
    db.close()
    assert found[1] == ("token 1 whole", "API POST upstreams", "upstreams told s@up.test")
    assert found[0][1:] == ("API DELETE upstreams", "upstreams/told")


def test_tests_have_a_rate(house: Relay, book: Recording) -> None:
    house.cli("account", "create", "tester")
    own = Manager(Client(house.http, house.cli("token", "create", "--account", "tester")["token"]))
    login = fields(book.port, username="u", password="p")
    answers = [own("POST", "/upstream-tests", login) for _ in range(31)]
    assert [answer.status for answer in answers] == [200] * 30 + [429]
    assert answers[-1].code == "RATE_LIMITED"
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 61
    assert own("POST", "/upstreams", {"name": "x", **login}).status == 429
    own.client.close()


@pytest.mark.slow  # a stop waits ten seconds for calls in progress
def test_slow_tests_keep_nobody_waiting(make_relay: Any, recording_server: RecordingServer) -> None:
    """Servers that say nothing: other calls are answered, one more test is not, a stop is quick."""
    recording_server.book.answers["greeting"] = HANG
    port = recording_server.book.port
    relay: Relay = make_relay()
    token = relay.cli("token", "create")["token"]
    waiting = [Manager(Client(relay.http, token)) for _ in range(4)]
    threads = [
        threading.Thread(target=_ignoring, args=(one, fields(port)), daemon=True) for one in waiting
    ]
    for thread in threads:
        thread.start()
    wait_until(lambda: recording_server.book.sessions == 4, "four tests under way")
    own = Manager(Client(relay.http, token))
    began = time.monotonic()
    assert own("GET", "/accounts").status == 200
    more = own("POST", "/upstream-tests", fields(port))
    assert (more.status, more.headers["retry-after"]) == (503, "5")
    assert time.monotonic() - began < 15  # half of what a silent server is waited for
    own.client.close()
    began = time.monotonic()
    relay.signal(signal.SIGTERM)
    assert relay.stop() == 0
    assert time.monotonic() - began < 25
    for thread in threads:
        thread.join(60)


def _ignoring(manager: Manager, body: dict[str, Any]) -> None:
    try:
        manager("POST", "/upstream-tests", body)
    except (OSError, AssertionError, ValueError):
        pass  # the relay ended
    except Exception as error:  # noqa: BLE001  (http.client has its own kinds)
        assert "Remote" in type(error).__name__ or "Disconnected" in type(error).__name__
    finally:
        manager.client.close()


def test_a_body_that_stops_half_way(whole: Manager, house: Relay) -> None:
    with socket.create_connection(("127.0.0.1", house.http), timeout=120) as raw:
        raw.sendall(
            b"POST /api/v1/manage/accounts HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n"
            b"Authorization: Bearer %s\r\n\r\n" % whole.client.key.encode() + b'{"name":"half'
        )
    assert whole("GET", "/accounts/half").status == 404
