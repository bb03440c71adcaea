"""Alerts of a whole relay: what an operator's own server is told when an upstream is in trouble."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from peers.process import wait_until
from peers.receiver import Receiver
from peers.recording import Recording
from peers.relay import SENDER, Relay, mail

ANN = "ann@example.com"
SECRET = "whsec_" + "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXowMTIzNDU="


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver(SECRET)
    yield found
    found.stop()
    assert found.wrong == []


@pytest.mark.slow
def test_paused_held_and_recovered_are_told_of(
    tmp_path: Path, receiver: Receiver, recording: Recording
) -> None:
    """With a secret that was made; a SIGHUP aims elsewhere; a receiver that is away stops no
    mail."""
    alerts = f'url = "{receiver.url}"'
    relay = Relay(tmp_path / "relay", tables={"alerts": alerts})
    try:
        relay.start()
        receiver.secret = (relay.data / "alerts.secret").read_text().strip()
        key = relay.furnish(recording.port)
        recording.answers["AUTH"] = recording.answers["MAIL"] = "530 5.7.0 log in first"
        relay.submit(key, mail(), [ANN])
        wait_until(lambda: len(receiver.alerts) == 1, "an alert")
        told = receiver.alerts[0]
        assert told["type"] == "upstream.paused"
        assert (told["data"]["upstream"], told["data"]["host"]) == ("main", "127.0.0.1")
        assert "log in first" in told["data"]["text"]

        receiver.answers = ["hang"]
        receiver.hang_s = 1
        recording.answers["MAIL"] = lambda line: "250 2.1.0 ok"
        relay.cli("upstream", "resume", "main")
        wait_until(lambda: len(recording.messages) == 1, "the mail, whoever hangs")
        wait_until(
            lambda: receiver.alerts[-1]["type"] == "upstream.recovered", "the end of what was told"
        )

        receiver.secret = SECRET
        relay.write_config(tables={"alerts": f'{alerts}\nsecret = "{SECRET}"\ncredits = 999'})
        relay.signal(signal.SIGHUP)
        wait_until(lambda: "reloaded" in relay.log.read_text(), "the reload")
        recording.answers["MAIL"] = "553 5.7.1 not your address"
        relay.submit(key, mail(subject="second"), [ANN])
        wait_until(lambda: receiver.alerts[-1]["type"] == "sender.held", "the alert")
        assert receiver.alerts[-1]["data"]["sender"] == SENDER

        recording.answers["MAIL"] = lambda line: "250 2.1.0 ok"
        relay.cli("upstream", "resume", "main")
        wait_until(lambda: receiver.alerts[-1]["type"] == "sender.released", "its end, too")
        assert receiver.alerts[-1]["data"]["sender"] == SENDER
    finally:
        relay.stop()
    assert SECRET not in relay.log.read_text()


def test_a_disabled_account_holds_its_queue_until_it_is_enabled(
    relay: Relay, recording: Recording
) -> None:
    """What was accepted waits, another account's mail goes on."""
    recording.answers["MAIL"] = "451 4.3.0 later"
    key = relay.furnish(recording.port)
    relay.cli("account", "create", "other", "--credits", "10")
    other = relay.key("other")
    code, text = relay.submit(key, mail(), [ANN])
    assert (code, text.split()[0]) == (250, "queued:")
    relay.cli("account", "disable", "acme")
    recording.answers.clear()
    relay.cli("queue", "retry", "--all")
    assert relay.submit(other, mail(subject="other"), [ANN])[1].startswith("OK:")
    assert [message.octets.count(b"Subject: other") for message in recording.messages] == [1]
    shown = relay.message(text.split()[-1])
    assert shown["status"] == "queued"
    assert len(shown["recipients"][0]["attempts"]) == 1
    assert relay.credits() == 999
    relay.cli("account", "enable", "acme")
    relay.cli("queue", "retry", "--all")
    wait_until(lambda: len(recording.messages) == 2, "the mail that was held")
    wait_until(lambda: relay.message(shown["id"])["status"] == "sent", "its log")
    relay.audit()
