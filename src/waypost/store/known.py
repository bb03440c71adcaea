"""What this process knows without asking the database: facts, balances left, and the rate windows
of keys.

Promises: facts are compared with a shared counter at each use and read again when it rose; a
transaction is given those of the generation that it sees. Balances and rates are hints that never
refuse what the store would accept. Writes nothing.
"""

from __future__ import annotations

import bisect
from pathlib import Path
from typing import Any

import apsw
import msgspec

from waypost.clock import Clock
from waypost.core import ident
from waypost.core.address import Address
from waypost.core.message import Acceptance
from waypost.core.upstream import Health
from waypost.store.connect import trouble
from waypost.store.directory import Loaded, Opener, generation, load
from waypost.store.shared import GENERATION, Shared
from waypost.store.sqlite.accepting import RATE_MS, SELECT_RATE
from waypost.store.sqlite.batch import SELECT_BALANCE, Batch
from waypost.store.sqlite.ending import Keep

UNLIMITED_ROOM = 1_000_000


class Settings(msgspec.Struct, frozen=True):
    """What a store was opened with."""

    data: Path
    clock: Clock
    opener: Opener
    global_sender: Address | None
    keep: Keep


class Known:
    """Uses the reading connection, on the loop."""

    def __init__(self, settings: Settings, reader: apsw.Connection, shared: Shared) -> None:
        self._settings = settings
        self._reader = reader
        self._shared = shared
        self._counters = shared.counters  # looked at several times a message
        self._seen = shared.generation
        self._loaded = self._load(reader)
        self._rates: dict[int, list[int]] = {}  # ids accepted lately, in order
        self._version: object = None

    def fresh(self) -> Loaded:
        """The facts now. Raises `StoreAway`."""
        now = self._counters[GENERATION]
        if now != self._seen:
            try:
                self._loaded = self._load(self._reader)
            except apsw.Error as error:
                raise trouble(error) from error
            self._seen = now
        return self._loaded

    def obey(self, settings: Settings) -> None:
        """What was read by other settings is read again."""
        self._settings = settings
        self._seen = -1

    def within(self, batch: Batch) -> Loaded:
        """The facts that a transaction sees, whatever the shared counter says."""
        if batch.generation is None:
            batch.generation = generation(batch.db)
            if batch.generation != self._loaded.directory.generation:
                self._loaded = self._load(batch.db)
        return self._loaded

    def balance(self, account_id: int) -> int | None:
        """Credits left as last seen; None where nothing is counted."""
        found = self.fresh().balances.get(account_id)
        if found is not None and found <= 0:
            # Somebody else may have had a refund: an answer that refuses is worth a look.
            try:
                row: Any = self._reader.execute(SELECT_BALANCE, (account_id,)).fetchone()
            except apsw.Error as error:
                raise trouble(error) from error
            found = self._loaded.balances[account_id] = row[0] if row else 0
        return found

    def rate_room(self, key_id: int, per_minute: int, now_ms: int) -> int:
        """Submissions that the key may still have accepted; many where there is no limit."""
        if per_minute <= 0:
            return UNLIMITED_ROOM
        window = self._rates.get(key_id)
        if window is None:
            window = self._rates[key_id] = self._window(key_id, now_ms)
        del window[: bisect.bisect_left(window, ident.floor(now_ms - RATE_MS + 1))]
        # Those further on were made by a clock that was ahead, see `accepting`.
        return max(0, per_minute - bisect.bisect_left(window, ident.floor(now_ms + RATE_MS)))

    def rates(self, db: apsw.Connection, *, certain: bool) -> dict[int, list[int]]:
        """The rate windows for a transaction: as kept here while nobody else has written, else
        none.

        `certain` False: they may hold what was rolled back.
        """
        # Not `db.pragma`, which prepares its statement anew each time.
        version: Any = db.execute("PRAGMA data_version").fetchone()
        if version != self._version or not certain:
            self._rates.clear()
        self._version = version if certain else None
        return self._rates

    def see_balance(self, account_id: int, balance: int | None) -> None:
        """A commit of this process has written it."""
        if balance is not None and account_id in self._loaded.balances:
            self._loaded.balances[account_id] = balance

    def see_refused(self, acceptance: Acceptance) -> None:
        """What a transaction had added of it was not kept."""
        if acceptance.key_id is not None:
            self._rates.pop(acceptance.key_id, None)

    def see_health(self, upstream_id: int, edition: int, health: Health) -> None:
        """A commit of this process has written it; the others are told where its state is a new
        one."""
        upstreams = self._loaded.upstreams
        known = upstreams.get(upstream_id)
        if known is None or known.edition != edition:
            self._shared.raise_generation()  # not read yet: we read it with the others
            return
        upstreams[upstream_id] = msgspec.structs.replace(known, health=health)
        if known.health.state is not health.state:
            before = self._shared.raise_generation()
            if before == self._seen:
                self._seen = before + 1  # nobody else's change: we have it already

    def _load(self, db: apsw.Connection) -> Loaded:
        return load(db, self._settings.opener, self._settings.global_sender)

    def _window(self, key_id: int, now_ms: int) -> list[int]:
        key = self._loaded.directory.keys.get(key_id)
        if key is None:
            return []
        scope = (key.account_id, ident.floor(now_ms - RATE_MS + 1), key_id)
        try:
            rows: list[Any] = self._reader.execute(SELECT_RATE, scope).fetchall()
        except apsw.Error as error:
            raise trouble(error) from error
        return sorted(row[0] for row in rows)
