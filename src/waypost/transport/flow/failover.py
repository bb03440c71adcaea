"""Whose mail goes through a second upstream while the first cannot: told once when it begins.

Promises one event each time it begins, and that a second upstream which refused a sender is not
asked for it again until it is edited. Knows nothing of when the first can take mail again.
"""

from __future__ import annotations

from collections.abc import Mapping

from waypost import log
from waypost.core.event import Event, Kind
from waypost.core.upstream import Upstream
from waypost.store.contract import RelayStore
from waypost.transport.courier import Courier
from waypost.transport.flow.records import Records

REFUSALS_MOST = 10_000  # remembered; the oldest are asked again


class Failover:
    """Of all upstreams of this worker."""

    def __init__(self, store: RelayStore, records: Records) -> None:
        self._store = store
        self._records = records
        self._active: dict[int, str] = {}  # first upstream -> name of the second
        self._refused: dict[tuple[int, int], int] = {}  # (sender, second) -> its edition

    def may(self, sender_id: int, second: Upstream) -> bool:
        """Whether the second may send as this sender, as far as is known."""
        return self._refused.get((sender_id, second.id)) != second.edition

    def refused(self, sender_id: int, second: Upstream) -> None:
        """The second does not take this sender's mail: it waits for the first."""
        self._refused[sender_id, second.id] = second.edition
        while len(self._refused) > REFUSALS_MOST:
            del self._refused[next(iter(self._refused))]
        log.get("transport").warning(
            "fallback_refuses_sender", upstream=second.name, sender=sender_id
        )

    def begun(self, first: Upstream, reason: str, second: Upstream, now_ms: int) -> None:
        """A message of the first's is given to the second."""
        if self._active.get(first.id) == second.name:
            return
        self._active[first.id] = second.name
        text = f"mail of upstream {first.name} goes through {second.name} meanwhile: {reason}"
        log.get("transport").warning(
            "failover", upstream=first.name, through=second.name, reason=reason
        )
        event = Event(
            now_ms,
            Kind.UPSTREAM_FAILOVER,
            text,
            account_id=first.account_id,
            upstream_id=first.id,
        )
        self._records.keep(lambda: self._store.announce(first.id, event))

    def review(self, couriers: Mapping[int, Courier]) -> None:
        """Ends what is over: the first takes mail again, or is gone.

        Its health says so. Its own mail may be another worker's to give, and one message that tries
        it ends nothing.
        """
        for first_id in list(self._active):
            first = couriers.get(first_id)
            if first is not None and not first.able:
                continue
            second = self._active.pop(first_id)
            if first is not None:
                name = first.upstream.name
                log.get("transport").info("failover_over", upstream=name, was_through=second)
