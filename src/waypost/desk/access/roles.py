"""What a member may do in an account: four roles, each of which may all that those before it may.

Knows nothing of members.
"""

from __future__ import annotations

import enum

from waypost.core.errors import UsageError


class Role(enum.IntEnum):
    """READ_ONLY sees. DEVELOPER also changes keys, senders, integrations and the queue. OWNER also
    members and the account's settings. OPERATOR everything, in every account. Numbers are stored.
    """

    READ_ONLY = 1
    DEVELOPER = 2
    OWNER = 3
    OPERATOR = 4

    @property
    def word(self) -> str:
        """As it is said: `read-only`."""
        return self.name.lower().replace("_", "-")


GIVEN = (Role.OWNER, Role.DEVELOPER, Role.READ_ONLY)  # in an account


def role_of(word: str) -> Role:
    """The role of that word, in an account. Raises `UsageError`."""
    for role in GIVEN:
        if role.word == word:
            return role
    raise UsageError(f"a role is one of {', '.join(role.word for role in GIVEN)}", "role")
