"""What arrives is what was sent, octet for octet, but for a short list; Bcc never shows."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from peers.process import wait_until
from peers.recording import Recording
from peers.relay import SENDER, Relay, mail, submit
from stories.letters import Letter, letter, without_received

NO_LIMITS = {"tables": {"limits": "rate_per_minute = 0"}}


def send_all(
    relay: Relay, recording: Recording, key: str, letters: list[Letter]
) -> dict[str, list[bytes]]:
    """Submits every letter in one session; recipient -> what arrived for it."""
    with relay.session(key) as client:
        for each in letters:
            code, text = submit(client, each.sent, each.recipients)
            assert code == 250, (text, each.sent)
    wait_until(lambda: len(recording.messages) >= len(letters), "all of it upstream", 60)
    arrived: dict[str, list[bytes]] = {}
    for message in recording.messages:
        for recipient in message.recipients:
            arrived.setdefault(recipient, []).append(message.octets)
    return arrived


@pytest.mark.slow
def test_two_hundred_messages_arrive_as_they_were_sent(
    make_relay: Callable[..., Relay], recording: Recording
) -> None:
    relay = make_relay(**NO_LIMITS)
    key = relay.furnish(recording.port, credits="unlimited")
    letters = [letter(seed) for seed in range(200)]
    arrived = send_all(relay, recording, key, letters)
    for each in letters:
        for recipient in each.recipients:
            (octets,) = arrived[recipient]
            assert without_received(octets) == each.kept
    eight_bit = {m.octets for m in recording.messages if "BODY=8BITMIME" in m.parameters.upper()}
    for each in letters:
        if each.eight_bit:
            assert arrived[each.recipients[0]][0] in eight_bit
    relay.audit()


@pytest.mark.slow
def test_bcc_never_shows_in_a_thousand_messages(
    make_relay: Callable[..., Relay], recording: Recording
) -> None:
    relay = make_relay(settings="inline_wait = 0", **NO_LIMITS)
    key = relay.furnish(recording.port, credits="unlimited")
    letters = [letter(seed) for seed in range(1000, 2000)]
    arrived = send_all(relay, recording, key, letters)
    for each in letters:
        for hidden in each.hidden:
            assert len(arrived[hidden]) == 1
            assert hidden.encode() not in arrived[hidden][0].lower()
    for message in recording.messages:
        assert b"blind" not in message.octets.lower()


def test_the_letters_do_hide_somebody() -> None:
    """Control: were nothing taken out, the addresses would show."""
    visible = [x for x in map(letter, range(200)) if x.hidden[0].encode() in x.sent]
    assert len(visible) > 100


def test_a_dkim_signature_survives(relay: Relay, recording: Recording) -> None:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    public = private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    record = b"v=DKIM1; k=rsa; p=" + base64.b64encode(public)
    extra = (
        "Date: Mon, 01 Jan 2024 00:00:00 +0000\r\nMessage-ID: <signed@client.test>\r\n"
        "MIME-Version: 1.0\r\nContent-Type: text/plain;\r\n\tcharset=utf-8\r\n"
        "Bcc: blind@example.com\r\n"
    )
    letter_text = mail(extra=extra, body="dots:\r\n.\r\n..\r\n  trailing \r\n\r\n")
    signed_headers = [b"from", b"to", b"subject", b"date", b"message-id", b"content-type"]
    signature = dkim.sign(letter_text, b"sel", b"relay.test", pem, include_headers=signed_headers)
    key = relay.furnish(recording.port)
    code, _ = relay.submit(key, signature + letter_text, ["ann@example.com"])
    assert code == 250
    octets = recording.messages[0].octets
    assert b"Bcc" not in octets

    def dns(name: bytes, timeout: int = 5) -> bytes:
        assert name.rstrip(b".") == b"sel._domainkey.relay.test"
        return record

    assert dkim.verify(octets, dnsfunc=dns)
    assert not dkim.verify(octets.replace(b"dots", b"d0ts"), dnsfunc=dns)


@pytest.mark.slow
def test_what_was_missing_is_added_under_received(relay: Relay, recording: Recording) -> None:
    key = relay.furnish(recording.port)
    code, text = relay.submit(key, b"To: ann@example.com\r\n\r\nHi\r\n", ["ann@example.com"])
    assert code == 250
    octets = recording.messages[0].octets
    received = octets[: -len(without_received(octets))].decode()
    assert re.fullmatch(
        r"Received: from \S+ \(\[127\.0\.0\.1\]\)\s+by relay\.test with ESMTPSA\s+"
        rf"id {text.split()[-1]};\s+[A-Z][a-z]{{2}}, .* [+-]\d{{4}}\r\n",
        received,
    ), received
    rest = without_received(octets)
    added, kept = rest.split(b"To: ", 1)
    assert kept == b"ann@example.com\r\n\r\nHi\r\n"
    assert {x.split(b":")[0] for x in added.split(b"\r\n")[:-1]} == {
        b"Date",
        b"Message-ID",
        b"From",
    }
    assert SENDER.encode() in added


def test_private_received_leaves_the_client_out(
    make_relay: Callable[..., Relay], recording: Recording
) -> None:
    relay = make_relay(settings='received = "private"')
    key = relay.furnish(recording.port)
    assert relay.submit(key, mail(), ["ann@example.com"])[0] == 250
    octets = recording.messages[0].octets
    field = octets[: -len(without_received(octets))]
    assert b"by relay.test" in field
    assert b"127.0.0.1" not in field


def test_bare_line_ends_are_mended(relay: Relay, recording: Recording) -> None:
    key = relay.furnish(recording.port)
    body = "a\nb\rc\r\r\nd\n.\ne\r\n"
    extra = "Date: Mon, 01 Jan 2024 00:00:00 +0000\r\nMessage-ID: <bare@client.test>\r\n"
    assert relay.submit(key, mail(extra=extra, body=body), ["ann@example.com"])[0] == 250
    assert len(recording.messages) == 1
    mended = without_received(recording.messages[0].octets)
    assert mended == mail(extra=extra, body="a\r\nb c\r\nd\r\n.\r\ne\r\n")
