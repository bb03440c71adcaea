"""The peers themselves, before anybody blames Waypost: each keeps what a client hands it."""

from __future__ import annotations

import smtplib
from pathlib import Path

import pytest

from peers import need as need_module
from peers.postfix import upstream_postfix
from peers.process import wait_until
from peers.recording import Recording, RecordingServer
from peers.relay import any_certificate, mail, stuffed, submit
from peers.upstreams import Aiosmtpd, SmtpSink

HOSTILE = b"Subject: dots\r\n\r\n.\r\n..\r\nbare\n.\r\n\r\n.x\r\n"


def hand_over(port: int, message: bytes) -> tuple[int, str]:
    with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
        client.ehlo()
        return submit(client, message, ["ann@example.com"])


@pytest.mark.parametrize("message", [HOSTILE, b"", b"x\r\n", b".\r\n", mail()])
def test_recording_keeps_exact_octets(recording: Recording, message: bytes) -> None:
    assert hand_over(recording.port, message)[0] == 250
    assert [m.octets for m in recording.messages] == [message]
    assert recording.messages[0].recipients == ["ann@example.com"]


def test_recording_answers_as_told(recording_server: RecordingServer) -> None:
    book = recording_server.book
    book.answers["RCPT"] = lambda line: "550 5.1.1 nobody" if "bob" in line else "250 ok"
    book.answers["dot"] = "451 4.3.0 later"
    with smtplib.SMTP("127.0.0.1", book.port, timeout=20) as client:
        client.ehlo()
        assert submit(client, mail(), ["bob@example.com"]) == (550, "5.1.1 nobody")
        client.rset()
        assert submit(client, mail(), ["ann@example.com"]) == (451, "4.3.0 later")
    assert book.messages == []
    recording_server.away()
    with pytest.raises(OSError):
        hand_over(book.port, mail())
    recording_server.start()
    book.answers.clear()
    assert hand_over(book.port, mail())[0] == 250


def test_aiosmtpd_takes_and_fails(aiosmtpd: Aiosmtpd) -> None:
    assert hand_over(aiosmtpd.port, mail())[0] == 250
    aiosmtpd.handler.answers["DATA"] = "554 5.7.1 no"
    assert hand_over(aiosmtpd.port, mail()) == (554, "5.7.1 no")
    assert [m[2] for m in aiosmtpd.handler.messages] == [mail()]


def test_smtp_sink_keeps_messages(smtp_sink: SmtpSink) -> None:
    assert hand_over(smtp_sink.port, mail())[0] == 250
    wait_until(lambda: len(smtp_sink.messages()) == 1, "the dump")
    assert smtp_sink.messages()[0].endswith(mail().replace(b"\r\n", b"\n"))


def test_smtp_sink_counts(tmp_path: Path) -> None:
    sink = SmtpSink(tmp_path, keep=False)
    try:
        assert hand_over(sink.port, mail())[0] == 250
        wait_until(lambda: sink.count() == 1, "the count")
    finally:
        sink.stop()


def test_postfix_passes_on(recording: Recording, tmp_path: Path) -> None:
    postfix = upstream_postfix(tmp_path, recording.port, "way", "post")
    try:
        with smtplib.SMTP("127.0.0.1", postfix.port, timeout=20) as client:
            client.starttls(context=any_certificate())
            client.login("way@postfix.test", "post")
            assert submit(client, mail(), ["ann@example.com"])[0] == 250
        wait_until(lambda: len(recording.messages) == 1, "Postfix to pass it on")
    finally:
        postfix.stop()
    assert b"From: Acme <noreply@relay.test>\r\n" in recording.messages[0].octets


@pytest.mark.parametrize(
    ("plain", "wire"),
    [(b"", b""), (b".", b"..\r\n"), (b"a\r\n.b\r\n", b"a\r\n..b\r\n"), (b"a\n.b", b"a\n.b\r\n")],
)
def test_dots_are_doubled(plain: bytes, wire: bytes) -> None:
    assert stuffed(plain) == wire


def test_a_missing_program_fails_where_all_are_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_REQUIRE", "all")
    with pytest.raises(pytest.fail.Exception, match="needs no-such-program"):
        need_module.need("no-such-program")
    monkeypatch.delenv("TEST_REQUIRE")
    with pytest.raises(pytest.skip.Exception):
        need_module.need("no-such-program")
