"""Waypost whose disk fails one sync, in whichever process comes next, once a file says so.

    python broken_disk.py python -m waypost [arguments of waypost]

Knows nothing of tests.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import apsw

from waypost.cli.main import main
from waypost.store.sqlite.committer import Committer

WORD = Path(os.environ["BROKEN_DISK"])


def commit_now(self: Committer, db: apsw.Connection) -> None:
    """The sync to disk, which fails where the word is there; it is taken away by the first."""
    try:
        WORD.unlink()
    except FileNotFoundError:
        db.execute("COMMIT")
    else:
        raise apsw.IOError("IOError: disk I/O error")


if __name__ == "__main__":
    setattr(Committer, "commit_now", commit_now)  # noqa: B010 - mypy knows the real one
    sys.exit(main(sys.argv[4:]))
