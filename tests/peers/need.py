"""Which programs a test needs: it is skipped where one is missing, or fails where all are required.

`TEST_REQUIRE=all` (as CI sets it) makes a missing program a failure: what was not tried is not
shown.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

UNPACKED = Path(__file__).parent / "exim" / "usr" / "sbin"  # by .ci/run
OFTEN_NOT_IN_PATH = ("/usr/sbin", "/sbin", "/usr/lib/postfix/sbin", str(UNPACKED))
NODE = Path(__file__).parent / "node"
NODE_PACKAGES = ("nodemailer", "mailparser", "axe-core")


def need(*programs: str) -> list[str]:
    """The paths of the programs; `root` is being root, some are packages of npm."""
    found = []
    for program in programs:
        path = _find(program)
        if path is None:
            missing(program)
        found.append(path)
    return found


def missing(what: str) -> NoReturn:
    """Skips the test that needs it, or fails it where all is required."""
    reason = f"needs {what}"
    if os.environ.get("TEST_REQUIRE", "") == "all":
        pytest.fail(f"{reason}, and TEST_REQUIRE=all", pytrace=False)
    pytest.skip(reason)


def _find(program: str) -> str | None:
    if program == "root":
        return "root" if os.geteuid() == 0 else None
    if program in NODE_PACKAGES:
        return str(NODE) if (NODE / "node_modules" / program).is_dir() else None
    path = os.pathsep.join([os.environ.get("PATH", ""), *OFTEN_NOT_IN_PATH])
    return shutil.which(program, path=path)
