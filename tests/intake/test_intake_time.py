"""Slow, silent and unread clients, with time as an argument; caps, memory, reload and stop."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from waypost.intake.house import STRANGER_S

HEAD = b"From: app@example.com\r\nTo: to@example.net\r\n\r\n"


def test_five_minutes_idle_are_allowed_and_no_more(front: Any) -> None:
    raw, other = front.raw(), front.plain()
    other.reply()
    front.sweep(290)
    assert raw.ask("NOOP").startswith("250")
    front.sweep(20)
    assert other.reply().startswith("421 4.4.2")
    assert other.ended()
    assert raw.ask("NOOP").startswith("250")
    front.sweep(301)
    assert raw.reply().startswith("421 4.4.2")
    assert raw.ended()


def test_octets_that_make_no_command_do_not_keep_a_session_open(front: Any) -> None:
    raw = front.raw()
    for sent in range(1, 4):
        raw.send(b"N")
        front.until(lambda wanted=sent: _unread(front) >= wanted)
        front.sweep(90)
    assert not _closing(front)
    front.sweep(40)
    assert raw.reply().startswith("421 4.4.2 Idle")
    assert raw.ended()


def _unread(front: Any) -> int:
    (session,) = front.house._guests
    return int(session._smtp.buffered)


def test_three_minutes_without_an_octet_of_data(front: Any) -> None:
    raw = front.raw()
    raw.begin()
    raw.send(HEAD)
    front.until(lambda: front.memory.used_octets >= len(HEAD) - 4)
    for _ in range(17):
        front.sweep(10)
    front.sweep(9)
    assert len(front.house) == 1
    assert not _closing(front)
    front.sweep(2)
    assert raw.reply().startswith("421 4.4.2 No data")
    assert raw.ended()
    front.until(lambda: front.memory.used_octets == 0)


@pytest.mark.parametrize(("octets", "kept"), [(11_000, True), (9_000, False)])
def test_a_kilobyte_a_second_over_any_minute(front: Any, octets: int, kept: bool) -> None:
    raw = front.raw()
    raw.begin()
    raw.send(HEAD + b"x" * 200_000)  # a quick beginning does not help later
    total = len(HEAD) + 200_000
    front.until(lambda: front.memory.used_octets == total)
    for _ in range(14):
        raw.send(b"y" * octets)
        total += octets
        front.until(lambda wanted=total: _closing(front) or _received(front) >= wanted)
        front.sweep(10)
        if _closing(front):
            break
    assert _closing(front) is not kept
    if not kept:
        assert raw.reply().startswith("421 4.4.2 The message comes too slowly")


@pytest.mark.parametrize("pause_s", [10, 70, 170])
def test_silence_does_not_save_who_sends_an_octet_now_and_then(front: Any, pause_s: int) -> None:
    raw = front.raw()
    raw.begin()
    raw.send(HEAD + b"begin")
    front.until(lambda: _received(front) == len(HEAD) + 5)
    for sent in range(1, 9):
        for _ in range(pause_s // 10):
            front.sweep(10)
        if _closing(front):
            break
        raw.send(b"y")
        front.until(lambda wanted=sent: _received(front) == len(HEAD) + 5 + wanted)
    assert _closing(front)
    assert raw.reply().startswith("421 4.4.2 The message comes too slowly")


def _closing(front: Any) -> bool:
    return all(session._closing for session in front.house._guests)


def _received(front: Any) -> int:
    (session,) = front.house._guests
    return int(session._smtp.data_octets)


def test_a_slow_first_minute_is_allowed(front: Any) -> None:
    raw = front.raw()
    raw.begin()
    raw.send(HEAD)
    front.until(lambda: front.memory.used_octets >= len(HEAD) - 4)
    for _ in range(5):
        front.sweep(10)
    raw.send(b"end\r\n.\r\n")
    assert raw.reply().startswith("250")


def test_an_hour_of_data_in_all(make_front: Callable[..., Any]) -> None:
    front = make_front()
    front.house.patience = type(front.house.patience)(pace=0)
    raw = front.raw()
    raw.begin()
    for number in range(1, 30):
        raw.send(b"x" * 72)
        front.until(lambda n=number: _received(front) == 72 * n)
        front.sweep(120)
    assert len(front.house) == 1
    front.sweep(50)
    raw.send(b"x" * 72)
    front.until(lambda: _received(front) == 72 * 30)
    front.sweep(80)
    assert raw.reply().startswith("421 4.4.2 The message takes too long")


def test_waiting_for_the_door_is_not_idle(front: Any) -> None:
    front.close_gate()
    raw = front.raw()
    raw.begin()
    raw.send(HEAD + b".\r\n")
    front.until(lambda: front.store.waiting == 1)
    front.sweep(1000)
    front.open_gate()
    assert raw.reply().startswith("250")


def test_a_client_that_reads_no_replies_is_dropped(front: Any) -> None:
    raw = front.raw()
    raw.socket.settimeout(0.1)
    while not front.run(lambda: _stuck(front)):
        with contextlib.suppress(TimeoutError):
            raw.socket.send(b"NOOP\r\n" * 10_000)
    front.sweep(30)
    assert len(front.house) == 1
    front.sweep(31)
    front.until(lambda: len(front.house) == 0)


def _stuck(front: Any) -> bool:
    (session,) = front.house._guests
    return bool(session._unread_s >= 0)


def test_sessions_of_an_address_are_capped_and_told_at_once(
    make_front: Callable[..., Any],
) -> None:
    front = make_front(per_address=2)
    kept = [front.raw(), front.raw()]
    began = time.monotonic()
    over = front.plain()
    assert over.reply().startswith("421 4.3.2")
    assert over.ended()
    secured = front.trusting().wrap_socket(
        socket.create_connection(("127.0.0.1", front.ports[1]), timeout=60)
    )
    assert secured.recv(100).startswith(b"421 4.3.2")
    secured.close()
    assert time.monotonic() - began < front.house.patience.handshake_s / 2
    assert front.store.refusals[-1].reason == "too_many_sessions"
    assert kept[0].ask("QUIT").startswith("221")
    kept[0].close()
    front.until(lambda: len(front.house) == 1)
    assert front.plain().reply().startswith("220")


def test_strangers_make_room_for_those_who_come_with_a_key(
    make_front: Callable[..., Any],
) -> None:
    front = make_front(sessions=3)
    strangers = [front.plain() for _ in range(3)]
    for stranger in strangers:
        assert stranger.reply().startswith("220")
    assert front.plain().reply().startswith("421 4.3.2")
    front.sweep(STRANGER_S + 1)
    assert front.plain().reply().startswith("421 4.3.2")
    assert strangers[0].reply().startswith("421 4.3.2")
    front.until(lambda: len(front.house) == 2)
    front.raw()


def test_a_handshake_that_is_never_finished_ends(make_front: Callable[..., Any]) -> None:
    front = make_front()
    front.house.patience = type(front.house.patience)(handshake_s=0.2)
    silent = socket.create_connection(("127.0.0.1", front.ports[1]), timeout=60)
    behind_starttls = front.plain()
    behind_starttls.reply()
    behind_starttls.ask("EHLO client.test")
    assert behind_starttls.ask("STARTTLS").startswith("220")
    front.until(lambda: len(front.house) == 0)
    assert silent.recv(10) == b""
    assert behind_starttls.ended()
    silent.close()


def test_who_is_sent_away_during_the_handshake_has_left(make_front: Callable[..., Any]) -> None:
    """uvloop tells nobody of a loss that it was asked for then: its place would stay taken."""
    front = make_front(sessions=1)
    shaking = front.plain()
    shaking.reply()
    shaking.ask("EHLO client.test")
    assert shaking.ask("STARTTLS").startswith("220")
    front.sweep(STRANGER_S + 1)
    assert front.plain().reply().startswith("421 4.3.2")  # and the oldest stranger goes
    assert shaking.ended()
    front.until(lambda: len(front.house) == 0)
    assert front.plain().reply().startswith("220")


def test_memory_that_is_used_up_is_452_at_mail(make_front: Callable[..., Any]) -> None:
    front = make_front(memory=300_000)
    holder, other = front.raw(), front.raw()
    holder.begin()
    holder.send(HEAD + b"x" * 250_000)
    front.until(lambda: front.memory.used_octets > 250_000)
    assert other.ask("MAIL FROM:<app@example.com>").startswith("452 4.3.1")
    assert other.ask("MAIL FROM:<app@example.com> SIZE=2000").startswith("250")
    holder.send(b"\r\n.\r\n")
    assert holder.reply().startswith("250")
    other.ask("RSET")
    assert other.ask("MAIL FROM:<app@example.com>").startswith("250")


def test_a_message_past_the_limit_is_read_to_its_end(make_front: Callable[..., Any]) -> None:
    front = make_front({"message_bytes": 500_000, "body_bytes": 500_000})
    raw = front.raw()
    raw.begin()
    raw.send(HEAD + b"x" * 700_000 + b"\r\n.\r\n")
    assert raw.reply().startswith("550 5.3.4")
    assert raw.ask("NOOP").startswith("250")
    raw.begin()
    raw.send(HEAD + b"x" * 1_100_000)
    assert raw.reply().startswith("550 5.3.4")
    assert raw.ended()
    assert list((front.data / "incoming").iterdir()) == []


def test_a_new_certificate_is_used_and_no_session_is_dropped(front: Any, tmp_path: Path) -> None:
    raw = front.raw()
    old = ssl.get_server_certificate(("127.0.0.1", front.ports[1]))
    cert = trustme.CA().issue_cert("relay.test")
    cert.cert_chain_pems[0].write_to_path(front.data / "certificate.pem")
    cert.private_key_pem.write_to_path(front.data / "certificate-key.pem")
    front.run(front.server._sweep)
    new = ssl.get_server_certificate(("127.0.0.1", front.ports[1]))
    assert new != old
    assert new.strip() == cert.cert_chain_pems[0].bytes().decode().strip()
    assert raw.ask("NOOP").startswith("250")


def test_old_protocols_are_not_spoken(front: Any) -> None:
    context = front.trusting()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AES128-SHA:ECDHE-ECDSA-AES128-SHA256:@SECLEVEL=0")
    plain = socket.create_connection(("127.0.0.1", front.ports[1]), timeout=60)
    with plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain)


def test_a_stop_finishes_what_is_in_progress_and_ends_the_rest(front: Any) -> None:
    idle, sending, handed, delayed = (front.raw() for _ in range(4))
    sending.begin()
    sending.send(HEAD)
    front.close_gate()
    handed.begin()
    handed.send(HEAD + b".\r\n")
    front.until(lambda: front.store.waiting == 1)
    silent = socket.create_connection(("127.0.0.1", front.ports[1]), timeout=60)
    front.until(lambda: len(front.house) == 5)
    delayed.send(b"MAIL FROM:<app@example.com>\r\n")
    assert delayed.reply().startswith("250")
    stopped = threading.Thread(target=lambda: front.run(lambda: front.server.stop(60)))
    stopped.start()
    for ended in (idle, delayed):
        assert ended.reply().startswith("421 4.3.2")
        assert ended.ended()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", front.ports[0]), timeout=60)
    front.open_gate()
    assert handed.reply().startswith("250")
    assert handed.reply().startswith("421 4.3.2")
    sending.send(b"the rest\r\n.\r\nMAIL FROM:<app@example.com>\r\n")
    assert sending.reply().startswith("250")
    assert sending.reply().startswith("421 4.3.2")
    assert sending.ended()
    stopped.join(60)
    assert not stopped.is_alive()
    assert len(front.store.commits) == 2
    silent.close()


def test_a_stop_cuts_what_does_not_end(front: Any) -> None:
    raw = front.raw()
    raw.begin()
    front.run(lambda: front.server.stop(0.05))
    assert raw.ended()
    front.until(lambda: front.house.empty)
