"""Runs one connection test: sign in as delivery does, say MAIL, perhaps send a mail, tell it all.

Promises that it stops at the first step that fails, that a step takes no longer than its time-out,
and that no text holds the login's password. Knows nothing of the store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from email.utils import formatdate

import msgspec

from waypost.clock import Clock
from waypost.core.address import Address
from waypost.core.reply import Reply, Stage, printable
from waypost.core.upstream import Encryption, Upstream, Validate
from waypost.transport.check import others
from waypost.transport.check.cause import of_error, of_reply
from waypost.transport.check.others import OTHERS, Place
from waypost.transport.check.watch import StepDone, Watched, WatchedSession, farewell
from waypost.transport.link.connect import Dialer, SignedIn
from waypost.transport.link.guard import Guard
from waypost.transport.link.mask import masker
from waypost.transport.link.stream import Stream, Timeouts
from waypost.transport.oauth.tokens import Tokens
from waypost.transport.trouble import Lost, TransportError
from waypost.upstream.diagnosis import CONNECTION_FAILURES, Fault, Finding, Seen, Step, diagnose
from waypost.wire.errors import ProtocolError
from waypost.wire.events import MessageDone

CONNECT_S = 10.0  # section 9 of the contract
STEP_S = 30.0  # section 9 of the contract
_STEPS_MOST = 12  # commands and replies, so that no server can keep a test for ever
_ID_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
_ID_LENGTH = 20


class Times(msgspec.Struct, frozen=True):
    """Seconds: to connect (looking the name up is part of it), and for each step after that."""

    connect_s: float = CONNECT_S
    step_s: float = STEP_S

    def timeouts(self) -> Timeouts:
        step = self.step_s
        return Timeouts(self.connect_s, reply_s=step, data_s=step, block_s=step, dot_s=step)


class Setup(msgspec.Struct, frozen=True):
    """What every test of this relay is run with. `authorities`: a PEM file of further roots.

    `others`: the ports and encryptions that are tried after a connection failure.
    """

    hostname: str
    guard: Guard
    clock: Clock
    times: Times = Times()
    authorities: str | None = None
    others: tuple[Place, ...] = OTHERS
    tokens: Tokens | None = None

    def dialer(self, times: Times | None = None) -> Dialer:
        timeouts = (times or self.times).timeouts()
        return Dialer(
            self.hostname, self.guard, timeouts, self.authorities, self.clock, self.tokens
        )


class Result(msgspec.Struct, frozen=True):
    """What a test found. `finding` None: it works. `pin`: what `auto` decided, else empty."""

    steps: tuple[StepDone, ...]
    finding: Finding | None = None
    transcript: str = ""
    would_work: tuple[Place, ...] = ()
    pin: str = ""

    @property
    def ok(self) -> bool:
        return self.finding is None


class Wanted(msgspec.Struct, frozen=True):
    """What is tried beyond the login: `sender` at MAIL, and a test mail to `send_to`."""

    sender: Address | None = None
    send_to: Address | None = None


async def check(
    setup: Setup, upstream: Upstream, wanted: Wanted, told: Callable[[StepDone], None]
) -> Result:
    """The test. `told` gets each step as it ends, the failing one too. Raises nothing of SMTP."""
    mask = masker(upstream)

    def masked(step: StepDone) -> StepDone:
        return msgspec.structs.replace(step, detail=mask(step.detail))

    watched = Watched(setup.dialer(), lambda step: told(masked(step)))
    deed = _Deed(setup, upstream, wanted, watched)
    try:
        async with asyncio.timeout(setup.times.connect_s + _STEPS_MOST * setup.times.step_s):
            seen = await deed.run()
    except TimeoutError as late:
        seen = of_error(late, watched, upstream)
    finally:
        await deed.close()
    transcript = mask(deed.transcript())
    if seen is None:
        steps = tuple(masked(step) for step in watched.steps)
        return Result(steps, transcript=transcript, pin=deed.pin)
    took = watched.ended(False, "")
    seen = _masked(seen, mask)
    would_work: tuple[Place, ...] = ()
    failed = diagnose(seen, upstream)
    if failed.diagnosis in CONNECTION_FAILURES:
        fewer = Times(min(CONNECT_S, setup.times.connect_s), min(CONNECT_S, setup.times.step_s))
        tried = await others.try_all(setup.dialer(fewer), upstream, setup.others)
        would_work = tuple(found.place for found in tried if found.works)
        seen = _after(seen, [found for found in tried if _turned(found, upstream)])
        failed = diagnose(seen, upstream)
    if seen.step is Step.CERTIFICATE and watched.step is Step.TLS:
        watched.over("")
    said = f"{seen.reply.code} {seen.reply.text}" if seen.reply is not None else seen.said
    detail = printable(said or seen.fault.value)
    last = masked(StepDone(seen.step, False, took.ms, detail))
    told(last)
    finding = Finding(failed.diagnosis, mask(failed.title), failed.causes, failed.fix)
    steps = tuple(masked(step) for step in watched.steps)
    return Result((*steps, last), finding, transcript, would_work)


async def shown_pin(setup: Setup, upstream: Upstream) -> tuple[str, Result]:
    """What `auto` would pin of the certificate that is shown now; no login is tried."""
    anonymous = msgspec.structs.replace(
        upstream, username="", password=None, pin="", validate=Validate.AUTO
    )
    result = await check(setup, anonymous, Wanted(), lambda step: None)
    return result.pin, result


class _Deed:
    """The course of one test; `run` gives what failed, or None."""

    def __init__(self, setup: Setup, upstream: Upstream, wanted: Wanted, watched: Watched) -> None:
        self.pin = ""
        self._setup = setup
        self._upstream = upstream
        self._wanted = wanted
        self._watched = watched
        self._stream: Stream | None = None
        self._earlier = ""

    async def run(self) -> Seen | None:
        watched, upstream = self._watched, self._upstream
        try:
            signed = await watched.sign_in(upstream, watched.contexts(), watched.saying)
            self._signed_in(signed)
            seen = await self._mail() if self._wanted.sender is not None else None
            if seen is None and self._wanted.send_to is not None:
                seen = await self._send()
        except (TransportError, ProtocolError, OSError, EOFError) as error:
            if isinstance(error, TransportError) and error.transcript:
                self._earlier = error.transcript
            return of_error(error, watched, upstream)
        return seen

    async def close(self) -> None:
        stream, self._earlier, self._stream = self._stream, self.transcript(), None
        await farewell(stream)

    def transcript(self) -> str:
        now = self._stream.session.transcript.text() if self._stream is not None else ""
        return "\n".join(part for part in (self._earlier, now) if part)

    def _signed_in(self, signed: SignedIn) -> None:
        self.pin = signed.pin
        self._stream = signed.stream
        self._watched.signed_in()
        details = _protection(signed, self._upstream)
        self._watched.steps = [
            msgspec.structs.replace(step, detail=details.get(step.name, step.detail))
            for step in self._watched.steps
        ]

    async def _mail(self) -> Seen | None:
        stream, sender = self._begun(Step.MAIL), self._wanted.sender
        session = stream.session
        assert isinstance(session, WatchedSession)
        assert sender is not None
        session.try_sender(sender)
        stream.flush()
        done = await self._done(stream)
        reply = done.mail or Reply(500)
        if not reply.good:
            return of_reply(Step.MAIL, Stage.MAIL, reply, self._watched)
        self._watched.over(f"{reply.code} {reply.text}")
        return None

    async def _send(self) -> Seen | None:
        stream, to = self._begun(Step.SEND), self._wanted.send_to
        sender = self._wanted.sender or to
        assert to is not None
        assert sender is not None
        self._earlier = self.transcript()
        octets = self._letter(sender, to)
        stream.session.send(sender, [to], len(octets), False, [octets])
        stream.flush()
        done = await self._done(stream)
        answers = (
            (Stage.MAIL, done.mail),
            (Stage.RCPT, done.rcpts[0]),
            (Stage.DATA, done.data),
            (Stage.DOT, done.final),
        )
        for stage, reply in answers:
            if reply is not None and not reply.good:
                return of_reply(Step.SEND, stage, reply, self._watched)
        if done.final is None:
            raise Lost(Stage.DOT, "the upstream did not answer the test mail")
        self._watched.over(f"{done.final.code} {done.final.text}")
        return None

    def _begun(self, step: Step) -> Stream:
        assert self._stream is not None
        self._watched.begin(step)
        return self._stream

    async def _done(self, stream: Stream) -> MessageDone:
        event = await stream.event()
        if not isinstance(event, MessageDone):
            raise Lost(stream.session.stage, "the upstream spoke out of turn")
        return event

    def _letter(self, sender: Address, to: Address) -> bytes:
        clock, upstream = self._setup.clock, self._upstream
        ident = clock.token(_ID_CHARACTERS, _ID_LENGTH)
        lines = (
            f"From: {sender}",
            f"To: {to}",
            f"Subject: Test mail through {upstream.host}",
            f"Date: {formatdate(clock.wall_ms() / 1000)}",
            f"Message-ID: <{ident}@{self._setup.hostname}>",
            "MIME-Version: 1.0",
            "Content-Type: text/plain; charset=us-ascii",
            "",
            "This is a test mail. It was sent by Waypost to see whether",
            f"{upstream.host}, port {upstream.port}, takes and delivers mail of",
            f"{sender}. It did.",
            "",
        )
        return "\r\n".join(lines).encode("ascii", "replace")


def _masked(seen: Seen, mask: Callable[[str], str]) -> Seen:
    """Before anything is cut to length, which could leave half a secret."""
    reply = seen.reply
    if reply is not None:
        reply = Reply(reply.code, tuple(mask(line) for line in reply.lines))
    return msgspec.structs.replace(seen, said=mask(seen.said), reply=reply)


def _after(seen: Seen, turned: Sequence[others.Tried]) -> Seen:
    """What was seen, where the server said nothing that tells how it wants to be spoken to, and the
    same port has been tried the other way."""
    if seen.step not in (Step.GREETING, Step.TLS) or seen.starttls:
        return seen
    if seen.fault in (Fault.SILENT, Fault.CLOSED, Fault.GARBLED) and any(t.spoke for t in turned):
        return msgspec.structs.replace(seen, fault=Fault.OTHER_PROTECTION)
    if seen.secured and seen.fault is Fault.CLOSED and any(t.waited for t in turned):
        # It waits for TLS, and hangs up on ours.
        return msgspec.structs.replace(seen, step=Step.TLS, fault=Fault.TLS_ALERT)
    return seen


def _turned(found: others.Tried, upstream: Upstream) -> bool:
    """The same port with TLS in the place of plain text, or the reverse."""
    other = (found.place.encryption is Encryption.TLS) != (upstream.encryption is Encryption.TLS)
    return other and found.place.port == upstream.port


def _protection(signed: SignedIn, upstream: Upstream) -> dict[Step, str]:
    """What TLS was agreed on, and how the certificate is trusted."""
    transport = signed.stream.transport
    cipher = transport.get_extra_info("cipher") if transport is not None else None
    if cipher is None:
        return {}
    if signed.pin.startswith("name:"):
        trusted = f"for {signed.pin[5:]}, not {upstream.host}: that name is kept to from now on"
    elif signed.pin.startswith("key:"):
        trusted = f"self-signed: its key {signed.pin[4:20]}… is kept to from now on"
    elif upstream.validate is Validate.OFF:
        trusted = "not checked"
    elif upstream.validate is Validate.AUTO and upstream.pin not in ("", "verified"):
        trusted = "the one that was trusted before"
    else:
        trusted = "verified"
    return {Step.TLS: f"{cipher[1]}, {cipher[0]}", Step.CERTIFICATE: trusted}
