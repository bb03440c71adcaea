"""Where the grants of logins by token are kept, for whoever renews them.

Promises that a grant which a person replaced meanwhile is not put back. Blocking, as every deed.
Knows nothing of token servers.
"""

from __future__ import annotations

from waypost.desk.connection import kept
from waypost.desk.office import Desk
from waypost.store.connect import Paths
from waypost.store.locks import Lock, take
from waypost.store.manage import rows
from waypost.store.read import people
from waypost.upstream.oauth import Grant


class DeskVault:
    """The `Vault` of a data directory."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def load(self, upstream_id: int) -> Grant | None:
        with self._desk.reading() as look:
            blob = people.grant(look, upstream_id)
        return None if blob is None else kept.opened_grant(self._desk.sealer, upstream_id, blob)

    def keep(self, upstream_id: int, before: Grant, after: Grant) -> None:
        sealer = self._desk.sealer
        with self._desk.noting() as look:
            blob = people.grant(look, upstream_id)
            if blob is not None and kept.opened_grant(sealer, upstream_id, blob) == before:
                columns = kept.sealed_grant(sealer, upstream_id, after)
                rows.update(look, "upstream", upstream_id, columns)

    def lock(self, upstream_id: int) -> Lock | None:
        return take(Paths(self._desk.data).lock(f"token.{upstream_id}"))
