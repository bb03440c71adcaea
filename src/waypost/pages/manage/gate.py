"""Who manages: the token of a call.

Promises that a right token is let in at once, that a wrong one is answered ever later, that a key
is no token, and that no secret is in an answer or a log. Knows nothing of routes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from waypost.core.errors import Secret
from waypost.desk.access import tokens
from waypost.desk.access.tokens import PREFIX, SECRET_OCTETS, Holder
from waypost.desk.office import Desk
from waypost.intake.http.gate import Gate, header
from waypost.log import get
from waypost.pages.manage.apart import Apart
from waypost.web import Failure

MISSING = "There is no token: send the header Authorization: Bearer TOKEN"
A_KEY = "This is a key, which sends mail: managing takes a token (waypost token create)"
UNKNOWN = "This token is not known: check that it is complete"
DISABLED = "The account of this token is disabled: ask the operator"
_CHALLENGE = {"WWW-Authenticate": "Bearer"}


async def holder(scope: Mapping[str, Any], gate: Gate, desk: Desk, apart: Apart) -> Holder:
    """Whose token the `Authorization` header holds. Raises `Failure` 401, 403, 503; `StoreAway`."""
    if gate.closed:
        raise Failure(503, "UNAVAILABLE", gate.closed)
    scheme, _, given = header(scope, b"authorization").partition(" ")
    secret = given.strip()
    if scheme.lower() != "bearer" or not secret:
        raise Failure(401, "UNAUTHORIZED", MISSING, headers=_CHALLENGE)
    found = None
    if secret.startswith(PREFIX) and len(secret) == SECRET_OCTETS:  # else nobody has it
        found = await apart.quick(lambda: tokens.admit(desk, Secret(secret)))
    if found is None:
        peer = scope["client"][0] if scope.get("client") else ""
        get("manage").warning("token_refused", peer=peer)
        await gate.late(peer)
        text = A_KEY if secret.startswith(desk.key_prefix) else UNKNOWN
        raise Failure(401, "UNAUTHORIZED", text, headers=_CHALLENGE)
    if not found.enabled:
        raise Failure(403, "KEY_DISABLED", DISABLED)
    return found
