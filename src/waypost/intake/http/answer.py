"""What a caller is told: the JSON of section 8, its status from the one table in core/verdict.

Promises that a success is told of committed facts alone. Knows nothing of how they came about.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from waypost.core import ident, lifecycle
from waypost.core.lifecycle import Status
from waypost.core.verdict import TABLE, Reason, Settled
from waypost.intake import answer as smtp
from waypost.intake.accept import Accepted
from waypost.intake.http.draft import Refused
from waypost.intake.http.once import Undone
from waypost.web import AGAIN_S, Failure

UPSTREAM_REFUSED = "UPSTREAM_REFUSED"
FIRST_TRY = "the first try is under way"


class Hint(msgspec.Struct, rename="camel"):
    """Why it waits, and when it is tried next (null: as soon as it can be)."""

    reason: str
    next_at: str | None


class Sent(msgspec.Struct, rename="camel"):
    """One accepted message. `recipients` is their count, `credits_charged` net of refunds."""

    message_id: str
    smtp_message_id: str
    status: str
    sender: str = msgspec.field(name="from")
    recipients: int
    credits_charged: int
    retry_hint: Hint | msgspec.UnsetType = msgspec.UNSET


def status_of(settled: Settled) -> Status:
    return lifecycle.status(settled.queued, settled.sent, settled.failed, settled.cancelled)


def sent(done: Accepted) -> tuple[int, Sent]:
    """(HTTP status, what is told) of an accepted message.

    Raises `Undone` where every recipient was refused for good: 502, or 400 where the message is of
    a kind that the upstream cannot carry.
    """
    settled = done.settled
    status = status_of(settled)
    if status is Status.FAILED:
        words = smtp.settled(settled)
        row = TABLE[Reason.CANNOT_CARRY]
        if settled.enhanced == row.enhanced:
            raise Undone(row.http, row.word, f"The upstream cannot carry this message: {words}")
        raise Undone(502, UPSTREAM_REFUSED, f"The upstream refused every recipient: {words}")
    waits = settled.queued > 0
    hint = Hint(settled.hint or FIRST_TRY, _iso(settled.next_at_ms))
    told = Sent(
        message_id=ident.show(settled.message_id),
        smtp_message_id=done.smtp_message_id,
        status=status.value,
        sender=done.sender,
        recipients=settled.queued + settled.sent + settled.failed + settled.cancelled,
        credits_charged=settled.queued + settled.sent,
        retry_hint=hint if waits else msgspec.UNSET,
    )
    return 202 if waits else 200, told


def failure(refused: Refused) -> Failure:
    """A refusal as HTTP says it."""
    refusal = refused.refusal
    headers = {}
    if refusal.retry_after_s is not None:
        headers["Retry-After"] = str(refusal.retry_after_s)
    return Failure(refusal.row.http, refusal.row.word, refusal.text, refused.field, headers)


def good(data: object) -> bytes:
    """`{"ok":true,"data":…}`."""
    return msgspec.json.encode({"ok": True, "data": data})


def of_one(outcome: Sent | Failure, status: int) -> dict[str, Any]:
    """One message's place in the answer to a batch; `status`: what a call of its own would say."""
    if isinstance(outcome, Sent):
        return {"ok": True, "status": status, "data": outcome}
    told: dict[str, Any] = {"ok": False, "status": outcome.status, "error": outcome.text}
    told["code"] = outcome.code
    if outcome.field:
        told["field"] = outcome.field
    if outcome.status in (429, 503):
        told["retryAfter"] = int(outcome.headers.get("Retry-After", AGAIN_S))
    return told


def _iso(ms: int) -> str | None:
    """Milliseconds since 1970 as ISO 8601 in UTC; 0 is never."""
    if not ms:
        return None
    text = datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
