"""The audit trail: who changed what. Written by the desk with each deed, read here.

Knows nothing of what the deeds mean.
"""

from __future__ import annotations

from waypost.desk.access.views import TrailView
from waypost.desk.office import Desk, asker, limit_of
from waypost.desk.views import iso
from waypost.store.read import access


def list_(
    desk: Desk, *, account: str | None = None, cursor: int | None = None, limit: int = 100
) -> list[TrailView]:
    """Newest first; of one account, or (None) everywhere. `cursor`: the id to go on below."""
    with desk.reading() as look:
        found = access.trail(look, asker(look, account), cursor, limit_of(limit))
    return [
        TrailView(
            id=row.id,
            at=iso(row.at),
            account=row.account,
            actor=row.actor,
            deed=row.deed,
            subject=row.subject,
            peer=row.peer,
        )
        for row in found
    ]
