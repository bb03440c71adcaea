"""The client's edges: injections, what one transaction may come to, logins, commands."""

from __future__ import annotations

import pytest

from waypost.core.address import Address, parse
from waypost.core.errors import Secret
from waypost.core.reply import Reply, Stage
from waypost.wire.client import ClientSession
from waypost.wire.errors import CannotCarry, NoMechanism, ProtocolError
from waypost.wire.events import (
    Broken,
    Declined,
    HelloDone,
    LoggedIn,
    MessageDone,
    QuitDone,
    StartHandshake,
    Unasked,
    WantData,
)
from waypost.wire.lines import command
from waypost.wire.replies import Capabilities

ME = parse("me@example.com")
YOU = [parse(f"you{i}@example.net") for i in range(3)]
FULL = (
    b"250-up.example\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250-8BITMIME\r\n250 AUTH LOGIN PLAIN\r\n"
)
BARE = b"250 up.example\r\n"


def ready(ehlo: bytes = FULL) -> ClientSession:
    client = ClientSession("relay.example")
    assert client.receive(b"220 up.example\r\n") == []
    assert client.take_output() == b"EHLO relay.example\r\n"
    assert isinstance(client.receive(ehlo)[0], HelloDone)
    return client


def sent(client: ClientSession, recipients: int = 1, message: bytes = b"hi\r\n") -> bytes:
    client.send(ME, YOU[:recipients], len(message), False, [message])
    return client.take_output()


def codes(done: object) -> tuple[object, ...]:
    assert isinstance(done, MessageDone)
    return (
        done.mail and done.mail.code,
        [reply and reply.code for reply in done.rcpts],
        done.data and done.data.code,
        done.final and done.final.code,
    )


def stage(client: ClientSession) -> Stage:
    return client.stage


def stage_of(event: object) -> Stage:
    assert isinstance(event, Broken)
    return event.error.stage


def test_one_write_where_pipelining_is_offered() -> None:
    client = ready()
    assert sent(client, 2) == (
        b"MAIL FROM:<me@example.com> SIZE=4\r\nRCPT TO:<you0@example.net>\r\n"
        b"RCPT TO:<you1@example.net>\r\nDATA\r\n"
    )
    assert client.receive(b"250 ok\r\n250 ok\r\n550 5.1.1 no\r\n") == []
    assert stage(client) is Stage.DATA
    assert client.receive(b"354 go\r\n") == []
    assert client.take_output() == b"hi\r\n.\r\n"
    assert stage(client) is Stage.DOT
    done = client.receive(b"250 2.0.0 queued\r\n")
    assert codes(done[0]) == (250, [250, 550], 354, 250)
    assert stage(client) is Stage.IDLE
    assert client.usable
    assert sent(client).startswith(b"MAIL FROM")


def test_step_by_step_elsewhere() -> None:
    client = ready(BARE)
    assert sent(client, 2) == b"MAIL FROM:<me@example.com>\r\n"
    client.receive(b"250 ok\r\n")
    assert client.take_output() == b"RCPT TO:<you0@example.net>\r\n"
    client.receive(b"550 no\r\n")
    assert client.take_output() == b"RCPT TO:<you1@example.net>\r\n"
    client.receive(b"250 ok\r\n")
    assert client.take_output() == b"DATA\r\n"
    client.receive(b"354 go\r\n")
    assert client.take_output() == b"hi\r\n.\r\n"
    assert codes(client.receive(b"554 no\r\n")[0]) == (250, [550, 250], 354, 554)


@pytest.mark.parametrize("ehlo", [FULL, BARE])
def test_after_an_abandoned_transaction_comes_rset(ehlo: bytes) -> None:
    client = ready(ehlo)
    sent(client, 1)
    client.receive(b"250 ok\r\n")
    client.take_output()
    events = client.receive(b"550 no\r\n")
    if ehlo is FULL:
        events = client.receive(b"503 no recipient\r\n")
    assert codes(events[0]) == (250, [550], 503 if ehlo is FULL else None, None)
    assert sent(client).startswith(b"RSET\r\n")
    client.receive(b"250 ok\r\n")
    rest = b"250 ok\r\n250 ok\r\n354 go\r\n"
    for line in rest.split(b"\r\n")[:-1]:
        client.receive(line + b"\r\n")
    assert client.take_output().endswith(b"hi\r\n.\r\n")
    client.receive(b"250 ok\r\n")
    assert sent(client).startswith(b"MAIL")


def test_a_refused_mail_says_nothing_of_the_recipients() -> None:
    client = ready()
    sent(client, 2)
    events = client.receive(b"550 5.7.60 SendAsDenied\r\n503 no\r\n503 no\r\n503 no\r\n")
    assert codes(events[0]) == (550, [None, None], None, None)
    client = ready(BARE)
    sent(client, 2)
    assert codes(client.receive(b"451 later\r\n")[0]) == (451, [None, None], None, None)
    assert client.take_output() == b""


@pytest.mark.parametrize("answer", [b"250 taken\r\n", b"554 no valid recipients\r\n"])
def test_354_without_a_recipient_gets_a_lone_dot(answer: bytes) -> None:
    client = ready()
    sent(client, 1)
    assert client.receive(b"250 ok\r\n550 no\r\n354 go\r\n") == []
    assert client.take_output() == b".\r\n"
    done = client.receive(answer)[0]
    assert codes(done) == (250, [550], 354, None)
    assert isinstance(done, MessageDone)
    assert not done.dot_sent
    assert client.usable
    client = ready()
    sent(client, 1)
    client.receive(b"550 no\r\n250 ok\r\n354 go\r\n")
    assert client.take_output() == b".\r\n"


def test_recipients_beyond_the_servers_limit_are_told_apart() -> None:
    client = ready()
    sent(client, 3)
    client.receive(b"250 ok\r\n452 first\r\n250 ok\r\n552 enough\r\n354 go\r\n")
    done = client.receive(b"250 ok\r\n")[0]
    assert isinstance(done, MessageDone)
    assert done.postponed == [2]


def test_data_in_pieces() -> None:
    client = ready()
    client.send(None, YOU[:1], 9, True, None)
    assert client.take_output().startswith(b"MAIL FROM:<> SIZE=9 BODY=8BITMIME\r\n")
    with pytest.raises(ProtocolError):
        client.write_data(b"early")
    assert client.receive(b"250 ok\r\n250 ok\r\n354 go\r\n") == [WantData()]
    for piece in (b".a\r", b"\n", b".", b"b\r\n"):
        client.write_data(piece)
    partial = client.partial()
    assert partial is not None
    assert not partial.dot_sent
    client.end_data()
    assert client.take_output() == b"..a\r\n..b\r\n.\r\n"
    partial = client.partial()
    assert partial is not None
    assert partial.dot_sent
    assert partial.final is None
    assert codes(client.receive(b"250 ok\r\n")[0]) == (250, [250], 354, 250)
    assert client.partial() is None


def test_a_refusal_amid_the_data_is_the_messages_end() -> None:
    client = ready()
    client.send(ME, YOU[:1], 9, False, None)
    client.receive(b"250 ok\r\n250 ok\r\n354 go\r\n")
    client.write_data(b"half")
    assert codes(client.receive(b"552 5.3.4 enough\r\n")[0]) == (250, [250], 354, 552)
    assert not client.usable
    with pytest.raises(ProtocolError):
        client.end_data()


@pytest.mark.parametrize(
    ("replies", "expected"),
    [
        (b"421 bye\r\n", (421, [None, None], None, None)),
        (b"250 ok\r\n421 bye\r\n", (250, [421, None], None, None)),
        (b"250 ok\r\n250 ok\r\n421 bye\r\n", (250, [250, 421], None, None)),
        (b"250 ok\r\n250 ok\r\n250 ok\r\n421 bye\r\n", (250, [250, 250], 421, None)),
        (b"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n421 bye\r\n", (250, [250, 250], 354, 421)),
    ],
)
def test_421_ends_it_wherever_it_comes(replies: bytes, expected: tuple[object, ...]) -> None:
    client = ready()
    sent(client, 2)
    events = client.receive(replies)
    assert codes(events[0]) == expected
    assert not client.usable
    with pytest.raises(ProtocolError):
        sent(client)


def test_421_behind_the_last_answer_takes_nothing_back() -> None:
    client = ready()
    sent(client)
    client.receive(b"250 ok\r\n250 ok\r\n354 go\r\n")
    events = client.receive(b"250 taken\r\n421 4.7.0 enough\r\n")
    assert codes(events[0]) == (250, [250], 354, 250)
    assert events[1] == Unasked(Reply(421, ("4.7.0 enough",)))
    assert not client.usable


@pytest.mark.parametrize(
    ("replies", "stage"),
    [
        (b"250 ok\r\n250 ok\r\n354 go\r\n250 spoofed\r\n", Stage.DATA),
        (b"250 ok\r\n250 ok\r\n250 not 354\r\n", Stage.DATA),
        (b"354 go\r\n", Stage.MAIL),
        (b"250 ok\r\n334 what\r\n", Stage.RCPT),
        (b"250 ok\r\nHTTP/1.1 400\r\n", Stage.RCPT),
        (b"100 low\r\n", Stage.MAIL),
        (b"600 high\r\n", Stage.MAIL),
        (b"250-a\r\n251 b\r\n", Stage.MAIL),
        (b"250\tok\r\n", Stage.MAIL),
        (b"\r\n", Stage.MAIL),
        (b"250-" + b"x" * 70_000, Stage.MAIL),
        (b"250-x\r\n" * 513, Stage.MAIL),
        (b"x" * 70_000, Stage.MAIL),
    ],
)
def test_garbled_replies_break_it_with_their_stage(replies: bytes, stage: Stage) -> None:
    client = ready()
    sent(client)
    events = client.receive(replies)
    assert stage_of(events[-1]) is stage
    assert not client.usable
    assert client.take_output() == b""
    assert client.receive(b"250 ok\r\n") == []
    assert client.partial() is not None


def test_what_was_answered_stands_when_the_rest_is_garbled() -> None:
    client = ready()
    sent(client, 2)
    client.receive(b"250 ok\r\n550 no\r\n%%%\r\n")
    assert codes(client.partial()) == (250, [550, None], None, None)


def test_starttls_response_injection() -> None:
    offer = b"250-up.example\r\n250 STARTTLS\r\n"
    client = ready(offer)
    client.take_output()
    client.starttls()
    assert client.take_output() == b"STARTTLS\r\n"
    assert stage_of(client.receive(b"220 go\r\n250 inj")[0]) is Stage.STARTTLS
    client = ready(offer)
    client.starttls()
    assert client.receive(b"220 go\r\n") == [StartHandshake()]
    assert stage(client) is Stage.HANDSHAKE
    assert stage_of(client.receive(b"2")[0]) is Stage.HANDSHAKE
    with pytest.raises(ProtocolError):
        client.tls_started()


def test_capabilities_are_read_anew_behind_tls() -> None:
    client = ready(b"250-up.example\r\n250-PIPELINING\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n")
    client.starttls()
    client.receive(b"220 go\r\n")
    client.take_output()
    client.tls_started()
    assert client.take_output() == b"EHLO relay.example\r\n"
    client.receive(b"250-up.example\r\n250 AUTH LOGIN\r\n")
    assert client.capabilities == Capabilities(extended=True, auth=("LOGIN",))
    with pytest.raises(ProtocolError):
        client.starttls()


def test_starttls_that_is_not_offered_is_not_said() -> None:
    client = ready()
    with pytest.raises(ProtocolError) as caught:
        client.starttls()
    assert caught.value.stage is Stage.STARTTLS
    assert client.take_output() == b""


def test_helo_where_ehlo_is_refused() -> None:
    client = ClientSession("relay.example")
    client.receive(b"220-one\r\n220 two\r\n")
    client.take_output()
    assert client.receive(b"502 what\r\n") == []
    assert client.take_output() == b"HELO relay.example\r\n"
    assert client.receive(b"250 hello\r\n") == [HelloDone(Reply(250, ("hello",)))]
    assert client.capabilities == Capabilities()


@pytest.mark.parametrize(
    ("replies", "stage"),
    [
        ([b"554 go away\r\n"], Stage.GREETING),
        ([b"421 busy\r\n"], Stage.GREETING),
        ([b"220 hi\r\n", b"421 busy\r\n"], Stage.EHLO),
        ([b"220 hi\r\n", b"451 busy\r\n"], Stage.EHLO),
        ([b"220 hi\r\n", b"500 what\r\n", b"550 no\r\n"], Stage.EHLO),
    ],
)
def test_declined_before_the_login(replies: list[bytes], stage: Stage) -> None:
    client = ClientSession("relay.example")
    for reply in replies[:-1]:
        assert client.receive(reply) == []
    last = replies[-1]
    code, text = int(last[:3]), last[4:-2].decode()
    assert client.receive(last) == [Declined(stage, Reply(code, (text,)))]
    assert not client.usable


def test_login_plain_then_login() -> None:
    client = ready()
    client.take_output()
    client.login("user", Secret("sesame"))
    assert client.take_output() == b"AUTH PLAIN AHVzZXIAc2VzYW1l\r\n"
    assert client.receive(b"235 ok\r\n") == [LoggedIn(Reply(235, ("ok",)))]
    client = ready(b"250-up.example\r\n250 AUTH=LOGIN NTLM\r\n")
    client.take_output()
    client.login("user", Secret("sesame"))
    assert client.take_output() == b"AUTH LOGIN\r\n"
    client.receive(b"334 not base64!\r\n")
    assert client.take_output() == b"dXNlcg==\r\n"
    client.receive(b"334 UGFzc3dvcmQ6\r\n")
    assert client.take_output() == b"c2VzYW1l\r\n"
    events = client.receive(b"535 5.7.8 no\r\n")
    assert events == [Declined(Stage.AUTH, Reply(535, ("5.7.8 no",)))]
    shown = client.transcript.text()
    assert "***" in shown
    assert "c2VzYW1l" not in shown
    assert "dXNlcg" not in shown


def test_a_server_that_asks_for_ever() -> None:
    client = ready()
    client.login("user", Secret("sesame"))
    client.take_output()
    client.receive(b"334 \r\n")
    assert client.take_output() == b"AHVzZXIAc2VzYW1l\r\n"
    client.receive(b"334 bW9yZQ==\r\n")
    assert client.take_output() == b"*\r\n"
    for _ in range(6):
        client.receive(b"334 bW9yZQ==\r\n")
    assert stage_of(client.receive(b"334 bW9yZQ==\r\n")[0]) is Stage.AUTH


def test_no_way_to_log_in() -> None:
    client = ready(b"250-up.example\r\n250 AUTH CRAM-MD5 XOAUTH2\r\n")
    with pytest.raises(NoMechanism, match="CRAM-MD5, XOAUTH2"):
        client.login("user", Secret("sesame"))
    with pytest.raises(NoMechanism, match="no AUTH at all"):
        ready(BARE).login("user", Secret("sesame"))
    with pytest.raises(ProtocolError, match="NUL") as caught:
        ready().login("user", Secret("ses\0ame"))
    assert "ame" not in str(caught.value).replace("name", "")


def test_what_the_server_cannot_carry_is_not_said() -> None:
    client = ready(BARE)
    client.take_output()
    with pytest.raises(CannotCarry) as caught:
        client.send(ME, YOU, 10, True, [b""])
    assert caught.value.enhanced == "5.6.3"
    with pytest.raises(CannotCarry) as caught:
        ready().send(ME, YOU, 1001, False, [b""])
    assert caught.value.enhanced == "5.3.4"
    assert client.take_output() == b""
    assert stage(client) is Stage.IDLE


@pytest.mark.parametrize("octets", [b"250 hello?\r\n", b"554 bye\r\n", b"\r\n"])
def test_words_while_idle_break_it(octets: bytes) -> None:
    client = ready()
    assert stage_of(client.receive(octets)[0]) is Stage.IDLE
    assert not client.usable


def test_421_while_idle_is_told() -> None:
    client = ready()
    assert client.receive(b"42") == []
    assert not client.usable
    assert client.receive(b"1 idle too long\r\n") == [Unasked(Reply(421, ("idle too long",)))]


def test_quit() -> None:
    client = ready()
    client.take_output()
    client.quit()
    assert client.take_output() == b"QUIT\r\n"
    assert not client.usable
    assert client.receive(b"221 bye\r\nmore") == [QuitDone()]


@pytest.mark.parametrize("bad", ["a\r\nRCPT TO:<x@y>", "a\nb", "a\0", "a\x7f", "ü", "\u2028", "\t"])
def test_nothing_hides_in_a_command(bad: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        command(f"MAIL FROM:<{bad}>", Stage.MAIL)
    assert caught.value.stage is Stage.MAIL
    client = ready()
    client.take_output()
    with pytest.raises(ProtocolError):
        client.send(Address(bad, "example.com"), YOU, 1, False, [b""])
    with pytest.raises(ProtocolError):
        client.send(ME, [YOU[0], Address("x", bad)], 1, False, [b""])
    assert client.take_output() == b""
    evil = ClientSession(bad)
    assert stage_of(evil.receive(b"220 hi\r\n")[0]) is Stage.EHLO


def test_the_transcript_is_bounded_and_printable() -> None:
    client = ready(b"250-x\r\n" * 500 + b"250 \x1b[2J" + b"y" * 5000 + b"\r\n")
    shown = client.transcript.text()
    assert len(shown) <= 4096
    assert shown.startswith("S: 220 up.example\nC: EHLO relay.example\nS: 250-x\n")
    assert "[...]" in shown
    assert shown.replace("\n", "").isprintable()
    client = ready()
    sent(client)
    client.receive(b"550 5.7.60 no\r\n503\r\n503\r\n")
    assert client.transcript.text() == (
        "C: MAIL FROM:<me@example.com> SIZE=4\nC: RCPT TO:<you0@example.net>\nC: DATA\n"
        "S: 550 5.7.60 no\nS: 503 \nS: 503 "
    )


def test_misuse_is_the_callers_error() -> None:
    client = ready()
    with pytest.raises(ValueError, match="recipient"):
        client.send(ME, [], 1, False, [b""])
    sent(client)
    with pytest.raises(ValueError, match="under way"):
        client.quit()


OFFERS = b"250-up.example\r\n250 AUTH LOGIN PLAIN XOAUTH2\r\n"
FRAME = b"dXNlcj11c2VyAWF1dGg9QmVhcmVyIHRvawEB"  # user=user^Aauth=Bearer tok^A^A


def test_a_token_goes_with_the_command() -> None:
    client = ready(OFFERS)
    client.login_with_token("user", Secret("tok"))
    assert client.take_output() == b"AUTH XOAUTH2 " + FRAME + b"\r\n"
    assert client.receive(b"235 welcome\r\n") == [LoggedIn(Reply(235, ("welcome",)))]
    assert "tok" not in client.transcript.text()
    assert FRAME.decode() not in client.transcript.text()


def test_a_refused_token_is_answered_with_an_empty_line() -> None:
    client = ready(OFFERS)
    client.login_with_token("user", Secret("tok"))
    client.take_output()
    assert client.receive(b"334 eyJzdGF0dXMiOiI0MDEifQ==\r\n") == []
    assert client.take_output() == b"\r\n"
    assert client.receive(b"535 5.7.8 no\r\n") == [Declined(Stage.AUTH, Reply(535, ("5.7.8 no",)))]


def test_an_empty_challenge_asks_for_the_token_once_more() -> None:
    client = ready(OFFERS)
    client.login_with_token("user", Secret("tok"))
    client.take_output()
    client.receive(b"334 \r\n")
    assert client.take_output() == FRAME + b"\r\n"
    for _ in range(2):
        client.receive(b"334 e30=\r\n")
    assert client.take_output() == b"\r\n*\r\n"


def test_what_no_token_can_be() -> None:
    with pytest.raises(NoMechanism):
        ready().login_with_token("user", Secret("tok"))
    for user, token in (("u\x01", "tok"), ("user", "t\x01ok"), ("user", "t\r\nok")):
        with pytest.raises(ProtocolError):
            ready(OFFERS).login_with_token(user, Secret(token))


def test_what_a_server_repeats_is_veiled_but_read_as_it_was_said() -> None:
    client = ready(b"250-up.example\r\n250-AUTH PLAIN\r\n250 SIZE 7\r\n")
    client.veil = lambda text: text.replace("sesame", "***")
    client.login("user", Secret("sesame"))
    client.take_output()
    (event,) = client.receive(b"535 5.7.8 sesame is wrong\r\n")
    assert event == Declined(Stage.AUTH, Reply(535, ("5.7.8 *** is wrong",)))
    assert "sesame" not in client.transcript.text()
    client = ready()
    client.veil = lambda text: text.replace("PLAIN", "***").replace("sesame", "***")
    client.login("user", Secret("sesame"))
    client.take_output()
    (event,) = client.receive(b"sesame is not SMTP\r\n")
    assert isinstance(event, Broken)
    assert "sesame" not in event.error.public
