"""Whether the database file is whole: SQLite's own look at its pages, beside a running relay.

Promises to change nothing. Does not know what the rows mean: that is audit's.
"""

from __future__ import annotations

from pathlib import Path

import apsw

from waypost.store.connect import connect, trouble


def quick_check(data: Path) -> str:
    """Empty where the file is whole, else what is wrong with it. Raises `StoreAway`."""
    db = connect(data, readonly=True)
    try:
        said = str(db.pragma("quick_check"))
    except apsw.Error as error:
        raise trouble(error) from error
    finally:
        db.close()
    return "" if said == "ok" else said.splitlines()[0]
