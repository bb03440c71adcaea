"""`Idempotency-Key`: one message, one charge, however often, parallel and across a kill."""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from peers.http_client import Answer, Client
from peers.process import wait_until
from peers.recording import Recording
from peers.relay import SENDER, Relay

KEY = {"Idempotency-Key": "order 17"}


def test_the_first_answer_again(
    client: Client, book: Recording, house: Relay, account: str
) -> None:
    first = client.send(KEY)
    assert "idempotent-replayed" not in first.headers
    for _ in range(3):
        again = client.send(KEY)
        assert (again.status, again.told) == (first.status, first.told)
        assert again.headers["idempotent-replayed"] == "true"
    other = client.send(KEY, subject="another")
    assert (other.status, other.code) == (409, "IDEMPOTENCY_CONFLICT")
    assert "retry-after" not in other.headers
    assert client.send({"Idempotency-Key": "x" * 256}).status == 200
    assert client.send({"Idempotency-Key": "x" * 257}).status == 400
    assert (len(book.messages), house.credits(account)) == (2, 998)


def test_another_account_has_keys_of_its_own(client: Client, house: Relay) -> None:
    first = client.send(KEY)
    house.cli("account", "create", "stranger", "--credits", "5")
    stranger = Client(house.http, house.key("stranger"))
    assert stranger.send(KEY).data["messageId"] != first.data["messageId"]
    stranger.close()


def test_a_hundred_at_once(client: Client, book: Recording, house: Relay, account: str) -> None:
    def one(_: int) -> Answer:
        own = Client(client.port, client.key)
        try:
            return own.send(KEY)
        finally:
            own.close()

    with ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(one, range(100)))
    counted = Counter(answer.status for answer in answers)
    assert set(counted) <= {200, 409}
    assert counted[200] >= 1
    assert {a.data["messageId"] for a in answers if a.status == 200} == {
        client.send(KEY).data["messageId"]
    }
    for answer in answers:
        if answer.status == 409:
            assert int(answer.headers["retry-after"]) >= 1
    assert (len(book.messages), house.credits(account)) == (1, 999)


@pytest.mark.parametrize(
    ("before", "fields"),
    [
        ({"RCPT": "550 5.1.1 no"}, {}),
        ({}, {"from": "x@y.test"}),
        ({}, {"to": [f"a{n}@b.test" for n in range(101)]}),
    ],
    ids=["refused upstream", "refused at the door", "too many"],
)
def test_a_failed_call_frees_the_key(
    client: Client, book: Recording, before: dict[str, Any], fields: dict[str, Any]
) -> None:
    book.answers.update(before)
    assert client.send(KEY, **fields).status in (400, 502)
    book.answers.clear()
    good = client.send(KEY, subject="mended")  # another body: the key stands for nothing
    assert good.status == 200
    assert "idempotent-replayed" not in good.headers
    assert client.send(KEY, subject="mended").told == good.told


def test_a_batch_is_one_call(client: Client, book: Recording, house: Relay, account: str) -> None:
    body = [{"to": "a@b.test", "text": "x"}, {"to": "wrong"}, {"to": "c@d.test", "text": "y"}]
    first = client.call("POST", "/api/v1/email/batch", body, KEY)
    again = client.call("POST", "/api/v1/email/batch", body, KEY)
    assert again.told == first.told
    assert again.headers["idempotent-replayed"] == "true"
    assert (len(book.messages), house.credits(account)) == (2, 998)
    assert client.send(KEY).status == 409


def test_a_kill_between_commit_and_answer(make_relay: Any, recording: Recording) -> None:
    relay: Relay = make_relay(settings="inline_wait = 120.0")
    key = relay.furnish(recording.port)
    recording.answers["dot"] = "hang"
    good = {"from": SENDER, "to": "ann@example.com", "text": "x"}
    several = json.dumps([{"to": "nobody"}, good, {**good, "to": ""}]).encode()

    def call() -> Answer | None:
        own = Client(relay.http, key)
        try:
            return own.send(KEY, **{"from": SENDER})
        except OSError:
            return None
        finally:
            own.close()

    def batch() -> Answer | None:
        own = Client(relay.http, key)
        try:
            return own.call("POST", "/api/v1/email/batch", several, {"Idempotency-Key": "several"})
        except OSError:
            return None
        finally:
            own.close()

    with ThreadPoolExecutor(2) as pool:
        lost = [pool.submit(call), pool.submit(batch)]
        wait_until(lambda: len(relay.messages()) == 2, "the commits")
        relay.kill9()
        assert [one.result() for one in lost] == [None, None]
    recording.answers.clear()
    relay.start()
    again = call()
    assert again is not None
    assert again.status in (200, 202)
    assert again.headers["idempotent-replayed"] == "true"
    parts = batch()
    assert parts is not None and parts.headers["idempotent-replayed"] == "true"
    assert [part["ok"] for part in parts.data] == [False, True, False]  # each has its place
    told = {again.data["messageId"], parts.data[1]["data"]["messageId"]}
    assert told == {message["id"] for message in relay.messages()}
    assert relay.credits() == 998
