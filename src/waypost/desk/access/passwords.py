"""Passwords as Argon2id, with the parameters of RFC 9106 for ordinary machines.

Promises that a password which is looked up for nobody takes the time of a real one. Hashing takes
64 MiB and tens of milliseconds: call it in a thread. Knows nothing of members.
"""

from __future__ import annotations

import argon2
from argon2.exceptions import InvalidHashError, VerificationError

from waypost.core.errors import Secret, UsageError

LEAST_CHARACTERS = 12  # NIST SP 800-63B asks for 8, OWASP for 12 without a second factor
MOST_CHARACTERS = 256
# Of no password: what a login of nobody is compared with, of the same parameters.
NOBODY = (
    "$argon2id$v=19$m=65536,t=3,p=4$3e25oDytbiU4nAVgYYxIKA"
    "$8+qGWgD1OXW67+2JY3juQKD261gO+7rfezJijT+Lnqc"
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
    return argon2.PasswordHasher().hash(password.reveal())


def matches(encoded: str | None, password: Secret) -> bool:
    """Whether this is the password of that hash; None, of nobody, takes as long and is False."""
    text = password.reveal()[: MOST_CHARACTERS + 1]
    try:
        return argon2.PasswordHasher().verify(encoded or NOBODY, text) and encoded is not None
    except (VerificationError, InvalidHashError):
        return False
