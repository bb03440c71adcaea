"""The menu: which screens there are, in order, and who sees which.

Knows nothing of what they show.
"""

from __future__ import annotations

import msgspec

from waypost.desk.access.roles import Role


class Entry(msgspec.Struct, frozen=True):
    path: str
    label: str
    least: Role = Role.READ_ONLY


MENU = (
    Entry("/overview", "Overview"),
    Entry("/logs", "Logs"),
    Entry("/queue", "Queue"),
    Entry("/senders", "Senders"),
    Entry("/integrations", "SMTP integrations"),
    Entry("/domains", "Domains"),
    Entry("/keys", "API keys"),
    Entry("/credits", "Credits"),
    Entry("/operator", "Operator", Role.OPERATOR),
    Entry("/settings", "Settings"),
)


def menu(role: Role, served: frozenset[str]) -> list[Entry]:
    """What this role sees, of what is served."""
    return [entry for entry in MENU if entry.least <= role and entry.path in served]
