"""The second factor: time-based one-time codes (RFC 6238) and recovery codes.

Promises that the key is sealed at rest, that no code is good twice, and that it is switched on only
by one who has shown a code. Knows nothing of sessions.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b32decode
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

from waypost.core.errors import NotFound, Secret, UsageError, WrongState
from waypost.desk.access.members import NO_FACTOR, proved, unchanged
from waypost.desk.access.views import Visitor
from waypost.desk.office import Desk, Sealer
from waypost.store.manage import access as rows
from waypost.store.manage.rows import update
from waypost.store.read import access
from waypost.store.read.access import MemberRow
from waypost.store.read.book import Look

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.twofactor.hotp import HOTP

KEY_OCTETS = 20  # RFC 4226 4: 160 bits
DIGITS = 6
STEP_MS = 30_000  # RFC 6238 5.2
DRIFT_STEPS = 1  # one step early or late
RECOVERY_CODES = 10
RECOVERY_CHARACTERS = 16  # of 32: 80 bits
RECOVERY_ALPHABET = "abcdefghjkmnpqrstuvwxyz123456789"
KEY_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
WRONG_CODE = "this code is wrong or was used before: try the next one"


class Offer(msgspec.Struct, frozen=True):
    """A key that is offered: `text` to type, `uri` for the picture. Kept by nobody yet."""

    text: str
    uri: str


def offer(desk: Desk, email: str, issuer: str) -> Offer:
    """A new key for an app that makes codes."""
    text = desk.clock.token(KEY_ALPHABET, KEY_OCTETS * 8 // 5)
    return again(text, email, issuer)


def again(text: str, email: str, issuer: str) -> Offer:
    """The same offer once more. Raises `UsageError` where that is no key."""
    if len(text) != KEY_OCTETS * 8 // 5 or not set(text) <= set(KEY_ALPHABET):
        raise UsageError("this is no key of a second factor: begin again", "key")
    label = quote(f"{issuer}:{email}", safe=":")
    return Offer(text, f"otpauth://totp/{label}?secret={text}&issuer={quote(issuer, safe='')}")


def switch_on(desk: Desk, visitor: Visitor, key_text: str, code: str) -> tuple[str, ...]:
    """Keeps the key, if the code is one of it; the recovery codes, shown this once."""
    key = _key(again(key_text, visitor.email, "").text)
    step = _step_of(key, code, desk.clock.wall_ms(), 0)
    if step is None:
        raise UsageError(WRONG_CODE, "code")
    codes = tuple(
        desk.clock.token(RECOVERY_ALPHABET, RECOVERY_CHARACTERS) for _ in range(RECOVERY_CODES)
    )
    with desk.noting() as look:
        member = access.member(look, visitor.member_id)
        if member is None or member.factor is not None:
            raise WrongState("a second factor is on already")
        unchanged(look, visitor, member)
        update(
            look,
            "member",
            member.id,
            {
                "factor": desk.sealer.seal(Secret(key_text), _row(member.id)),
                "factor_step": step,
                "recovery": msgspec.json.encode([_digest(c) for c in codes]).decode(),
            },
        )
        rows.drop_sessions(look, member.id, but=visitor.session_id)
    return codes


def switch_off(desk: Desk, visitor: Visitor, password: Secret) -> None:
    """Takes the second factor away; asks for the password. Hashes: call in a thread."""
    with desk.reading() as look:
        member = access.member(look, visitor.member_id)
    if member is None:
        raise NotFound("this login is gone")
    proved(desk, member, password)
    with desk.noting() as look:
        unchanged(look, visitor, member)
        reset(look, member)


def reset(look: Look, member: MemberRow) -> None:
    """Takes the second factor away, in a transaction that the caller holds."""
    update(look, "member", member.id, dict(NO_FACTOR))


def use(desk: Desk, look: Look, member: MemberRow, code: str) -> bool:
    """Whether this code lets the member in now; it is used up, in the caller's transaction."""
    if member.factor is None:
        return False
    code = "".join(c for c in code.lower() if c.isalnum())
    key = _key(desk.sealer.open(member.factor, _row(member.id)).reveal())
    step = _step_of(key, code, desk.clock.wall_ms(), member.factor_step)
    if step is not None:
        update(look, "member", member.id, {"factor_step": step})
        return True
    left: list[str] = msgspec.json.decode(member.recovery, type=list[str])
    digest = _digest(code)
    rest = [kept for kept in left if not hmac.compare_digest(kept, digest)]
    if len(rest) == len(left):
        return False
    update(look, "member", member.id, {"recovery": msgspec.json.encode(rest).decode()})
    return True


def recovery_left(desk: Desk, visitor: Visitor) -> int:
    """How many recovery codes are left."""
    with desk.reading() as look:
        member = access.member(look, visitor.member_id)
    return 0 if member is None else len(msgspec.json.decode(member.recovery, type=list[str]))


def reseal(desk: Desk, sealer: Sealer) -> int:
    """Seals every key anew where it is sealed with an old one; how many."""
    count = 0
    with desk.noting() as look:
        for member in access.with_factor(look):
            if member.factor is not None and sealer.stale(member.factor):
                secret = sealer.open(member.factor, _row(member.id))
                sealed = sealer.seal(secret, _row(member.id))
                update(look, "member", member.id, {"factor": sealed})
                count += 1
    return count


def _row(member_id: int) -> bytes:
    return b"member:%d:factor" % member_id


def _key(text: str) -> HOTP:
    # Imported at the first code: commands that ask for none start in a third of the time.
    from cryptography.hazmat.primitives.hashes import SHA1
    from cryptography.hazmat.primitives.twofactor.hotp import HOTP

    return HOTP(b32decode(text), DIGITS, SHA1())


def _step_of(key: HOTP, code: str, now_ms: int, after: int) -> int | None:
    """The step whose code this is, if it lies behind the last one used."""
    now = now_ms // STEP_MS
    given = code.strip().encode("utf-8", "replace")
    for step in range(now - DRIFT_STEPS, now + DRIFT_STEPS + 1):
        if step > after and hmac.compare_digest(key.generate(step), given):
            return step
    return None


def _digest(code: str) -> str:
    return hashlib.sha256(code.encode("utf-8", "replace")).hexdigest()
