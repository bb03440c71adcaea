"""The committed state of one message, for whoever accepted it and waits for its first outcome.

Knows nothing of who waits.
"""

from __future__ import annotations

from typing import Any

import apsw

from waypost.core.lifecycle import Status
from waypost.core.reply import ENHANCED
from waypost.core.verdict import Settled

SELECT_SETTLED = "SELECT status, queued, sent, failed, cancelled FROM message WHERE id = ?"
SELECT_FIRST_REFUSED = (
    "SELECT code, text FROM recipient WHERE message_id = ? AND state = 2 ORDER BY number LIMIT 1"
)
SELECT_WAITING = "SELECT due, attempt, reason FROM queue WHERE message_id = ? AND claim = 0"
SELECT_ATTEMPTED = "SELECT 1 FROM attempt WHERE message_id = ? LIMIT 1"
SELECT_LAST = "SELECT max(id) FROM message"


def last_id(db: apsw.Connection) -> int:
    """The greatest message id in the store; 0: none."""
    row: Any = db.execute(SELECT_LAST).fetchone()
    return int(row[0] or 0) if row else 0


def settled(db: apsw.Connection, message_id: int) -> tuple[Settled, bool]:
    """(the committed state, whether every recipient left had its first try, or none can begin).

    A message that is not there has nothing left. Raises apsw's errors.
    """
    row: Any = db.execute(SELECT_SETTLED, (message_id,)).fetchone()
    if row is None:
        return Settled(message_id, 0, 0, 0), True
    status, queued, sent, failed, cancelled = row
    if status != Status.QUEUED:
        code, words = 0, ""
        if not sent and failed:
            refused: Any = db.execute(SELECT_FIRST_REFUSED, (message_id,)).fetchone()
            code, words = refused
        found = ENHANCED.match(words)
        enhanced = found.group(1) if found else ""
        return Settled(message_id, queued, sent, failed, cancelled, code, enhanced, words), True
    waits: Any = db.execute(SELECT_WAITING, (message_id,)).fetchone()
    tried = db.execute(SELECT_ATTEMPTED, (message_id,)).fetchone() is not None
    due, _, hint = waits or (0, 0, "")
    known = Settled(message_id, queued, sent, failed, cancelled, hint=hint, next_at_ms=due)
    return known, tried or bool(hint)
