"""Senders whose mail their own upstream does not take: it waits, and one message tries at a time.

Promises that beginning and end of a hold are told once, and that it ends only when the sender's own
upstream took a message, or a person ended it: what a fallback took says nothing of that. Knows
nothing of connections or of what answers mean.
"""

from __future__ import annotations

from collections.abc import Iterable

from waypost.clock import Clock
from waypost.core.event import Event, Kind
from waypost.core.facts import Directory, Sender
from waypost.core.message import Parcel
from waypost.store.contract import RelayStore
from waypost.transport import schedule
from waypost.transport.flow.records import Records
from waypost.transport.trouble import Trouble


class Holds:
    """Of all senders of this worker's upstreams."""

    def __init__(self, store: RelayStore, records: Records, clock: Clock) -> None:
        self._store = store
        self._records = records
        self._clock = clock
        self._until: dict[int, int] = {}  # sender -> when one of its messages is tried again
        self._trying: dict[int, int] = {}  # held sender -> the message that tries it
        self._owed: set[int] = set()  # somebody ended the hold: is its mail taken again?

    def holds(self, sender: Sender) -> bool:
        return sender.id in self._until or bool(sender.held)

    def knows(self, sender_id: int) -> bool:
        """Whether it is held, and this worker has to do with it."""
        return sender_id in self._until

    def owes(self, sender_id: int) -> bool:
        """Whether a message of it that is taken is news: a hold was told of, and not its end."""
        return sender_id in self._until or sender_id in self._owed

    def until_ms(self, sender_id: int) -> int:
        """When one of its messages is tried again; 0: it is not held, or nobody knows."""
        return self._until.get(sender_id, 0)

    def times(self) -> Iterable[int]:
        """When anything of this is to be looked at again."""
        return self._until.values()

    def bars(self, sender: Sender, parcel: Parcel) -> bool:
        """Whether the message waits: it is not the one that tries."""
        return self.holds(sender) and self._trying.get(sender.id) != parcel.id

    def due(self, sender: Sender, now_ms: int) -> bool:
        """Whether its mail may be claimed now."""
        if sender.held and sender.id not in self._until:
            self._until[sender.id] = now_ms  # held before this process began: tried once, soon
        return self._until.get(sender.id, 0) <= now_ms

    def tries(self, sender_id: int, parcel: Parcel, now_ms: int) -> None:
        """This message is the one that tries."""
        self._trying[sender_id] = parcel.id
        self._until[sender_id] = now_ms + schedule.MESSAGE_PROBE_MS

    def over(self, parcel: Parcel) -> None:
        """The trial has ended, or there was none."""
        self._trying.pop(parcel.sender_id, None)

    def begin(self, sender_id: int, sender: Sender | None, known: Trouble) -> None:
        """Its own upstream does not take its mail; `sender`: as far as it is known."""
        now_ms = self._clock.wall_ms()
        probe_ms = now_ms + schedule.message_probe_ms(self._clock.chance())
        fresh = sender_id not in self._until
        self._until[sender_id] = probe_ms
        event = None
        if fresh and not (sender and sender.held):
            owner = sender.owner_id if sender else None
            event = Event(now_ms, Kind.SENDER_HELD, known.reason, owner, sender_id=sender_id)
        reason = known.reason
        self._records.keep(lambda: self._store.hold(sender_id, reason, probe_ms, event))

    def end(self, sender_id: int, sender: Sender | None) -> None:
        """Its own upstream took a message of this one, which is held or was."""
        self._until.pop(sender_id, None)
        self._owed.discard(sender_id)
        self._trying.pop(sender_id, None)
        text = f"mail from {sender.address if sender else 'it'} is taken again"
        owner = sender.owner_id if sender else None
        now_ms = self._clock.wall_ms()
        event = Event(now_ms, Kind.SENDER_RELEASED, text, owner, sender_id=sender_id)
        self._records.keep(lambda: self._store.hold(sender_id, "", 0, event))

    def see(self, sender: Sender, previous: Directory | None) -> None:
        """A hold that was ended by somebody else is ended here."""
        before = previous.senders.get(sender.id) if previous is not None else None
        if before is not None and before.held and not sender.held:
            if self._until.pop(sender.id, None) is not None:
                self._owed.add(sender.id)
            self._trying.pop(sender.id, None)
