"""Which message goes to which upstream now: fresh ones from their commit, others from the store.

Promises that what is due is found without looking at what is not, that accounts go in turn, and
that a sick upstream or a held sender parks its mail without a word to each message. Knows nothing
of connections or of what an answer means.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from waypost import log
from waypost.clock import Clock
from waypost.core.errors import StoreAway, Unwritable
from waypost.core.facts import Directory, Sender
from waypost.core.lifecycle import State
from waypost.core.message import Acceptance, Parcel
from waypost.core.upstream import Upstream, UpstreamState
from waypost.store.contract import Lane, RelayStore
from waypost.transport import attempt, schedule
from waypost.transport.courier import Courier
from waypost.transport.flow.failover import Failover
from waypost.transport.flow.holds import Holds
from waypost.transport.flow.office import Office
from waypost.transport.flow.pools import Pool, pool_of
from waypost.transport.flow.records import Records
from waypost.transport.flow.rung import Rung
from waypost.transport.flow.territory import Territory
from waypost.transport.link.connect import Dialer
from waypost.transport.trouble import Trouble

TICK_MS = 15_000  # the longest time between two looks
GAP_S = 0.005  # the shortest
OLD_MS = 60_000  # between looks for mail that was queued for too long, at most
AWAY_S = 1.0  # between looks while the store is away
LAST_WORDS_S = 5.0  # for outcomes to reach the store at the end
CUT_S = 1.0  # for a connection that was cut to end by itself
STOPPING = "the relay is stopping"


class Dispatcher:
    """The `Taker`: attach it to the store, start it, stop it before the store is closed."""

    def __init__(
        self,
        store: RelayStore,
        dialer: Dialer,
        clock: Clock,
        rules: schedule.QueueRules,
        data: Path,
        idle_s: float = 30.0,
        territory: Territory | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._rules = rules
        self._territory = territory  # where several workers share the store
        self._rung = Rung(store, self._give) if territory is not None else None
        self._records = Records(store)
        self._failover = Failover(store, self._records)
        self._holds = Holds(store, self._records, clock)
        self._office = Office(store, self._records, dialer, clock, rules, data, idle_s)
        self._couriers: dict[int, Courier] = {}
        self._retiring: set[Courier] = set()
        self._facts: Directory | None = None
        self._settings: dict[int, Upstream] = {}
        self._by_upstream: dict[int, list[Sender]] = {}
        self._turn = 0
        self._wake: asyncio.Event | None = None
        self._scan: asyncio.Task[None] | None = None
        self._stopping = False
        self._planned_ms = 0  # when the next look is
        self._old_ms = 0  # when mail is looked for that was queued for too long

    # The life of it.

    async def start(self) -> None:
        """Begins to look for what is due. Raises `StoreAway`."""
        self._wake = asyncio.Event()
        self._refresh()
        self._review(self._clock.wall_ms())
        self._scan = asyncio.get_running_loop().create_task(self._look_on())

    def wind_down(self) -> None:
        """Begins nothing new and releases what no connection has; what is on the wire goes on."""
        self._stopping = True
        if self._scan is not None:
            self._scan.cancel()
        for courier in (*self._couriers.values(), *self._retiring):
            courier.wind_down()

    async def stop(self, grace_s: float = 30.0) -> None:
        """Winds down, and waits for what is on the wire, at most so long."""
        self.wind_down()
        if self._scan is not None:
            await asyncio.wait({self._scan})
        if self._rung is not None:
            await self._rung.stop()
        couriers = [*self._couriers.values(), *self._retiring]
        ending = [asyncio.ensure_future(courier.ended()) for courier in couriers]
        if ending:
            _, late = await asyncio.wait(ending, timeout=grace_s)
            for courier in couriers:
                courier.cut()
            if late:
                _, late = await asyncio.wait(late, timeout=CUT_S)
            if late:  # they wait for the store or the disk, which need not come back
                for courier in couriers:
                    courier.cut(hard=True)
                await asyncio.wait(late)
        try:
            async with asyncio.timeout(LAST_WORDS_S):
                await self._records.settled()
        except TimeoutError:
            self._records.give_up()
        if self._territory is not None:
            await self._territory.stop()

    def obey(self, rules: schedule.QueueRules) -> None:
        """Takes over what a reload has changed: from the next try of each message on."""
        self._rules = self._office.rules = rules
        self._old_ms = 0
        self.hungry()

    # What is counted.

    @property
    def results(self) -> dict[State, int]:
        """Of recipients in attempts, by the state that they left them in, since the start."""
        return self._records.results

    def pools(self) -> list[Pool]:
        """A line an upstream that this worker delivers to."""
        accounts = self._facts.accounts if self._facts else {}
        return [pool_of(courier, accounts) for courier in self._couriers.values()]

    # The Taker.

    def wants(self, acceptance: Acceptance) -> bool:
        if self._stopping or self._facts is None:
            self._store.no_try(acceptance.id, STOPPING, self._clock.wall_ms())
            return False
        if self._store.directory() is not self._facts:
            self._refresh()  # an upstream that was added a moment ago takes its first message
        sender = self._facts.senders.get(acceptance.sender_id)
        courier = self._route(sender) if sender is not None else None
        if sender is None or courier is None or acceptance.hold_until_ms:
            return False
        if self._holds.holds(sender):
            hint = sender.held or "the sender is held"
            self._store.no_try(acceptance.id, hint, self._holds.until_ms(sender.id))
            return False
        if courier.upstream.id != sender.upstream_id:
            return False  # a fallback's place is taken by the claim
        ours = self._ours(courier)
        if ours and courier.has_room_for(acceptance.account_id):
            return True
        if not ours and courier.able:
            return False  # its owner says whether there is room
        self._store.no_try(acceptance.id, *courier.waits())
        return False

    def take(self, parcel: Parcel) -> None:
        sender = self._facts.senders.get(parcel.sender_id) if self._facts else None
        courier = self._route(sender) if sender is not None else None
        own = (
            sender is not None and courier is not None and courier.upstream.id == sender.upstream_id
        )
        if courier is None or not own or self._stopping or not self._ours(courier):
            # Its upstream may have failed since the commit: a fallback gets it by a claim alone.
            self._records.release(parcel, parcel.due_ms, "")
            if self._stopping:
                self._store.no_try(parcel.id, STOPPING, parcel.due_ms)
            self.hungry()
            return
        self._hand(courier, parcel)

    def stirred(self) -> None:
        self.hungry()

    # One of several workers.

    def work(self, message_id: int, sender_id: int, account_id: int) -> None:
        """Another worker committed a message for an upstream that should be ours."""
        sender = self._facts.senders.get(sender_id) if self._facts else None
        courier = self._route(sender) if sender is not None else None
        if sender is None or courier is None:
            self.hungry()  # added a moment ago
            return
        if self._territory is None or self._rung is None:
            return
        crew, upstream_id = self._territory.crew, courier.upstream.id
        if self._stopping:
            crew.tell_no_try(message_id)
        elif not self._ours(courier):
            if upstream_id != sender.upstream_id:  # its upstream's fallback may be another's
                crew.tell_work(message_id, upstream_id, (sender_id, account_id))
        elif self._holds.holds(sender):
            crew.tell_no_try(message_id)
        elif courier.has_room_for(account_id):
            self._rung.add(courier, Lane(sender_id, account_id, 0), self._clock.wall_ms())
        else:
            courier.behind = courier.able
            crew.tell_no_try(message_id)

    def changed(self) -> None:
        """Another worker came or went."""
        if self._territory is not None:
            self._territory.changed()
            self.hungry()

    def _ours(self, courier: Courier | None) -> bool:
        return self._territory is None or (
            courier is not None and self._territory.owns(courier.upstream.id)
        )

    def _review(self, now_ms: int) -> None:
        if self._territory is not None:
            again_ms = self._territory.review(self._couriers, self._renew, now_ms)
            self._planned_ms = min(self._planned_ms, again_ms)

    def _renew(self, upstream_id: int) -> Courier:
        before = self._couriers[upstream_id]
        if before.busy:
            self._retiring.add(before)
        fresh = Courier(self._settings[upstream_id], self._office, self)
        self._couriers[upstream_id] = fresh
        return fresh

    # The superior of couriers.

    def may_go(self, parcel: Parcel, upstream_id: int) -> bool:
        try:
            self._refresh()
        except StoreAway:
            return self._store.begin(parcel)  # what was known when it was claimed holds on
        assert self._facts is not None
        sender = self._facts.senders.get(parcel.sender_id)
        account = self._facts.accounts.get(parcel.account_id)
        if sender is None or account is None or not account.enabled:
            return False
        if self._holds.bars(sender, parcel):
            return False
        if sender.upstream_id == upstream_id:
            return self._store.begin(parcel)
        if parcel.place is None or not parcel.place.holds(upstream_id, self._clock.wall_ms()):
            return False
        # What was claimed for the fallback goes there, though the first works again by now.
        first, second = (self._couriers.get(ident) for ident in (sender.upstream_id, upstream_id))
        if first is None or second is None or first.upstream.fallback_id != upstream_id:
            return False
        return self._failover.may(sender.id, second.upstream) and self._store.begin(parcel)

    def hold(self, parcel: Parcel, known: Trouble, upstream: Upstream) -> None:
        self._holds.over(parcel)
        sender = self._facts.senders.get(parcel.sender_id) if self._facts else None
        if sender is not None and sender.upstream_id != upstream.id:
            self._failover.refused(parcel.sender_id, upstream)
        else:
            self._holds.begin(parcel.sender_id, sender, known)

    def passed(self, parcel: Parcel, upstream: Upstream) -> None:
        if not self._holds.owes(parcel.sender_id):
            return
        sender = self._facts.senders.get(parcel.sender_id) if self._facts else None
        if sender is None or sender.upstream_id == upstream.id:
            self._holds.end(parcel.sender_id, sender)
            self.hungry()

    def hungry(self) -> None:
        if self._wake is not None:
            self._wake.set()

    def due_at(self, due_ms: int) -> None:
        if due_ms < self._planned_ms and self._wake is not None:
            self._planned_ms = due_ms
            wait_s = max(due_ms - self._clock.wall_ms(), 0) / 1000
            asyncio.get_running_loop().call_later(wait_s, self.hungry)

    # Looking.

    async def _look_on(self) -> None:
        assert self._wake is not None
        while True:
            self._wake.clear()
            try:
                wait_s = await self._look()
            except StoreAway as error:
                log.get("transport").warning("store_away", error=error.private)
                wait_s = AWAY_S
            except Exception as error:  # noqa: BLE001  (whatever it is, delivery must not end)
                log.get("transport").error("look_broke", error=repr(error))
                wait_s = AWAY_S
            await asyncio.sleep(GAP_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()

    async def _look(self) -> float:
        """Starts all that can start now; how long until the next look, in seconds."""
        self._refresh()
        now_ms = self._clock.wall_ms()
        self._planned_ms = now_ms + TICK_MS
        self._review(now_ms)
        self._failover.review(self._couriers)
        mine = [courier for courier in self._couriers.values() if self._ours(courier)]
        for courier in mine:
            courier.tick(now_ms)
            courier.behind = False
        open_to: dict[int, Courier] = {}
        for sender in [s for senders in self._by_upstream.values() for s in senders]:
            found = self._courier_for(sender, now_ms)
            if found is not None:
                open_to[sender.id] = found
        due: dict[Courier, list[Lane]] = {}
        for lane in await self._store.lanes(open_to):
            if lane.due_ms > now_ms:
                self._planned_ms = min(self._planned_ms, lane.due_ms)
            elif self._enabled(lane):
                due.setdefault(open_to[lane.sender_id], []).append(lane)
        for courier, waiting in due.items():
            courier.behind = await self._claim(courier, waiting, now_ms)
        if now_ms >= self._old_ms:
            # A tenth late is soon enough for what may be held for days, or for seconds.
            self._old_ms = now_ms + min(OLD_MS, max(1000, self._rules.hold_max_ms // 10))
            await self._store.expire(now_ms, self._rules.hold_max_ms)
        times = [courier.next_probe_ms() for courier in mine]
        times += [*self._holds.times(), self._old_ms]
        self._planned_ms = min([self._planned_ms, *(at for at in times if at > now_ms)])
        return max(self._planned_ms - self._clock.wall_ms(), 1) / 1000

    def _enabled(self, lane: Lane) -> bool:
        assert self._facts is not None
        account = self._facts.accounts.get(lane.account_id)
        return account is not None and account.enabled

    async def _claim(self, courier: Courier, waiting: list[Lane], now_ms: int) -> bool:
        """Fills the courier's room from the lanes, accounts in turn; whether more is due."""
        self._turn += 1
        accounts = sorted({lane.account_id for lane in waiting})
        start = self._turn % len(accounts)
        order = {account: (index - start) % len(accounts) for index, account in enumerate(accounts)}
        more = False
        for lane in sorted(waiting, key=lambda lane: (order[lane.account_id], lane.due_ms)):
            limit = courier.room_for(lane.account_id, now_ms)
            trial = self._holds.knows(lane.sender_id)
            if trial:
                limit = min(limit, 1)
            if limit <= 0:
                more = True
                continue
            try:
                parcels = await self._store.claim(lane.by(courier.upstream.id), now_ms, limit)
            except Unwritable as error:  # that of this lane: the others are as well as ever
                log.get("transport").error("lane_unwritable", error=error.private)
                continue
            for parcel in parcels:
                if trial:
                    self._holds.tries(lane.sender_id, parcel, now_ms)
                self._give(courier, parcel, now_ms)
            more = more or (len(parcels) == limit and not trial)
        return more

    def _give(self, courier: Courier, parcel: Parcel, now_ms: int) -> None:
        if attempt.overdue(parcel, self._rules, now_ms):
            self._records.record(attempt.expired(parcel, courier.upstream, now_ms))
        elif self._stopping or not self._ours(courier):
            self._records.release(parcel, parcel.due_ms, STOPPING if self._stopping else "")
        else:
            self._hand(courier, parcel)

    def _hand(self, courier: Courier, parcel: Parcel) -> None:
        """Gives it a message; told of where that is not the courier of its sender's upstream."""
        sender = self._facts.senders.get(parcel.sender_id) if self._facts else None
        if sender is not None and sender.upstream_id != courier.upstream.id:
            first = self._couriers.get(sender.upstream_id)
            if first is not None:
                reason = first.waits()[0]
                now_ms = self._clock.wall_ms()
                self._failover.begun(first.upstream, reason, courier.upstream, now_ms)
        courier.add(parcel)

    def _courier_for(self, sender: Sender, now_ms: int) -> Courier | None:
        """Who may claim this sender's mail now, if anybody."""
        if not self._holds.due(sender, now_ms):
            return None
        courier = self._route(sender)
        if courier is None or not self._ours(courier):
            return None
        if courier.upstream.id != sender.upstream_id and self._holds.holds(sender):
            return (
                None  # its own upstream does not take its mail, and no other can tell that it does
            )
        return courier if courier.takes_some else None

    def _route(self, sender: Sender) -> Courier | None:
        """The courier of its upstream, or of the fallback while only that one can.

        A message that is due to try the first goes there: nothing else would find out that it
        works again.
        """
        courier = self._couriers.get(sender.upstream_id)
        if courier is None or courier.upstream.fallback_id is None or courier.takes_some:
            return courier
        instead = self._couriers.get(courier.upstream.fallback_id)
        if instead is None or not instead.able:
            return courier
        return instead if self._failover.may(sender.id, instead.upstream) else courier

    # Facts.

    def _refresh(self) -> None:
        """Takes over what changed in the settings. Raises `StoreAway`."""
        facts = self._store.directory()
        if facts is self._facts:
            return  # nor has an upstream changed: they are as fresh as the directory
        settings = self._store.upstreams()
        previous, self._facts, self._settings = self._facts, facts, settings
        by_upstream: dict[int, list[Sender]] = {}
        for sender in facts.senders.values():
            by_upstream.setdefault(sender.upstream_id, []).append(sender)
            self._holds.see(sender, previous)
        self._by_upstream = by_upstream
        for upstream in settings.values():
            courier = self._couriers.get(upstream.id)
            if courier is None:
                self._couriers[upstream.id] = Courier(upstream, self._office, self)
                self.changed()
            else:
                courier.update(upstream)
        for upstream_id in [ident for ident in self._couriers if ident not in settings]:
            gone = self._couriers.pop(upstream_id)
            gone.wind_down()
            self._retiring = {courier for courier in self._retiring if courier.busy} | {gone}
        self.hungry()

    @property
    def health(self) -> dict[int, UpstreamState]:
        """The state of each upstream as it is seen now."""
        return {ident: courier.condition.health.state for ident, courier in self._couriers.items()}
