"""Notes in which stretches of time each sender, address and key had mail, behind the relay's back,
so that a search for a rare one passes over the rest without an index that every accepted message
would have to write.

Promises: all messages up to the noted id are in it; a step is short. Knows nothing of searches.
"""

from __future__ import annotations

from waypost.core import ident
from waypost.store.read.book import Look

STRETCH_MS = 300_000
SETTLED_MS = 60_000
"""A message may be committed some time after its id was made: what is younger is not noted yet."""
STEP_MESSAGES = 2_000
STEP_ROWS = 500
MOST_DAYS = 1
"""How much longer than its messages a note may stay."""

_DAY_MS = 86_400_000
_STRETCH = f"(id >> {ident.MS_SHIFT}) / {STRETCH_MS}"


def noted(look: Look) -> int:
    """The id up to which all is noted."""
    return int(look.value("SELECT value FROM meta WHERE name = 'seen'") or 0)


def note(look: Look, now_ms: int) -> int:
    """Goes on with the next messages, in a transaction; how many they were."""
    after, below = noted(look), ident.floor(now_ms - SETTLED_MS)
    found = look.tuples(
        "SELECT count(*), max(id) FROM (SELECT id FROM message WHERE id > ? AND id < ?"
        " ORDER BY id LIMIT ?)",
        (after, below, STEP_MESSAGES),
    )
    count, last = found[0]
    if not count:
        return 0
    rows: set[tuple[int, str, int | str, int]] = set()
    for account_id, sender_id, address, key_id, stretch in look.tuples(
        f"SELECT DISTINCT account_id, sender_id, lower(from_address), key_id, {_STRETCH}"
        " FROM message WHERE id > ? AND id <= ?",
        (after, last),
    ):
        for account in (account_id, 0):
            rows.add((account, "s", sender_id, stretch))
            rows.add((account, "f", address, stretch))
            if key_id is not None:
                rows.add((account, "k", key_id, stretch))
    for row in sorted(rows, key=str):
        look.run("INSERT OR IGNORE INTO seen VALUES (?, ?, ?, ?)", row)
    look.run("UPDATE meta SET value = ? WHERE name = 'seen'", (last,))
    return int(count)


def forget(look: Look, now_ms: int, kept_ms: int) -> int:
    """Lets go of what is older than the log, in a transaction; how many rows."""
    old = (now_ms - kept_ms - MOST_DAYS * _DAY_MS) // STRETCH_MS
    return look.run(
        "DELETE FROM seen WHERE (account_id, kind, ref, stretch) IN"
        " (SELECT account_id, kind, ref, stretch FROM seen WHERE stretch < ? LIMIT ?)",
        (old, STEP_ROWS),
    )
