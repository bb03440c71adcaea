"""What trouble does to an upstream's health, and how many connections it is thought to bear.

Promises the next `Health` and the event that goes with it; an event only where the state changes.
Knows nothing of connections or of the store.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from waypost.clock import Clock
from waypost.core.event import Event, Kind
from waypost.core.reply import Stage
from waypost.core.upstream import Health, Upstream, UpstreamState
from waypost.transport import schedule
from waypost.transport.trouble import LOGIN_STAGES, Scope, Trouble

SHRUNK_S = 300.0  # how long fewer connections are used after the upstream found them too many
CHECK_MS = 86_400_000  # a quiet upstream is logged in to once a day
CHECK_JITTER = 0.1  # of that, so that not all are tried at once
SUCCESS_MS = 60_000  # how often the time of the last success is kept
LOST_ROW = 3  # messages in a row that a connection was lost over: then the upstream backs off


class Change(msgspec.Struct, frozen=True):
    """What is to be kept, and what is to be told."""

    health: Health
    event: Event | None


def worse(
    upstream: Upstream, health: Health, trouble: Trouble, now_ms: int, chance: float
) -> Change:
    """The health after trouble that is the upstream's."""
    paused = trouble.scope is Scope.UPSTREAM_PAUSED
    state = UpstreamState.PAUSED if paused else UpstreamState.FAILING
    same = health.state is state
    probes = 1 if health.state is UpstreamState.OK else health.probes + 1
    login = trouble.stage in LOGIN_STAGES
    wait = schedule.login_probe_ms(probes, chance) if login else schedule.message_probe_ms(chance)
    changed = Health(
        state=state,
        reason=trouble.reason,
        since_ms=health.since_ms if same else now_ms,
        probe_at_ms=now_ms + wait,
        probes=probes,
        last_success_ms=health.last_success_ms,
    )
    if same:
        return Change(changed, None)
    kind = Kind.UPSTREAM_FAILING
    if paused:
        login_failed = trouble.stage is Stage.AUTH
        kind = Kind.UPSTREAM_LOGIN_FAILED if login_failed else Kind.UPSTREAM_PAUSED
    return Change(changed, _event(upstream, kind, trouble.reason, now_ms))


def better(upstream: Upstream, health: Health, now_ms: int, owed: bool = False) -> Change:
    """The health after the upstream let us in, or took a message, again; `owed`: it was told to be
    in trouble, and not yet to be out of it."""
    was_ok = health.state is UpstreamState.OK
    since_ms = (health.since_ms if was_ok else 0) or now_ms
    changed = Health(since_ms=since_ms, last_success_ms=now_ms)
    if was_ok and not owed:
        return Change(changed, None)
    text = f"{upstream.name} works again"
    return Change(changed, _event(upstream, Kind.UPSTREAM_RECOVERED, text, now_ms))


def by_hand(health: Health) -> bool:
    """Whether a person paused it: then nothing is probed until a person ends that."""
    return health.state is UpstreamState.PAUSED and health.probe_at_ms == 0


def lost_row(stage: Stage, reason: str) -> Trouble:
    """The trouble of an upstream that loses message after message."""
    text = f"{LOST_ROW} messages in a row lost their connection, the last so: {reason}"
    return Trouble(stage, Scope.UPSTREAM_FAILING, text)


def failed_probe(known: Trouble) -> Trouble:
    """The trouble of an upstream that lost the one message it was tried with."""
    return Trouble(known.stage, Scope.UPSTREAM_FAILING, known.reason)


def _event(upstream: Upstream, kind: Kind, text: str, now_ms: int) -> Event:
    return Event(now_ms, kind, text, account_id=upstream.account_id, upstream_id=upstream.id)


class Condition:
    """The health of one upstream as it is seen here. `tell` is given each change to be kept.

    `upstream` is replaced by whoever owns this when the settings change.
    """

    def __init__(self, upstream: Upstream, clock: Clock, tell: Callable[[Change], None]) -> None:
        self.upstream = upstream
        self.health = upstream.health
        self.ok = self.health.state is UpstreamState.OK
        self.by_login = False  # the next probe is a login, not a message
        self._clock = clock
        self._tell = tell
        self._told: Health | None = None  # what the store is being told
        self._seen = upstream.health  # what the settings said last
        self._owed = False  # a pause or trouble was told of, and ended by somebody: does it work?
        self._lost_row = 0
        self._shrunk = 0
        self._shrunk_until = 0.0

    def probe_due(self, now_ms: int) -> bool:
        return not self.ok and not by_hand(self.health) and self.health.probe_at_ms <= now_ms

    def allowed(self, connections: int) -> int:
        """How many of so many connections are used now."""
        if self._shrunk_until and self._clock.monotonic() < self._shrunk_until:
            return min(self._shrunk, connections)
        return connections

    def suffer(self, known: Trouble, others: int, probe: bool) -> bool:
        """Trouble while `others` of its connections work. False: fewer of them will do.

        While it is not well only a probe, or what only a person can mend, tells anything new: the
        rest was under way when it fell ill, and must not put off the next probe.
        """
        paused, failing = Scope.UPSTREAM_PAUSED, UpstreamState.FAILING
        worse_yet = known.scope is paused and self.health.state is failing
        if by_hand(self.health) or not (self.ok or probe or worse_yet):
            return True
        slight = known.crowded or known.stage in (Stage.CONNECT, Stage.GREETING)
        if known.scope is Scope.UPSTREAM_FAILING and slight and others > 0 and self.ok:
            self._shrunk = others
            self._shrunk_until = self._clock.monotonic() + SHRUNK_S
            return False
        self.by_login = known.stage in LOGIN_STAGES
        now_ms, chance = self._clock.wall_ms(), self._clock.chance()
        self._change(worse(self.upstream, self.health, known, now_ms, chance))
        return True

    def lost(self, known: Trouble | None) -> Trouble | None:
        """A message lost its connection, or (None) did not; the upstream's trouble, if it is."""
        if known is None:
            self._lost_row = 0
            return None
        self._lost_row += 1
        if self.ok and self._lost_row < LOST_ROW:
            return None
        row, self._lost_row = self._lost_row, 0
        return lost_row(known.stage, known.reason) if row >= LOST_ROW else failed_probe(known)

    def recover(self, probe: bool) -> bool:
        """The upstream works; whether that is news. What was on the wire when a person paused it,
        or a login was refused, ends no pause: only a probe does, or a person."""
        if by_hand(self.health) or (self.health.state is UpstreamState.PAUSED and not probe):
            return False
        now_ms = self._clock.wall_ms()
        lately = 0 <= now_ms - self.health.last_success_ms < SUCCESS_MS
        if self.ok and lately and not self._owed:
            return False
        news, owed, self._owed = not self.ok, self._owed, False
        self._change(better(self.upstream, self.health, now_ms, owed))
        return news

    def check_due(self, now_ms: int) -> bool:
        """Nothing has gone through it for a day: a login tells whether it would."""
        upstream, health = self.upstream, self.health
        since = max(health.last_success_ms, health.since_ms, upstream.created_at_ms)
        # Its own moment of the day, the same at every look.
        early = CHECK_MS * CHECK_JITTER * (upstream.id * 37 % 100) / 100
        return now_ms - since >= CHECK_MS - early

    def probe_again(self) -> None:
        """The probing message was refused for its own sake: the next may be tried."""
        if by_hand(self.health):
            return
        now_ms = max(1, self._clock.wall_ms())
        self._change(Change(msgspec.structs.replace(self.health, probe_at_ms=now_ms), None))

    def see(self, upstream: Upstream) -> bool:
        """Takes new settings over; whether somebody changed the health by hand."""
        edited = upstream.edition != self.upstream.edition
        changed = upstream.health not in (self._seen, self.health)
        self.upstream, self._seen = upstream, upstream.health
        if edited:
            self._shrunk_until = 0.0
        if not edited and (not changed or self._told is not None):
            return False
        self._told = None
        if not self.ok:
            self._owed = True
        self._set(upstream.health)
        self.by_login = False
        self._lost_row = 0
        return True

    def kept(self, told: Health) -> None:
        """The store has this now."""
        if self._told is told:
            self._told = None

    def _change(self, change: Change) -> None:
        self._told = change.health
        self._set(change.health)
        self._tell(change)

    def _set(self, health: Health) -> None:
        self.health = health
        self.ok = health.state is UpstreamState.OK
