"""Any octets into either end, and the two ends against each other."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from waypost.core.address import Address, parse
from waypost.core.errors import Secret
from waypost.wire.client import ClientSession
from waypost.wire.events import (
    Auth,
    Broken,
    ClientEvent,
    DataChunk,
    DataEnd,
    DataStart,
    HelloDone,
    LoggedIn,
    Mail,
    MessageDone,
    Rcpt,
    ServerEvent,
    ServerLimits,
    StartHandshake,
    StartTls,
    WantData,
)
from waypost.wire.lines import HOPS, LARGE_OCTETS, DataReader, DotStuffer, lf_dot, line_dot
from waypost.wire.server import ServerSession

ME = parse("me@example.com")
YOU = [parse(f"you{i}@example.net") for i in range(3)]
WORDS = [
    b"EHLO me", b"HELO x", b"STARTTLS", b"AUTH PLAIN AGEAYg==", b"AUTH LOGIN", b"YQ==", b"*",
    b"NOOP", b"MAIL FROM:<a@example.com>", b"RCPT TO:<b@example.com>", b"DATA", b"RSET", b"QUIT",
    b".", b"..", b"\n", b"\r", b"\0", b"\xff", b" SIZE=", b"9" * 30, b'"', b"<", b">", b"BDAT 1",
    b"GET /", b"x" * 600,
]  # fmt: skip
CLIENT_SIDE = st.lists(
    st.one_of(
        st.sampled_from([word + b"\r\n" for word in WORDS]), st.sampled_from(WORDS), st.binary()
    ),
    max_size=30,
)
ANSWERS = [
    b"220 hi\r\n", b"250 ok\r\n", b"250-x\r\n250-PIPELINING\r\n250-STARTTLS\r\n250 AUTH PLAIN\r\n",
    b"354 go\r\n", b"235 in\r\n", b"334 \r\n", b"421 bye\r\n", b"550 no\r\n", b"452 full\r\n",
    b"250-", b"2", b"\r\n", b"221 x\r\n",
]  # fmt: skip
SERVER_SIDE = st.lists(st.one_of(st.sampled_from(ANSWERS), st.binary()), max_size=30)


def drain(session: ServerSession, said: list[ServerEvent], refuse: bool = False) -> bytes:
    while (event := session.next_event()) is not None:
        said.append(event)
        if isinstance(event, StartTls):
            break
        if isinstance(event, DataEnd):
            session.answer("250 OK: 1")
        elif isinstance(event, Auth | Mail | Rcpt | DataStart):
            session.answer("451 4.3.0 No") if refuse else session.accept()
    return session.take_output()


@given(pieces=CLIENT_SIDE, tls=st.booleans(), refuse=st.booleans())
def test_any_octets_into_the_server(pieces: list[bytes], tls: bool, refuse: bool) -> None:
    session = ServerSession("relay.example", ServerLimits(message_octets=2000), tls)
    session.greet()
    out = b""
    for piece in pieces:
        session.receive(piece)
        out += drain(session, [], refuse)
        if session.waiting:
            session.tls_started()
    assert out.isascii()
    assert out.endswith(b"\r\n") or not pieces
    assert all(len(line) <= 510 and line[:1].isdigit() for line in out.split(b"\r\n")[:-1])


def joined(events: list[ServerEvent]) -> list[ServerEvent]:
    """The events with neighbouring chunks made one: cuts may be seen there and nowhere else."""
    seen: list[ServerEvent] = []
    for event in events:
        if isinstance(event, DataChunk) and seen and isinstance(seen[-1], DataChunk):
            seen[-1] = DataChunk(seen[-1].data + event.data)
        else:
            seen.append(event)
    return seen


SAFE = [w for w in WORDS if w not in (b"\n", b"EHLO me", b"HELO x", b"DATA", b"STARTTLS")]


@given(
    lines=st.lists(st.sampled_from(SAFE), max_size=20),
    body=st.binary(max_size=60),
    cut=st.lists(st.integers(1, 40), min_size=1, max_size=9),
)
def test_cuts_do_not_matter(lines: list[bytes], body: bytes, cut: list[int]) -> None:
    groups = [b"EHLO me\r\n", b"AUTH PLAIN AGEAYg==\r\n" + b"".join(w + b"\r\n" for w in lines)]
    groups += [
        b"RSET\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n",
        body + b"\r\n.\r\nNOOP\r\n",
    ]
    results = []
    for cuts in ([10**6], [1], cut):
        session = ServerSession("relay.example", tls=True)
        session.greet()
        said: list[ServerEvent] = []
        out = b""
        for group in groups:
            at = turn = 0
            while at < len(group):
                session.receive(group[at : at + cuts[turn % len(cuts)]])
                at += cuts[turn % len(cuts)]
                turn += 1
                out += drain(session, said)
        results.append((joined(said), out))
    assert results[0] == results[1] == results[2]


@given(pieces=SERVER_SIDE, steps=st.lists(st.sampled_from("tlsq"), max_size=6))
def test_any_octets_into_the_client(pieces: list[bytes], steps: list[str]) -> None:
    client = ClientSession("relay.example")
    left = list(steps)
    broken = False
    for piece in pieces:
        events = client.receive(piece)
        assert not (broken and events)
        broken = broken or any(isinstance(event, Broken) for event in events)
        assert not any(isinstance(event, Broken) for event in events[:-1])
        if any(isinstance(event, WantData) for event in events[-1:]):
            client.write_data(b".\r\n")
            client.end_data()
        elif events and isinstance(events[-1], StartHandshake):
            client.tls_started()
        elif (
            events and isinstance(events[-1], HelloDone | LoggedIn | MessageDone) and client.usable
        ):
            step = left.pop() if left else "s"
            if step == "t" and client.capabilities.starttls and not client.tls:
                client.starttls()
            elif step == "l" and client.capabilities.auth:
                client.login("u", Secret("p"))
            elif step == "q":
                client.quit()
            else:
                client.send(ME, YOU, 3, False, None if step == "t" else [b".\r\n"])
        out = client.take_output()
        assert b"\n" not in out.replace(b"\r\n", b"")
    assert len(client.transcript.text()) <= 4096
    client.partial()


@given(
    st.lists(st.binary(max_size=12) | st.sampled_from([b"\r\n", b".", b"\r", b"\n."])), st.data()
)
def test_dotted_and_undotted_is_the_same(chunks: list[bytes], data: st.DataObject) -> None:
    message = b"".join(chunks).replace(b"\n", b"").replace(b"\r", b"\r\n")
    at = data.draw(st.integers(0, len(message)))
    stuffer = DotStuffer()
    wire = stuffer.stuff(message[:at]) + stuffer.stuff(message[at:]) + stuffer.end()
    whole = message if message.endswith(b"\r\n") or not message else message + b"\r\n"
    cut = data.draw(st.integers(0, len(wire) - 1))
    reader = DataReader()
    first, none = reader.feed(wire[:cut])
    assert none is None
    second, behind = reader.feed(wire[cut:] + b"QUIT\r\n")
    assert first + second == whole
    assert behind == b"QUIT\r\n"
    assert reader.octets == len(whole)


@given(
    st.lists(
        st.sampled_from([b"\r\n", b".", b"\r", b"\n", b"x.", b"x", b"\r\n.", b"\n.", b". " * HOPS]),
        max_size=12,
    )
)
def test_where_a_line_begins_with_a_dot(pieces: list[bytes]) -> None:
    """However many dots come before it."""
    for text in (b"".join(pieces), b"".join(pieces) + b"x" * LARGE_OCTETS):
        assert lf_dot(text) == text.find(b"\n.")
        assert line_dot(text) == text.find(b"\r\n.")


class Pair:
    """Both ends, joined; `size`: how the octets are cut on the way (0: not at all)."""

    def __init__(self, size: int, limits: ServerLimits | None = None) -> None:
        self.server = ServerSession("relay.example", limits)
        self.client = ClientSession("me.example")
        self.size = size
        self.said: list[ServerEvent] = []
        self.server.greet()

    def run(self) -> list[ClientEvent]:
        events: list[ClientEvent] = []
        while True:
            down = drain(self.server, self.said)
            for piece in self.cut(down):
                events += self.client.receive(piece)
            if events and isinstance(events[-1], StartHandshake):
                self.server.tls_started()
                self.client.tls_started()
                return events + self.run()
            up = self.client.take_output()
            for piece in self.cut(up):
                self.server.receive(piece)
            if not up and not down:
                return events

    def cut(self, octets: bytes) -> list[bytes]:
        size = self.size or len(octets) or 1
        return [octets[i : i + size] for i in range(0, len(octets), size)]


@given(
    message=st.lists(st.sampled_from([b".", b"..", b"a", b"\xe4", b""]), max_size=20),
    size=st.sampled_from([0, 1, 5]),
    recipients=st.integers(1, 3),
)
def test_both_ends(message: list[bytes], size: int, recipients: int) -> None:
    pair = Pair(size)
    assert [type(event) for event in pair.run()] == [HelloDone]
    pair.client.starttls()
    assert [type(event) for event in pair.run()] == [StartHandshake, HelloDone]
    assert pair.client.capabilities.auth == ("PLAIN", "LOGIN")
    pair.client.login("u", Secret("p"))
    assert [type(event) for event in pair.run()] == [LoggedIn]
    octets = b"".join(line + b"\r\n" for line in message)
    for _ in range(2):
        pair.said.clear()
        pair.client.send(ME, YOU[:recipients], len(octets), True, [octets])
        (done,) = pair.run()
        assert isinstance(done, MessageDone)
        assert done.final is not None
        assert done.final.good
        assert pair.said[:1] == [Mail(ME, len(octets), True)]
        got = [event.address for event in pair.said if isinstance(event, Rcpt)]
        assert got == YOU[:recipients]
        data = b"".join(event.data for event in pair.said if isinstance(event, DataChunk))
        assert data == octets
        assert pair.said[-1] == DataEnd(len(octets))
    pair.client.quit()
    pair.run()
    assert pair.server.ended


def test_a_refused_recipient_between_the_ends() -> None:
    pair = Pair(0, ServerLimits(recipients=1))
    pair.run()
    pair.client.starttls()
    pair.run()
    pair.client.login("u", Secret("p"))
    pair.run()
    pair.client.send(ME, YOU, 2, False, [b"\r\n"])
    (done,) = pair.run()
    assert isinstance(done, MessageDone)
    assert done.postponed == [1, 2]
    pair.client.send(ME, [Address("x", "no domain")], 2, False, [b"\r\n"])
    (done,) = pair.run()
    assert isinstance(done, MessageDone)
    assert done.rcpts[0] is not None
    assert done.rcpts[0].enhanced == "5.1.3"
    pair.client.send(ME, YOU[:1], 2, False, [b"\r\n"])
    (done,) = pair.run()
    assert isinstance(done, MessageDone)
    assert done.final is not None
