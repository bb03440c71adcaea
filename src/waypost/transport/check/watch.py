"""A `Dialer` that is watched while it signs in: what step it is at, since when, what came of each.

Promises that nothing but the watching differs from delivery's own. Knows nothing of diagnoses or of
what is shown.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import msgspec

from waypost.core.address import Address
from waypost.core.reply import Reply, Stage, printable
from waypost.core.upstream import Encryption, Upstream
from waypost.transport.link.connect import Dialer
from waypost.transport.link.names import Found
from waypost.transport.link.stream import Stream
from waypost.transport.trouble import Lost
from waypost.upstream.diagnosis import Step
from waypost.wire.client import ClientSession
from waypost.wire.events import Broken, ClientEvent, MessageDone
from waypost.wire.lines import command

QUIT_S = 1.0  # nobody needs the answer
_TURNS = 3  # of the loop, until an aborted TLS connection has let go of its socket
_FIRST_OCTETS = 8
_SHOWN_ADDRESSES = 4


class StepDone(msgspec.Struct, frozen=True):
    """One step: milliseconds it took, and what was seen, in one line."""

    name: Step
    ok: bool
    ms: int
    detail: str = ""


class WatchedSession(ClientSession):
    """Delivery's dialogue, which tells when the greeting came, and can say MAIL alone."""

    def __init__(self, ehlo_name: str, tls: bool, greeted: Callable[[], None]) -> None:
        super().__init__(ehlo_name, tls)
        self.first = b""  # what the server said first, a few octets
        self.garbled = ""  # why the dialogue broke, in words
        self._greeted = greeted
        self._mail_reply = Reply(250)

    def receive(self, data: bytes) -> list[ClientEvent]:
        if not self.first:
            self.first = data[:_FIRST_OCTETS]
        before = self.stage
        events = super().receive(data)
        if before is Stage.GREETING and self.stage is not Stage.GREETING:
            self._greeted()
        for event in events:
            if isinstance(event, Broken):
                self.garbled = event.error.public
        return events

    def try_sender(self, sender: Address) -> None:
        """Says MAIL, then RSET where it was taken; ends in a `MessageDone` without recipients."""
        self._idle()
        self._say(command(f"MAIL FROM:<{sender}>", Stage.MAIL), Stage.MAIL, self._tried)

    def _tried(self, reply: Reply) -> None:
        self._mail_reply = reply
        if self._yes(reply):
            self._say(command("RSET", Stage.MAIL), Stage.MAIL, self._reset)
        else:
            self._ready(MessageDone(reply, [], None, None))

    def _reset(self, reply: Reply) -> None:
        self._ready(MessageDone(self._mail_reply, [], None, None))


class Watched(Dialer):
    """One sign-in. `told` gets each good step once, as soon as it is over."""

    def __init__(self, like: Dialer, told: Callable[[StepDone], None]) -> None:
        self.__dict__.update(like.__dict__)
        self.step = Step.RESOLVE
        self.steps: list[StepDone] = []
        self.seen: WatchedSession | None = None
        self._told = told
        self._names_told: set[Step] = set()
        self._since = self.monotonic()
        self._encryption = Encryption.NONE

    async def resolve(self, upstream: Upstream) -> list[Found]:
        self._encryption = upstream.encryption
        found = await super().resolve(upstream)
        if found:
            names = [str(address[0]) for _, address in found]
            more = f" and {len(names) - _SHOWN_ADDRESSES} more" * (len(names) > _SHOWN_ADDRESSES)
            self.over(", ".join(names[:_SHOWN_ADDRESSES]) + more)
            self.begin(Step.CONNECT)
        return found

    def session(self, encryption: Encryption) -> ClientSession:
        tls = encryption is Encryption.TLS
        self.seen = WatchedSession(self._hostname, tls, self._greeted)
        return self.seen

    def saying(self, stage: Stage) -> None:
        """For `sign_in`: what begins now ends what was before."""
        match stage:
            case Stage.CONNECT:  # also where `auto` begins anew, asking less
                self.steps.clear()
                self.seen = None
                self.begin(Step.RESOLVE)
                return
            case Stage.HANDSHAKE if self.step is Step.TLS:
                return
            case Stage.AUTH:
                self.over(self._offers())
                self.certified()
                self.begin(Step.LOGIN)
                return
        self.over(self._offers() if self.step is Step.EHLO else "")
        self.begin(_BEGINS[stage])

    def signed_in(self) -> None:
        """`sign_in` has returned."""
        if self.step is Step.EHLO:
            self.over(self._offers())
            self.certified()
        else:
            self.over("")

    def begin(self, step: Step) -> None:
        self.step = step
        self._since = self.monotonic()

    def over(self, detail: str) -> None:
        """The step under way went well; a second EHLO is told only where it fails."""
        done = self.ended(True, detail)
        if any(done.name is step.name for step in self.steps):
            return
        self.steps.append(done)
        if done.name not in self._names_told:
            self._names_told.add(done.name)
            self._told(done)

    def ended(self, ok: bool, detail: str) -> StepDone:
        """The step under way, ended so."""
        ms = round((self.monotonic() - self._since) * 1000)
        return StepDone(self.step, ok, ms, printable(detail))

    def certified(self) -> None:
        """The certificate was judged with the handshake."""
        if self._encryption is not Encryption.NONE:
            self.begin(Step.CERTIFICATE)
            self.over("")

    def _greeted(self) -> None:
        said = self.seen.transcript.text() if self.seen is not None else ""
        if self.seen is not None and self.seen.stage is Stage.EHLO:
            self.over(said.partition("\n")[0].removeprefix("S: "))
            self.begin(Step.EHLO)

    def _offers(self) -> str:
        if self.seen is None:
            return ""
        offered = self.seen.capabilities
        words = ["STARTTLS"] * offered.starttls
        words += [f"AUTH {' '.join(offered.auth)}"] * bool(offered.auth)
        words += ["8BITMIME"] * offered.eight_bit
        words += [f"SIZE {offered.size}"] * bool(offered.size)
        return ", ".join(words) or "no extensions that matter here"


async def farewell(stream: Stream | None) -> None:
    """Says QUIT where it may, and leaves nothing open behind; a loop may end right after it."""
    if stream is not None:
        if stream.usable and stream.session.stage is Stage.IDLE:
            stream.session.quit()
            stream.flush()
            with contextlib.suppress(Lost, TimeoutError):
                async with asyncio.timeout(QUIT_S):
                    await stream.event()
        stream.fail(Lost(Stage.QUIT, "closed by us"))
    for _ in range(_TURNS):
        await asyncio.sleep(0)


_BEGINS = {
    Stage.HANDSHAKE: Step.TLS,
    Stage.GREETING: Step.GREETING,
    Stage.STARTTLS: Step.TLS,
    Stage.EHLO: Step.EHLO,
}
