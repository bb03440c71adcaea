"""Passwords as Argon2id (RFC 9106).

Promises that a password which is looked up for nobody takes the time of a real one. Hashing takes
46 MiB and tens of milliseconds: call it in a thread. Knows nothing of members.
"""

from __future__ import annotations

import argon2
from argon2.exceptions import InvalidHashError, VerificationError

from waypost.core.errors import Secret, UsageError

LEAST_CHARACTERS = 12  # NIST SP 800-63B asks for 8, OWASP for 12 without a second factor
MOST_CHARACTERS = 256
PASSES, MEMORY_KIB, LANES = 1, 47_104, 1  # OWASP's password storage cheat sheet
# Of no password: what a login of nobody is compared with, of the same parameters.
NOBODY = (
    "$argon2id$v=19$m=47104,t=1,p=1$0rRy2kMLaAGte0wCWfhMLA"
    "$HHZcmq3yImUIC3NHZni3hLc7hdEUWfEwp3oG9Wy8iV0"
)


def checked(password: Secret, email: str) -> Secret:
    """The password, if it is one that may be chosen. Raises `UsageError`."""
    text = password.reveal()
    if not LEAST_CHARACTERS <= len(text) <= MOST_CHARACTERS:
        raise UsageError(
            f"a password has {LEAST_CHARACTERS} to {MOST_CHARACTERS} characters", "password"
        )
    if len(set(text)) < 4 or text.lower() == email.lower():
        raise UsageError("this password is easily guessed: choose another", "password")
    return password


def hashed(password: Secret) -> str:
    return _hasher().hash(password.reveal())


def matches(encoded: str | None, password: Secret) -> bool:
    """Whether this is the password of that hash; None, of nobody, takes as long and is False."""
    text = password.reveal()[: MOST_CHARACTERS + 1]
    try:
        return _hasher().verify(encoded or NOBODY, text) and encoded is not None
    except (VerificationError, InvalidHashError):
        return False


def _hasher() -> argon2.PasswordHasher:
    return argon2.PasswordHasher(PASSES, MEMORY_KIB, LANES)
