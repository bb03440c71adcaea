"""What trouble does to an upstream's health: pure decisions.

Promises the next `Health` and the event that goes with it; an event only where the state changes. Knows
nothing of connections or of the store.
"""

from __future__ import annotations

import msgspec

from waypost.core.event import Event, Kind
from waypost.core.stage import Stage
from waypost.core.upstream import Health, Upstream, UpstreamState
from waypost.transport import schedule
from waypost.transport.trouble import LOGIN_STAGES, Scope, Trouble

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


def better(upstream: Upstream, health: Health, now_ms: int) -> Change:
    """The health after the upstream let us in, or took a message, again."""
    changed = Health(since_ms=now_ms, last_success_ms=now_ms)
    if health.state is UpstreamState.OK:
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


def _event(upstream: Upstream, kind: Kind, text: str, now_ms: int) -> Event:
    return Event(now_ms, kind, text, account_id=upstream.account_id, upstream_id=upstream.id)
