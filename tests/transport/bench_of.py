"""One relay's delivery side for a test: clock, store, dispatcher, one upstream, two accounts."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from transport.fake_store import FakeClock, FakeStore, make_upstream
from transport.scripted import Scripted
from waypost.core.address import parse
from waypost.core.message import Acceptance
from waypost.core.upstream import Limits, Upstream
from waypost.transport.dispatch import Dispatcher
from waypost.transport.link.connect import Dialer
from waypost.transport.link.guard import Guard
from waypost.transport.link.stream import Timeouts
from waypost.transport.schedule import QueueRules

PATIENT = Timeouts(connect_s=60.0, reply_s=60.0, data_s=60.0, block_s=60.0, dot_s=60.0)


def acceptance(ident: int, sender_id: int = 1, account_id: int = 1) -> Acceptance:
    """What the door asks the dispatcher about."""
    return Acceptance(
        id=ident,
        generation=1,
        channel="smtp",
        account_id=account_id,
        key_id=None,
        peer="",
        sender_id=sender_id,
        upstream_id=1,
        envelope_from=parse("a@example.com"),
        subject="",
        message_id="",
        smtp_message_id="",
        null_sender=False,
        addressees=(),
        head=b"",
        rest=b"",
        raw_octets=0,
        digest=b"",
        eight_bit=False,
        rate_per_minute=0,
        repeat_window_ms=0,
    )


class Rig:
    """What a test holds in its hands."""

    def __init__(
        self, server: Scripted, data: Path, idle_s: float, rules: QueueRules | None = None
    ) -> None:
        self.server = server
        self.clock = FakeClock()
        self.store = FakeStore(self.clock)
        dialer = Dialer("relay.test", Guard(), PATIENT)
        self.dispatcher = Dispatcher(
            self.store, dialer, self.clock, rules or QueueRules(), data, idle_s=idle_s
        )

    def upstream(self, limits: Limits | None = None, **changes: object) -> Upstream:
        upstream = make_upstream(self.server.port, limits, **changes)
        self.store.add_upstream(upstream)
        return upstream

    def edit(self, **changes: object) -> None:
        """As a command does: a new edition with a clean health."""
        known = self.store.settings[1]
        self.store.add_upstream(
            msgspec.structs.replace(known, edition=known.edition + 1, **changes)
        )
        self.dispatcher.stirred()

    def later(self, ms: int) -> None:
        self.clock.ms += ms
        self.dispatcher.stirred()


@contextlib.asynccontextmanager
async def rig(
    server: Scripted,
    data: Path,
    limits: Limits | None = None,
    idle_s: float = 30.0,
    rules: QueueRules | None = None,
) -> AsyncIterator[Rig]:
    """A rig with upstream 1, sender 1 and accounts 1 and 2; start the dispatcher yourself."""
    async with server:
        held = Rig(server, data, idle_s, rules)
        held.upstream(limits)
        held.store.add_sender(1, 1)
        held.store.add_account(1)
        held.store.add_account(2)
        held.store.attach(held.dispatcher)
        try:
            yield held
        finally:
            await held.dispatcher.stop(30.0)
        assert not held.store.claimed
        assert not held.store.doubly
