"""One client's session: joins the SMTP machine to a connection, to the door, and to time.

Promises that an answer to the final dot comes from the door alone; that whatever a read brings
is answered by one write; that a session which is waiting for the store reads no more than a
bounded amount; and that it ends when its client uses up its time. Knows nothing of listeners and
of what is allowed to whom.
"""

from __future__ import annotations

import asyncio
import collections
import ssl
from collections.abc import Callable
from typing import Any, ClassVar, cast

from waypost.core.address import Address
from waypost.core.errors import StoreAway
from waypost.core.facts import Directory, Key, RecipientsFrom
from waypost.core.message import Submission
from waypost.core.verdict import AUTH_AWAY, Reason, Refusal
from waypost.intake import answer
from waypost.intake.auth import AuthRefusal, admit, withdrawn
from waypost.intake.house import SHUTDOWN_S, House
from waypost.intake.receive import MEMORY_FULL, Receiver
from waypost.wire import events as ev
from waypost.wire.server import ServerSession

WRONG_KEYS = 3  # the contract, section 2
READ_AHEAD_OCTETS = 65_536  # pipelined commands that may wait while one is being decided
PACE_STEP_S = 10.0
PACE_WINDOW_S = 60.0
SMTP_RECIPIENTS = 1_000  # RCPTs of a message, the contract, section 3
NOTED_RECIPIENTS = 100  # with a refusal, of which there may be ten thousand; the log keeps 2 KB
CLOSING_S = 10.0  # for a last reply that is not read

_WITHDRAWN = "This key or its account is no longer valid, ask who gave it to you"
_LOGGED_VERBS = frozenset({"AUTH", "MAIL", "RCPT", "DATA"})


class Session(asyncio.Protocol):
    """From the greeting to the end of the connection."""

    def __init__(self, house: House, peer: str, tls: bool) -> None:
        self.peer = peer
        self.came_s = self._heard_s = self._answered_s = house.now_s
        self._house = house
        self._with = house.with_
        limit = house.with_.door.rules.message_bytes
        limits = ev.ServerLimits(message_octets=limit, recipients=SMTP_RECIPIENTS)
        self._smtp = ServerSession(house.hostname, limits, tls=tls)
        self._transport: asyncio.Transport | None = None
        self._gone = False
        self._closing = False
        self._last_word = ""  # the session ends with it as soon as nothing is in progress
        self._shaking = False  # a TLS handshake is under way
        self._early = b""  # read behind the handshake before it was known to be done
        self._paused = False
        self._unread_s = -1.0  # since when the client reads no replies, -1: it does
        self._delay: asyncio.TimerHandle | None = None
        self._directory: Directory | None = None
        self._key: Key | None = None
        self._wrong_keys = 0
        self._helo = ""
        self._mail: ev.Mail | None = None
        self._rcpts: list[Address] = []
        self._receiver: Receiver | None = None
        self._data_began_s = 0.0
        self._pace: collections.deque[tuple[float, int]] = collections.deque()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Those of uvloop are not of this class, but of its shape.
        self._transport = cast(asyncio.Transport, transport)
        if self._gone:
            self._transport.abort()
            return
        self._smtp.greet()
        self._flush()

    def data_received(self, data: bytes) -> None:
        if self._shaking:
            self._early += data
            return
        if self._closing:
            return
        smtp = self._smtp
        self._heard_s = self._house.now_s
        if self._key is not None and self._receiver is None and smtp.waiting is None:
            self._check_key()
        smtp.receive(data)
        self._pump()

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone = self._closing = True
        if self._delay is not None:
            self._delay.cancel()
        if self._receiver is not None:
            self._receiver.discard()
            self._receiver = None
        self._house.left(self)

    def pause_writing(self) -> None:
        self._unread_s = self._house.now_s
        self._control_reading()

    def resume_writing(self) -> None:
        self._unread_s = -1.0
        self._heard_s = self._house.now_s
        self._control_reading()

    # What the house calls.

    def sweep(self, now_s: float) -> None:
        """Looks at the time: idle, silent or slow in DATA, replies unread."""
        patience = self._house.patience
        if self._unread_s >= 0 and now_s - self._unread_s > patience.unread_s:
            self.abort()
        elif self._closing:
            if now_s - self._heard_s > CLOSING_S:
                self.abort()
        elif self._shaking or self._transport is None:
            return  # the handshake has a limit of its own
        elif self._receiver is not None and not self._smtp.waiting:
            self._sweep_data(now_s)
        elif not self._smtp.waiting and now_s - self._answered_s > patience.idle_s:
            # Since our last reply: octets that never become a command do not keep a session open.
            self._end("421 4.4.2 Idle for too long")

    def stop(self, why: str) -> None:
        """Says it and ends, now or as soon as the message in progress is answered."""
        self._last_word = why
        if self._transport is None or self._shaking:
            self.abort()
        elif self._delay is not None:
            self._delay.cancel()
            self._end(why)
        elif not self._smtp.waiting and self._receiver is None:
            self._end(why)

    def abort(self) -> None:
        """Ends without a word."""
        self._closing = True
        if self._transport is not None:
            self._transport.abort()
        else:
            self.connection_lost(None)

    # From here on it is nobody else's.

    def _sweep_data(self, now_s: float) -> None:
        patience = self._house.patience
        if now_s - self._heard_s > patience.silent_s:
            self._end("421 4.4.2 No data for too long")
            return
        if now_s - self._data_began_s > patience.data_s:
            self._end("421 4.4.2 The message takes too long")
            return
        pace = self._pace
        if not pace:
            pace.append((self._data_began_s, 0))
        if now_s - pace[-1][0] < PACE_STEP_S:
            return
        came = self._smtp.data_octets > pace[-1][1]
        pace.append((now_s, self._smtp.data_octets))
        while now_s - pace[0][0] >= PACE_WINDOW_S + PACE_STEP_S:
            pace.popleft()
        then_s, octets = pace[0]
        seen_s = now_s - then_s
        # Who sends nothing at all has the longer limit of silence, and is judged when going on.
        slow = self._smtp.data_octets - octets < patience.pace * seen_s
        if came and slow and seen_s >= PACE_WINDOW_S:
            self._end("421 4.4.2 The message comes too slowly")

    def _pump(self) -> None:
        """Every event that the input holds, then one write."""
        smtp = self._smtp
        while (event := smtp.next_event()) is not None:
            self._DEEDS[type(event)](self, event)
        if self._last_word and not smtp.waiting and self._receiver is None and not smtp.ended:
            smtp.shut(self._last_word)
        self._flush()

    def _flush(self) -> None:
        transport = self._transport
        if transport is None or self._gone:
            return
        smtp = self._smtp
        if out := smtp.take_output():
            transport.write(out)
            self._answered_s = self._house.now_s
        if smtp.ended and not self._closing:
            self._closing = True
            self._heard_s = self._house.now_s
            if self._receiver is not None:
                self._receiver.discard()
                self._receiver = None
            transport.close()
        elif smtp.waiting or self._paused:
            self._control_reading()

    def _control_reading(self) -> None:
        transport = self._transport
        if transport is None or self._closing or self._shaking:
            return
        smtp = self._smtp
        crowded = smtp.waiting and smtp.buffered > READ_AHEAD_OCTETS
        if (crowded or self._unread_s >= 0) != self._paused:
            self._paused = not self._paused
            if self._paused:
                transport.pause_reading()
            else:
                transport.resume_reading()

    def _end(self, line: str) -> None:
        self._smtp.shut(line)
        self._flush()

    def _check_key(self) -> None:
        """A key that was disabled or rotated since is dead, and the session with it."""
        refusal = self._withdrawn()
        if refusal is not None:
            line = answer.refused(refusal)
            self._note(refusal.reason, line)
            self._smtp.shut(line)

    def _withdrawn(self) -> Refusal | None:
        """Why the key may not be used any more. One comparison if nothing changed."""
        try:
            directory = self._with.store.directory()
        except StoreAway:
            return None  # what needs the store says so itself
        if directory is self._directory:
            return None
        assert self._key is not None
        self._directory = directory
        reason = withdrawn(directory, self._key)
        return Refusal(reason, _WITHDRAWN) if reason is not None else None

    def _on_hello(self, event: ev.Hello) -> None:
        self._helo = event.name
        self._mail = None

    def _on_reset(self, event: ev.Reset) -> None:
        self._mail = None

    def _on_quit(self, event: ev.Quit) -> None:
        """The machine has said it all."""

    def _on_refused(self, event: ev.Refused) -> None:
        if event.verb in _LOGGED_VERBS:
            self._note(answer.reason(event.line), event.line, event.mail_from, event.rcpt_to)

    def _on_violation(self, event: ev.Violation) -> None:
        self._note(answer.reason(event.line), event.line)

    def _on_auth(self, event: ev.Auth) -> None:
        store, clock = self._with.store, self._with.clock
        try:
            directory = store.directory()
            found = admit(directory, event.password)
            if isinstance(found, Key):
                store.used(found.id, clock.wall_ms())
        except StoreAway:
            code, enhanced = AUTH_AWAY
            line = f"{code} {enhanced} The relay cannot look up keys now, try again later"
            self._note(Reason.TROUBLE, line)
            self._smtp.answer(line)
            return
        if isinstance(found, AuthRefusal):
            self._wrong_keys += 1
            known = found.known
            who = (known.account_id, known.id) if known is not None else (None, None)
            self._with.door.note("smtp", self.peer, who, "", found.reason, found.smtp_line)
            delay_s = self._with.throttle.failed(self.peer, clock.monotonic())
            loop = asyncio.get_running_loop()
            self._delay = loop.call_later(delay_s, self._wrong_key, found.smtp_line)
            return
        self._key, self._directory = found, directory
        self._house.known(self)
        if found.recipients is RecipientsFrom.ENVELOPE:
            self._smtp.limit_distinct(self._with.door.rules.recipients)
        self._smtp.accept()

    def _wrong_key(self, line: str) -> None:
        self._delay = None
        self._heard_s = self._house.now_s
        self._smtp.answer(line)
        if self._wrong_keys >= WRONG_KEYS and not self._smtp.ended:
            self._smtp.shut("421 4.7.0 Too many wrong keys")
        self._pump()

    def _on_mail(self, event: ev.Mail) -> None:
        key = self._key
        assert key is not None  # the machine asks for AUTH before MAIL
        self._mail = event
        self._rcpts = []
        if self._last_word:
            self._smtp.shut(self._last_word)
            return
        limit = self._with.door.rules.message_bytes
        refusal = None
        if event.size is not None and event.size > limit:
            text = f"The message is larger than {limit} bytes: send less, or a link to it"
            refusal = Refusal(Reason.TOO_LARGE_DECLARED, text)
        elif not self._with.memory.room_for(event.size or 0):
            refusal = MEMORY_FULL
        else:
            refusal = self._with.door.known_at_mail(key.account_id, key.id)
        if refusal is None:
            self._smtp.accept()
        else:
            self._refuse(refusal)

    def _on_rcpt(self, event: ev.Rcpt) -> None:
        self._rcpts.append(event.address)
        self._smtp.accept()

    def _on_data(self, event: ev.DataStart) -> None:
        if self._last_word:
            self._smtp.shut(self._last_word)
            return
        assert self._mail is not None
        if not self._with.memory.room_for(self._mail.size or 0):
            self._refuse(MEMORY_FULL)
            return
        limit = self._with.door.rules.message_bytes
        self._receiver = Receiver(self._with.spool, self._with.memory, limit)
        self._data_began_s = self._house.now_s
        self._pace.clear()
        self._smtp.accept()

    def _on_chunk(self, event: ev.DataChunk) -> None:
        receiver = self._receiver
        if receiver is not None:
            receiver.feed(event.data)
            if receiver.refusal is not None:
                self._smtp.discard()

    def _on_end(self, event: ev.DataEnd) -> None:
        receiver, key, mail = self._receiver, self._key, self._mail
        self._receiver = None
        assert receiver is not None and key is not None and mail is not None
        content = self._withdrawn() or receiver.finish()
        if isinstance(content, Refusal):
            receiver.discard()
            self._refuse(content)
            return
        self._mail = None  # what is refused from here on is not of this transaction
        submission = Submission(
            channel="smtp",
            account_id=key.account_id,
            key_id=key.id,
            peer=self.peer,
            helo=self._helo,
            tls=self._smtp.tls,
            mail_from=mail.address,
            rcpt_to=tuple(self._rcpts),
            content=content,
        )
        self._house.finish(self._submit(receiver, submission))

    async def _submit(self, receiver: Receiver, submission: Submission) -> None:
        outcome = await self._with.door.submit(submission, receiver.flags)
        if isinstance(outcome, Refusal):
            receiver.discard()
        else:
            receiver.release()
        if self._gone or self._smtp.ended:
            return  # it stands all the same; the client will find it by its Message-ID
        self._heard_s = self._house.now_s
        ends = isinstance(outcome, Refusal) and outcome.row.ends_session
        self._smtp.answer(answer.answered(outcome), end=ends)
        if self._smtp.buffered and not ends:
            self._check_key()
        self._pump()

    def _on_starttls(self, event: ev.StartTls) -> None:
        transport = self._transport
        assert transport is not None
        transport.pause_reading()  # what comes next belongs to the handshake
        self._flush()
        self._shaking = True
        self._house.run(self._shake(transport))

    async def _shake(self, transport: asyncio.Transport) -> None:
        try:
            secured = await asyncio.get_running_loop().start_tls(
                transport,
                self,
                self._with.certificate.context,
                server_side=True,
                ssl_handshake_timeout=self._house.patience.handshake_s,
                ssl_shutdown_timeout=SHUTDOWN_S,
            )
        except (OSError, ssl.SSLError, TimeoutError):
            transport.abort()
            self.connection_lost(None)
            return
        if self._closing:  # ended meanwhile: uvloop calls that a handshake, and tells of no loss
            self.connection_lost(None)
        if self._gone or secured is None:
            return
        self._transport = secured
        self._shaking = False
        self._smtp.tls_started()
        early, self._early = self._early, b""
        if early:
            self.data_received(early)
        self._control_reading()

    def _refuse(self, refusal: Refusal) -> None:
        line = answer.refused(refusal)
        self._note(refusal.reason, line)
        self._smtp.answer(line, end=refusal.row.ends_session)
        if not self._smtp.transaction:
            self._mail = None

    def _note(self, reason: Reason, line: str, mail_from: str = "", rcpt_to: str = "") -> None:
        key, mail = self._key, self._mail
        who = (key.account_id, key.id) if key is not None else (None, None)
        if mail is not None and mail.address is not None:
            mail_from = str(mail.address)
        to = [rcpt_to] if rcpt_to else []
        if mail is not None:
            to += map(str, self._rcpts[:NOTED_RECIPIENTS])
        self._with.door.note("smtp", self.peer, who, mail_from, reason, line, tuple(to))

    _DEEDS: ClassVar[dict[type[ev.ServerEvent], Callable[[Session, Any], None]]] = {
        ev.Hello: _on_hello,
        ev.StartTls: _on_starttls,
        ev.Auth: _on_auth,
        ev.Mail: _on_mail,
        ev.Rcpt: _on_rcpt,
        ev.DataStart: _on_data,
        ev.DataChunk: _on_chunk,
        ev.DataEnd: _on_end,
        ev.Reset: _on_reset,
        ev.Quit: _on_quit,
        ev.Refused: _on_refused,
        ev.Violation: _on_violation,
    }
